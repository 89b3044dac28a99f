"""Where sim's time goes: every operation of a program timed on one thread, summed by what it does."""

import time
from collections import defaultdict
from collections.abc import Mapping
from statistics import median
from typing import Any

import numba
from numpy.typing import NDArray

from golden.program import Program
from reports.results import UnitTime
from reports.summary import split_block
from sim.network import Executor
from sim.unit import Codes


class Profiler(Executor):
    """An executor that adds up what every operation takes, checks of its output included."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.seconds: dict[str, float] = defaultdict(float)

    def _execute(self, step: Any, live: Mapping[str, Codes], batch: int) -> Codes:
        # The pool's thread has numba's own number of threads until it is told otherwise.
        numba.set_num_threads(1)
        began = time.perf_counter()
        codes = super()._execute(step, live, batch)
        self.seconds[step.operation.name] += time.perf_counter() - began
        return codes


def profile(run: str, program: Program, codes: NDArray[Any], repetitions: int) -> tuple[UnitTime, ...]:
    """Milliseconds per image of every kind of operation, the longest first.

    Args:
        run: label of the rows.
        program: the model.
        codes: image codes `[B, C, H, W]`.
        repetitions: passes over the batch whose median counts, after one that does not.
    """
    profiler = Profiler(program)
    passes: list[Mapping[str, float]] = []
    for _ in range(repetitions + 1):
        profiler.seconds = defaultdict(float)
        profiler.run(codes, threads=1)
        passes.append(profiler.seconds)
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for operation in program.operations:
        kinds[split_block(operation.name)[1], operation.unit].append(operation.name)
    rows = [
        UnitTime(
            run=run,
            layer=layer,
            unit=unit,
            count=len(names),
            milliseconds=1000 * median(sum(each[name] for name in names) for each in passes[1:]) / len(codes),
        )
        for (layer, unit), names in kinds.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.milliseconds))

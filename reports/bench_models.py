"""Whole models to time: timm's own module in float32, the fake-quantised model, and sim, on the same images."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from golden.calibrate import Calibrated, calibrate
from golden.errors import InvariantError
from golden.fakequant import FakeQuantizer, fakequant_logits
from golden.lowering import lower
from golden.model import Through, forward
from golden.program import Program
from golden.reference import execute
from reports.bench_timing import Work, elapsed
from reports.choice import Bits
from reports.evaluation import encode
from reports.results import FLOAT, Exactness
from reports.workload import Workload
from sim.network import Executor

FLOAT_TOLERANCE = 1e-3
"""Largest difference of timm's logits and golden's, as a share of the largest logit: float32 rounding is 1e-5 of it."""


class Runner(NamedTuple):
    """One implementation of the model, ready to be timed on the batch."""

    run: str
    implementation: Literal["float", "fakequant", "sim"]
    classify: Work
    """Classes of the batch."""
    first_seconds: float
    """From the calibrated (float: loaded) model to the classes of the first batch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lowered:
    """sim at one pair of widths."""

    bits: Bits
    program: Program
    codes: NDArray[np.int64]
    """The batch as image codes."""
    exactness: Exactness
    """Every tensor of the first image, sim against the int64 reference."""


def float_runner(original: nn.Module, workload: Workload, images: Tensor) -> Runner:
    """timm's own module in evaluation mode; InvariantError unless it is the model that the workload quantises."""

    @torch.inference_mode()
    def classify() -> Tensor:
        logits: Tensor = original(images)
        return logits.argmax(-1)

    first = elapsed(classify)
    with torch.inference_mode():
        theirs, ours = original(images), forward(workload.model, images, Through())
    difference = float((theirs - ours).abs().max() / theirs.abs().max())
    if not difference <= FLOAT_TOLERANCE:
        raise InvariantError(f"timm's logits and golden's differ by {difference:.2g} of the largest")
    return Runner(FLOAT, "float", classify, first)


def quantised_runners(
    workload: Workload, bits: Bits, images: Tensor, threads: int, fitted: Callable[[str], None]
) -> tuple[tuple[Runner, Runner], Lowered]:
    """Fake quantisation and sim of one calibration, and what else is asked of sim.

    `fitted` is called for every site and layer that calibration has done. Raises InvariantError where sim is not
    the int64 reference: a wrong answer has no speed.
    """
    calibrated = calibrate(
        workload.model,
        workload.calibration,
        workload.scheme,
        weight_bits=bits.weight,
        act_bits=bits.act,
        fitted=fitted,
    )
    fake = _fakequant(calibrated, bits, images)
    made: list[Executor] = []

    def classify() -> Any:
        # numpy's argmax takes the first maximum, the tie rule of the program.
        return made[0].run(encode(calibrated, images), threads=threads).logits.argmax(-1)

    def begin() -> Any:
        made.append(Executor(lower(calibrated, workload.provenance)))
        return classify()

    sim = Runner(bits.label, "sim", classify, elapsed(begin))
    program, codes = made[0].program, encode(calibrated, images)
    exactness = _compared(bits, made[0], codes)
    return (fake, sim), Lowered(bits=bits, program=program, codes=codes, exactness=exactness)


def _fakequant(calibrated: Calibrated, bits: Bits, images: Tensor) -> Runner:
    taps: list[FakeQuantizer] = []

    def classify() -> Tensor:
        return fakequant_logits(calibrated, images, taps[0]).argmax(-1)

    def begin() -> Tensor:
        taps.append(FakeQuantizer(calibrated))
        return classify()

    return Runner(bits.label, "fakequant", classify, elapsed(begin))


def _compared(bits: Bits, executor: Executor, codes: NDArray[np.int64]) -> Exactness:
    """Every tensor of the first image, sim against the int64 reference; InvariantError where any integer differs."""
    program, one = executor.program, codes[:1]
    simulated = executor.run(one, capture="all").tensors
    integers = 0
    for name, reference in execute(program, one):
        integers += reference.size
        if differing := int((reference != simulated[name]).sum()):
            raise InvariantError(
                f"{bits.label}: {differing:,} of {reference.size:,} integers of {name} are not the reference's"
            )
    return Exactness(run=bits.label, tensors=len(program.operations), integers=integers, differing=0)


class Kernels(NamedTuple):
    """How numba came by sim's machine code in this process."""

    compiled: int
    loaded: int
    """From numba's cache on disk."""


def kernels_made() -> Kernels:
    """Kernels of sim compiled by this process and loaded from the cache of an earlier one."""
    stats = [kernel.stats for kernel in _dispatchers()]
    return Kernels(
        sum(sum(s.cache_misses.values()) for s in stats), sum(sum(s.cache_hits.values()) for s in stats)
    )


def _dispatchers() -> Iterator[Any]:
    from numba.core.dispatcher import Dispatcher

    seen: set[int] = set()
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] != "sim":
            continue
        for value in vars(module).values():
            if isinstance(value, Dispatcher) and id(value) not in seen:
                seen.add(id(value))
                yield value

"""RTL of exactly the parameter sets that are synthesised against their models, as compiled libraries."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from golden.errors import InvariantError, UserError
from reports.registry import entry
from reports.synthesis import TOP, SynthesisError
from reports.synthesis.cache import key_of, load_as, store
from reports.synthesis.pool import each_in_process
from reports.synthesis.tools import workspace
from reports.verification_sources import sources_digest
from rtl.cosim import wheel
from rtl.verilog import rtlil_text
from rtl.volume.library import compiler_version
from rtl.volume.run import run_volume
from sim.unit import Beats, Unit

VECTORS = 4096
"""About as many seeded vectors follow the directed ones, where the unit draws them; `vitrtl verify` has millions."""
LIBRARIES = "verilated"
"""Folder of compiled libraries, below that of synthesis results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonJob:
    """One unit with one parameter set."""

    unit: str
    spec: Unit

    @property
    def title(self) -> str:
        """What is compared."""
        return f"comparison of {self.unit} with its model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was found."""

    vectors: int
    """Output vectors compared, in bits and cycles; a second time under random stalls, in bits."""
    failure: str | None
    """The first difference in a line."""


def compare_all(
    jobs: Sequence[ComparisonJob],
    cache: Path,
    processes: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[ComparisonJob, Comparison | SynthesisError]]:
    """Each job with what was found, or with why nothing could be, as they end; as `synthesize_all` for areas."""
    return each_in_process(jobs, partial(_compared, cache=cache), processes, progress)


def compared(name: str, spec: Unit, cache: Path) -> Comparison:
    """RTL of unit `name` with `spec` against its model on the unit's stimuli; kept in `cache`.

    The key is the RTLIL that is synthesised, the sources of model and stimuli, and the tools. Raises SynthesisError
    when the library cannot be built.
    """
    unit = entry(name)
    component = unit.component(spec)
    source = rtlil_text(component, TOP)
    tools = [wheel.version(), compiler_version()]
    path = cache / f"{name}-compared-{key_of(source, sources_digest(name), tools, VECTORS)}.json"
    kept = load_as(path, Comparison)
    if kept is not None:
        return kept
    try:
        with workspace() as folder:
            volume = run_volume(
                component,
                _batches(name, spec),
                folder,
                cache / LIBRARIES,
                seed=0,
                exhaustive=False,
                waves=False,
            )
    except (UserError, InvariantError) as error:
        raise SynthesisError(f"{name} was not compared with its model: {error}") from error
    found = Comparison(vectors=volume.beats, failure=volume.first_failure)
    store(path, asdict(found))
    return found


def _batches(name: str, spec: Unit) -> Iterator[Mapping[str, Beats]]:
    """The unit's directed stimuli, then seeded ones, as far as they lie in the unit's bounds."""
    report = entry(name).report
    # A stimulus depends on the spec alone, not on which others are compared beside it.
    rng = np.random.default_rng(zlib.crc32(f"{name} {report.label(spec)}".encode()))
    yield _within(spec, report.stimuli(spec, rng))
    draw = getattr(report, "volume", None)
    if draw is not None:
        yield _within(spec, draw(spec, rng, VECTORS))


def _within(spec: Unit, inputs: Mapping[str, Beats]) -> Mapping[str, Beats]:
    """`inputs` without the rows that the unit was not made for: a program's accumulator has the bits of its sums.

    Raises InvariantError when no row is left, or when it is not known which beats of a stream belong to which row.
    """
    try:
        spec.run(**inputs)
    except InvariantError:
        cut = _rows(spec, inputs)
        kept = [row for row in cut if _runs(spec, row)]
        if not kept:
            raise
        return {
            name: Beats(*(np.concatenate([row[name][part] for row in kept]) for part in (0, 1)))
            for name in inputs
        }
    return inputs


def _rows(spec: Unit, inputs: Mapping[str, Beats]) -> list[Mapping[str, Beats]]:
    """Row by row: a stream has a beat for each of the row's, or one for the row."""
    ending = next((name for name, port in spec.inputs.items() if port.last), None)
    if ending is None:
        return []
    ends = np.flatnonzero(inputs[ending].last) + 1
    cuts = {len(inputs[ending].last): ends[:-1], len(ends): np.arange(1, len(ends))}
    if any(len(beats.last) not in cuts for beats in inputs.values()):
        return []
    parts = {
        name: [
            Beats(codes, last)
            for codes, last in zip(*(np.split(part, cuts[len(beats.last)]) for part in beats), strict=True)
        ]
        for name, beats in inputs.items()
    }
    return [{name: of[row] for name, of in parts.items()} for row in range(len(ends))]


def _runs(spec: Unit, inputs: Mapping[str, Beats]) -> bool:
    try:
        spec.run(**inputs)
    except InvariantError:
        return False
    return True


def _compared(job: ComparisonJob, cache: Path) -> Comparison:
    return compared(job.unit, job.spec, cache)

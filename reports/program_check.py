"""RTL checks: units at the points of their sweep, and at exactly the parameters and real tensors of a program."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.program import Operation, Program
from reports.progress import track
from reports.registry import entry
from reports.results import UnitVerification
from reports.verification import UnitVerification as Finding
from reports.verification import verify_spec
from sim.registry import unit_of
from sim.unit import Beats, Unit

ELEMENTS = 2048
"""Real codes that drive a unit without rows."""
PARALLEL = 2
"""Simulators at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One unit at the parameters of one operation, with real input beats."""

    unit: str
    label: str
    spec: Unit
    beats: Mapping[str, Beats] | None
    """Real input beats by stream, after the unit's directed ones; None for these alone."""


def sweep_checks(unit: str) -> list[Check]:
    """One check for every point of the unit's sweep, on directed and random stimuli."""
    report = entry(unit).report
    return [Check(unit=unit, label=report.label(spec), spec=spec, beats=None) for spec in report.SWEEP]


def checks_of(
    program: Program, tensors: Mapping[str, NDArray[np.int64]], units: tuple[str, ...], rows: int, prefix: str
) -> Iterator[Check]:
    """One check for every different spec among the program's operations of `units`, on `rows` rows of its real input.

    `prefix` starts the label (`W4/A4`). Only units with one input stream and no constants can be driven so: with
    the operation's captured tensor, at an even stride through images, heads and tokens. Others are left out.
    """
    seen: set[Unit] = set()
    for operation in program.operations:
        if operation.unit not in units:
            continue
        spec = unit_of(program, operation)
        if spec in seen or len(spec.inputs) != 1 or len(operation.inputs) != 1:
            continue
        seen.add(spec)
        beats = _real_beats(spec, operation, tensors, rows)
        yield Check(unit=operation.unit, label=f"{prefix} {operation.name}", spec=spec, beats=beats)


def run_check(check: Check, out: Path, seed: int) -> Finding:
    """Directed stimuli and the real beats through RTL, model and reference."""
    folder = out / check.unit / check.label.replace("/", "").replace(" ", "_")
    return replace(verify_spec(entry(check.unit), check.spec, check.beats, folder, seed), label=check.label)


def run_checks(checks: Sequence[Check], out: Path, seed: int) -> list[Finding]:
    """All checks, some at a time, each in simulator processes of its own."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        found = pool.map(lambda check: run_check(check, out, seed), checks)
        return list(track("RTL = sim, bits and cycles", found, len(checks)))


def table_row(finding: Finding) -> UnitVerification:
    """A finding as a row of the results."""
    run = finding.cosimulation
    return UnitVerification(
        unit=finding.unit,
        spec=finding.label,
        simulator=run.simulator,
        rows=run.rows,
        beats=run.compared,
        mismatches=run.mismatches + finding.reference_mismatches,
        cycle_mismatches=run.cycle_mismatches,
        protocol_errors=run.protocol_errors,
        seconds=run.seconds,
        passed=finding.passed,
        seed=run.seed,
    )


def _real_beats(
    spec: Unit, operation: Operation, tensors: Mapping[str, NDArray[np.int64]], rows: int
) -> dict[str, Beats]:
    """`rows` rows, or ELEMENTS codes, of the operation's operand as beats of the unit's only input stream."""
    (stream,) = spec.inputs
    (source,) = operation.inputs.values()
    values = tensors[source].reshape(-1, tensors[source].shape[-1])
    if not spec.inputs[stream].last:
        rows = max(1, ELEMENTS // values.shape[-1])
    chosen = values[np.unique(np.linspace(0, len(values) - 1, min(rows, len(values))).astype(np.int64))]
    last = np.zeros(chosen.shape, np.bool_)
    last[:, -1] = spec.inputs[stream].last
    return {stream: Beats(chosen.reshape(-1, 1), last.reshape(-1))}

"""RTL checks: units at the points of their sweep, and at exactly the parameters and real tensors of a program."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.program import Operation, Program
from reports.progress import track
from reports.real_tensors import real_beats
from reports.registry import entry
from reports.verification import Effort, joined, verify_spec
from reports.verification import UnitVerification as Finding
from reports.verification_rows import ProofState, UnitVerification
from reports.verification_sources import file_digest, sources_digest
from sim.registry import unit_of
from sim.unit import Beats, Unit

ELEMENTS = 2048
"""Real codes that drive a unit without rows, or one that sums them up, in a simulator."""
LIBRARY_CODES = 1 << 18
"""Most real codes that drive a compiled library."""
_PROOFS: Mapping[bool | None, ProofState] = {True: "proven", False: "refuted", None: "open"}
PARALLEL = 2
"""Simulators at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One unit at the parameters of one operation, with real input beats."""

    unit: str
    label: str
    spec: Unit
    beats: Mapping[str, Beats] | None = None
    """Real input beats by stream, after the unit's directed ones; None for these alone."""
    more: Mapping[str, Beats] | None = None
    """Real input beats for the compiled library; None: its own."""

    @property
    def alone(self) -> bool:
        """Whether the real beats stand for the unit's own: those of several operands suit its sweep alone."""
        return self.beats is not None and len(self.spec.inputs) > 1


def sweep_checks(unit: str) -> list[Check]:
    """One check for every point of the unit's sweep, on directed and random stimuli."""
    report = entry(unit).report
    return [Check(unit=unit, label=report.label(spec), spec=spec) for spec in report.SWEEP]


def checks_of(
    program: Program, tensors: Mapping[str, NDArray[np.int64]], units: tuple[str, ...], rows: int, prefix: str
) -> Iterator[Check]:
    """One check for every different spec among the program's operations of `units`, with their real operands.

    A simulator gets `rows` rows of a unit with rows, the compiled library up to `LIBRARY_CODES` codes, each taken
    evenly from all operations of that spec, images, heads, tokens and output channels. `prefix` starts the label
    (`W4/A4`), which names the first of these operations.
    """
    sharing: dict[tuple[str, Unit], list[Operation]] = {}
    for operation in program.operations:
        if operation.unit in units:
            sharing.setdefault((operation.unit, unit_of(program, operation)), []).append(operation)
    for (unit, spec), operations in sharing.items():
        few, many = (
            _joined([real_beats(program, o, spec, tensors, codes // len(operations)) for o in operations])
            for codes in (_simulated(program, operations[0], spec, rows), LIBRARY_CODES)
        )
        others = f" and {len(operations) - 1} more" if len(operations) > 1 else ""
        label = f"{prefix} {operations[0].name}{others}"
        yield Check(unit=unit, label=label, spec=spec, beats=few, more=many)


def run_check(check: Check, out: Path, seed: int, effort: Effort | None = None) -> Finding:
    """Directed stimuli and the real beats through RTL, model and reference; proofs for the points of a sweep alone."""
    folder = out / check.unit / check.label.replace("/", "").replace(" ", "_")
    if effort is not None and check.beats is not None:
        effort = replace(effort, proof=False)
    found = verify_spec(
        entry(check.unit), check.spec, check.beats, folder, seed, effort, check.more, alone=check.alone
    )
    return replace(found, label=check.label)


def run_checks(checks: Sequence[Check], out: Path, seed: int, effort: Effort | None = None) -> list[Finding]:
    """All checks, some at a time, each in simulator processes of its own."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        found = pool.map(lambda check: run_check(check, out, seed, effort), checks)
        return list(track("RTL = sim, bits and cycles", found, len(checks)))


def table_row(finding: Finding, out: Path | None = None) -> UnitVerification:
    """A finding as a row of the results; the path of its waveform relative to `out`."""
    run, volume, proof, waveform = finding.cosimulation, finding.volume, finding.proof, finding.waveform
    parts = [part for part in (run, volume) if part is not None]
    relative = out is not None and waveform is not None and waveform.is_relative_to(out.resolve())
    return UnitVerification(
        unit=finding.unit,
        spec=finding.label,
        simulator=run.simulator,
        rows=run.rows,
        beats=sum(part.beats for part in parts),
        volume=volume.vectors if volume else None,
        exhaustive=volume.exhaustive if volume else None,
        mismatches=sum(part.mismatches for part in parts) + finding.reference_mismatches,
        cycle_mismatches=sum(part.cycle_mismatches for part in parts),
        protocol_errors=sum(part.protocol_errors for part in parts),
        proof=_PROOFS[proof.passed] if proof else None,
        proof_method=proof.method if proof else None,
        seconds=finding.seconds,
        passed=finding.passed,
        seed=run.seed,
        failure=finding.first_failure,
        waveform=str(waveform.relative_to(out.resolve())) if relative and waveform and out else None,
        design=entry(finding.unit).report.label(finding.spec),
        hardware=file_digest(run.verilog),
        sources=sources_digest(finding.unit),
        date=datetime.now(UTC).date().isoformat(),
    )


def _simulated(program: Program, operation: Operation, spec: Unit, rows: int) -> int:
    """Codes for a simulator: `rows` rows of a unit whose results are rows, too, else `ELEMENTS`."""
    if not any(port.last for port in spec.outputs.values()):
        return ELEMENTS
    length: int = program.tensors[next(iter(operation.inputs.values()))].shape[-1]
    return rows * length


def _joined(parts: Sequence[Mapping[str, Beats]]) -> dict[str, Beats]:
    """Beats of several operations, one after the other."""
    return {stream: reduce(joined, [part[stream] for part in parts]) for stream in parts[0]}

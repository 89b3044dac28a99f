"""Verification of units: RTL against the model, simulated, compiled and by proof; the model against golden."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from reports.registry import Entry, entry
from reports.verification_rows import Mutants
from reports.volume import exhaustive, volume_batches
from rtl.cosim.runner import Cosimulation, cosimulate, find_simulator
from rtl.volume.library import default_cache
from rtl.volume.run import Volume, run_volume
from sim.unit import Beats, Unit

if TYPE_CHECKING:
    from rtl.proof import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is done about a spec beside cosimulation, and with what."""

    simulator: str | None = None
    """`icarus` or `verilator`; None: the one there is."""
    vectors: int | None = None
    """Seeded vectors for the compiled library, where it does not try every input; None: no library."""
    cache: Path = field(default_factory=default_cache)
    """Keeps compiled libraries."""
    proof: bool = False
    """Whether units with a specification are proven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitVerification:
    """One unit at one spec."""

    unit: str
    label: str
    spec: Unit
    cosimulation: Cosimulation
    """RTL against the model: bits under stalls, bits and cycles without, after resets."""
    reference_mismatches: int
    """Output codes in which the model differs from golden's reference, on the same inputs."""
    volume: Volume | None = None
    """RTL as a compiled library against the model; None when it did not run."""
    proof: "Proof | None" = None
    """None when none was tried, or the unit has no specification."""

    @property
    def tests(self) -> Mapping[str, str | None]:
        """Everything that was compared -> its first finding; None where it passed."""
        differ, proof = self.reference_mismatches, self.proof
        found = dict(self.cosimulation.tests)
        found["model_matches_reference"] = f"model and reference differ in {differ} codes" if differ else None
        if self.volume is not None:
            found["volume"] = self.volume.first_failure
        if proof is not None and proof.passed is not None:
            found["proof"] = None if proof.passed else f"refuted: {proof.counterexample}"
        return found

    @property
    def passed(self) -> bool:
        """True when RTL, model and reference agree in everything compared, and no proof refutes it."""
        return not any(self.tests.values())

    @property
    def first_failure(self) -> str | None:
        """One line; None when it passed."""
        if self.reference_mismatches:
            return self.tests["model_matches_reference"]
        volume = self.volume.first_failure if self.volume else None
        proof = self.tests.get("proof")
        return self.cosimulation.first_failure or volume or (proof and f"proof {proof}")

    @property
    def waveform(self) -> Path | None:
        """Of the first failure."""
        return self.cosimulation.waveform or (self.volume.waveform if self.volume else None)

    @property
    def seconds(self) -> float:
        """All of it."""
        parts = (self.cosimulation, self.volume, self.proof)
        return sum(part.seconds for part in parts if part is not None)


def verify_unit(
    name: str,
    specs: Sequence[Unit] | None = None,
    rows: Mapping[str, Beats] | None = None,
    *,
    out: Path,
    seed: int,
) -> list[UnitVerification]:
    """Verifies unit `name` at each of `specs`, by default its sweep, and writes `out/<name>.xml` (JUnit).

    The stimuli are the unit's directed and random ones and then `rows`, real input beats by stream, when given.
    Each spec leaves its Verilog, vectors, logs and, on a failure, the waveform in `out/<name>/<label>`.
    Raises UserError for an unknown unit or when no simulator is installed.
    """
    unit = entry(name)
    find_simulator()  # before any work
    results = [
        verify_spec(unit, spec, rows, out / name / unit.report.label(spec), seed)
        for spec in (unit.report.SWEEP if specs is None else specs)
    ]
    write_junit(out / f"{name}.xml", results)
    return results


def verify_spec(
    unit: Entry,
    spec: Unit,
    rows: Mapping[str, Beats] | None,
    folder: Path,
    seed: int,
    effort: Effort | None = None,
    more: Mapping[str, Beats] | None = None,
    *,
    alone: bool = False,
) -> UnitVerification:
    """Verifies one spec in `folder`; without `effort` in the simulator alone.

    `rows` follow the unit's own stimuli there, or stand for them when `alone`. The compiled library gets `more`, or
    without it the vectors of `effort`.
    """
    effort = effort or Effort()
    label = unit.report.label(spec)
    # A stimulus depends on the seed and the spec alone, not on which others run beside it.
    rng = np.random.default_rng([seed, zlib.crc32(f"{unit.name} {label}".encode())])
    if rows is not None and alone:
        inputs = dict(rows)
    else:
        inputs = dict(unit.report.stimuli(spec, rng))
        if rows is not None:
            inputs = {stream: joined(inputs[stream], rows[stream]) for stream in spec.inputs}
    cosimulation = cosimulate(unit.component(spec), inputs, folder, seed=seed, simulator=effort.simulator)
    model, reference = spec.run(**inputs), unit.report.reference(spec, inputs)
    volume = None
    if effort.vectors is not None:
        batches = [more] if more is not None else volume_batches(unit, spec, rng, effort.vectors)
        complete = more is None and exhaustive(spec)
        volume = run_volume(
            unit.component(spec), batches, folder, effort.cache, seed=seed, exhaustive=complete
        )
    return UnitVerification(
        unit=unit.name,
        label=label,
        spec=spec,
        cosimulation=cosimulation,
        reference_mismatches=sum(
            int((model[stream].codes != reference[stream].codes).sum()) for stream in spec.outputs
        ),
        volume=volume,
        proof=_proof(unit, spec, folder / "proof") if effort.proof else None,
    )


def _proof(unit: Entry, spec: Unit, folder: Path) -> "Proof | None":
    from rtl.proof import prove

    return prove(unit.name, spec, folder)


def joined(first: Beats, second: Beats) -> Beats:
    """One stream after the other."""
    return Beats(np.concatenate((first.codes, second.codes)), np.concatenate((first.last, second.last)))


def write_junit(path: Path, results: Sequence[UnitVerification], mutants: Sequence[Mutants] = ()) -> None:
    """One suite per spec, one case per test: the simulator's, the reference, the compiled library, the proof.

    A suite's properties say how much was compared. Then one suite per source file with planted faults; one that
    survived is a failure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suites = ElementTree.Element("testsuites")
    for result in results:
        _suite(suites, f"{result.unit}.{result.label}", result.seconds, _properties(result), result.tests)
    for row in mutants:
        counts = {"planted": row.planted, "killed": row.killed, "equivalent": row.equivalent}
        cases: dict[str, str | None] = {} if row.survivors else {"every fault is found": None}
        cases.update(dict.fromkeys(row.survivors, "no check failed"))
        _suite(suites, f"mutants.{row.file}", 0.0, counts, cases)
    ElementTree.indent(suites)
    ElementTree.ElementTree(suites).write(path, encoding="unicode", xml_declaration=True)


def _properties(result: UnitVerification) -> Mapping[str, object]:
    run, volume, proof = result.cosimulation, result.volume, result.proof
    parts = [part for part in (run, volume) if part is not None]
    return {
        "vectors": sum(part.beats for part in parts),
        **({"library_vectors": volume.vectors, "exhaustive": volume.exhaustive} if volume else {}),
        "mismatches": sum(part.mismatches for part in parts) + result.reference_mismatches,
        "cycle_mismatches": sum(part.cycle_mismatches for part in parts),
        **({"proof": proof.method, "proven": proof.passed} if proof else {}),
    }


def _suite(
    suites: ElementTree.Element,
    name: str,
    seconds: float,
    properties: Mapping[str, object],
    cases: Mapping[str, str | None],
) -> None:
    """A suite of cases with their failures, None for none."""
    failures = sum(text is not None for text in cases.values())
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name=name,
        tests=str(len(cases)),
        failures=str(failures),
        time=f"{seconds:.3f}",
    )
    found = ElementTree.SubElement(suite, "properties")
    for key, value in properties.items():
        ElementTree.SubElement(found, "property", name=key, value=str(value))
    for test, text in cases.items():
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=test)
        if text is not None:
            ElementTree.SubElement(case, "failure", message=text)

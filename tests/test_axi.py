"""AXI4-Stream ports: units behind them keep bits and cycles, no path leads through, each broken rule is seen."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reports.registry import entry, unit_names
from rtl.axi import AxiStream, axi_instance
from rtl.testbench import verilog_testbench
from rtl.verilog import Hardware, YosysError, verilog, yosys
from sim.unit import Unit

MAC = entry("mac").report.SWEEP[1]
SOFTMAX = replace(entry("softmax").report.SWEEP[3], max_length=24)


def wrapped(name: str, spec: Unit) -> str:
    return verilog(AxiStream(entry(name).component(spec)), "unit")


def simulate(name: str, spec: Unit, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    inputs = entry(name).report.stimuli(spec, np.random.default_rng(3))
    for file, contents in verilog_testbench(spec, inputs, top="unit", seed=3, connect=axi_instance).items():
        (folder / file).write_text(contents)
    (folder / "unit.v").write_text(text)
    build = ["iverilog", "-g2005", "-o", "tb", "tb.v", "unit.v"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    return subprocess.run(
        ["vvp", "-n", "tb"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("softmax", SOFTMAX),
        ("layernorm", replace(entry("layernorm").report.SWEEP[1], channels=16, epsilon=256)),
        *(
            (name, entry(name).report.SWEEP[0])
            for name in ("token_encoder", "outlier_list", "residual_adder")
        ),
        ("mac", MAC),
    ],
)
def test_wrapped_units_keep_bits_and_cycles(name: str, spec: Unit, tmp_path: Path) -> None:
    done = simulate(name, spec, wrapped(name, spec), tmp_path)
    assert re.fullmatch(r"PASS \d+ beats\n", done.stdout)
    assert done.returncode == 0


def test_ports_are_those_of_axi4_stream() -> None:
    def ports(text: str) -> set[str]:
        return set(
            re.findall(r"^  ((?:in|out)put (?:\[\d+:0\] )?\w+);", text.partition("endmodule")[0], re.M)
        )

    assert ports(wrapped("softmax", SOFTMAX)) == {
        "input aclk", "input aresetn",
        "input [15:0] s_axis_tdata", "input s_axis_tvalid", "output s_axis_tready", "input s_axis_tlast",
        "output [7:0] m_axis_tdata", "output m_axis_tvalid", "input m_axis_tready", "output m_axis_tlast",
    }  # fmt: skip
    assert ports(wrapped("mac", MAC)) == {
        "input aclk", "input aresetn",
        "input [7:0] s_axis_a_tdata", "input s_axis_a_tvalid", "output s_axis_a_tready", "input s_axis_a_tlast",
        "input [7:0] s_axis_w_tdata", "input s_axis_w_tvalid", "output s_axis_w_tready",
        "input [23:0] s_axis_bias_tdata", "input s_axis_bias_tvalid", "output s_axis_bias_tready",
        "output [23:0] m_axis_tdata", "output m_axis_tvalid", "input m_axis_tready",
    }  # fmt: skip


def has_path_through(component: Hardware, folder: Path) -> bool:
    """Whether some output depends on an input without a register between."""
    (folder / "unit.v").write_text(verilog(component, "unit"))
    try:
        yosys(
            f"read_verilog {folder / 'unit.v'}",
            *("hierarchy -top unit", "proc", "flatten", "memory", "opt -full", "dffunmap", "opt_clean"),
            "select -assert-none o:* %ci*:-$dff i:* %i",
        )
    except YosysError as error:
        if "selection is not empty" in str(error):
            return True
        raise
    return False


@pytest.mark.parametrize("name", unit_names())
def test_no_combinational_path_leads_through(name: str, tmp_path: Path) -> None:
    spec = entry(name).report.SWEEP[0]
    spec = replace(spec, max_length=4) if hasattr(spec, "max_length") else spec
    assert not has_path_through(AxiStream(entry(name).component(spec)), tmp_path)


@pytest.mark.parametrize("name", ["residual_adder", "mac"])
def test_a_path_through_a_bare_unit_is_seen(name: str, tmp_path: Path) -> None:
    """It is ready when its output is taken, in the same cycle."""
    assert has_path_through(entry(name).component(entry(name).report.SWEEP[0]), tmp_path)


# Of the MAC's Verilog: what to replace, by what, and how it shows.
FAULTS = [
    ("assign rst = ~ aresetn", "assign rst = aresetn", "no stalls: "),
    ("{ 6'h00, o__payload }", "{ 6'h20, o__payload }", "no stalls: o beat 0 is 82"),
    (
        "{ s_axis_a_tlast, s_axis_a_tdata[3:0] }",
        "{ s_axis_a_tlast, s_axis_a_tdata[4:1] }",
        "no stalls: o beat 0 is",
    ),
    ("assign s_axis_a_tready = ~ a_full", "assign s_axis_a_tready = 1'h1", "random stalls: o beat"),
    ("assign s_axis_a_tready = ~ a_full", "assign s_axis_a_tready = s_axis_a_tvalid & ~ a_full", None),
    ("s_axis_w_tvalid | w_full", "s_axis_w_tvalid", "random stalls: o beat"),
    ("w_full ? w_kept :", "1'h0 ? w_kept :", "random stalls: o beat"),
]


@pytest.mark.cosim
@pytest.mark.parametrize(("old", "new", "finding"), FAULTS)
def test_a_broken_wrapper_is_seen(old: str, new: str, finding: str | None, tmp_path: Path) -> None:
    text = wrapped("mac", MAC)
    assert text.count(old) == 1
    done = simulate("mac", MAC, text.replace(old, new), tmp_path)
    if finding is None:  # `tready` may wait for `tvalid`
        assert done.stdout.startswith("PASS")
    else:
        assert done.stdout.startswith(f"FAIL {finding}")
        assert done.returncode == 1

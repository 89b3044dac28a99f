"""FPGA families: Yosys maps and counts; nextpnr places and routes ECP5 and iCE40 for the clock rate."""

import functools
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from reports.synthesis.area import TOP, Area, SynthesisError
from reports.synthesis.cells import RULES, count
from reports.synthesis.tools import TIMEOUT_S, package_version, program, run_tool, workspace, yosys

FLAGS = {
    "ecp5": f"synth_ecp5 -top {TOP}",
    "ice40": f"synth_ice40 -top {TOP}",
    "xc7": f"synth_xilinx -family xc7 -flatten -noiopad -top {TOP}",
    "xcup": f"synth_xilinx -family xcup -flatten -noiopad -top {TOP}",
}
_XILINX = ("xc7", "xcup")
_MODULE = re.compile(r"^module (\w+)\(.*?^endmodule$\n", re.DOTALL | re.MULTILINE)
PLACEMENT = {
    "ecp5": "--85k --package CABGA756 --speed 6 --freq 200 --timing-allow-fail --out-of-context --seed 1",
    "ice40": "--hx8k --package ct256 --freq 100 --timing-allow-fail --seed 1",
}
"""Device and options of the clock rate: what is asked for, one seed; ECP5 without pins, iCE40 with free ones."""


def fpga_tools(target: str) -> dict[str, str]:
    """Tools that decide the figures: version and flags; nextpnr-ice40 only where it is installed."""
    tools = {"yosys": f"{package_version('pyosys')}: {FLAGS[target]}"}
    placer = f"nextpnr-{target}"
    if target == "ecp5" or (target == "ice40" and program(f"yowasp-{placer}")):
        tools[placer] = f"{package_version(f'yowasp-{placer}')}: {PLACEMENT[target]}"
    return tools


def measure_fpga(source: str, target: str, tools: Mapping[str, str], timeout: float = TIMEOUT_S) -> Area:
    """Synthesises RTLIL `source`, and places and routes it where `tools` name a nextpnr."""
    with workspace() as folder:
        (folder / "unit.il").write_text(source)
        yosys(
            folder,
            "read_rtlil unit.il",
            *_mapping(target, folder),
            "tee -q -o stat.json stat -json",
            "write_json netlist.json",
            timeout=timeout,
        )
        cells = read_json(folder / "stat.json")["design"]["num_cells_by_type"]
        placer = f"nextpnr-{target}"
        fmax = place_and_route(folder / "netlist.json", target, timeout) if placer in tools else None
    return Area(target=target, **count(cells, target), fmax_mhz=fmax, cells=cells, tools=tools)


def _mapping(target: str, folder: Path) -> tuple[str, ...]:
    """Passes of the target's own script.

    For Xilinx with a library of the cells that can be counted, in place of all that the families ever had, whose
    reading and cleaning take two thirds of a small unit's time; the netlists are the same.
    """
    if target not in _XILINX:
        return (FLAGS[target],)
    (folder / "cells.v").write_text(_rare_cells(target))
    return (
        "read_verilog -lib -specify +/xilinx/cells_sim.v",
        "read_verilog -lib cells.v",
        f"hierarchy -check -top {TOP}",
        f"{FLAGS[target]} -run prepare:",
    )


@functools.cache
def _rare_cells(target: str) -> str:
    """Those of Yosys' file of rarer Xilinx cells that have a rule; any other in a netlist is an error there."""
    text = files("pyosys").joinpath("share", "xilinx", "cells_xtra.v").read_text(encoding="utf-8")
    return "".join(found[0] for found in _MODULE.finditer(text) if found[1] in RULES[target])


def place_and_route(netlist: Path, target: str, timeout: float = TIMEOUT_S) -> float:
    """Clock rate of a netlist in MHz, after routing, paths to and from pins left out."""
    tool = f"nextpnr-{target}"
    found = program(f"yowasp-{tool}")
    if found is None:
        raise SynthesisError(f"yowasp-{tool} is not installed beside this Python: pip install it")
    # The program sees only its working folder and those below it, hence relative names.
    command = [found, "--json", netlist.name, "--report", "report.json", *PLACEMENT[target].split(), "-q"]
    run_tool(tool, command, netlist.parent, timeout=timeout)
    clocks = read_json(netlist.with_name("report.json"))["fmax"]
    if not clocks:
        raise SynthesisError(f"{tool} reports no clock")
    return float(min(clock["achieved"] for clock in clocks.values()))


def read_json(path: Path) -> dict[str, Any]:
    """What a tool wrote; SynthesisError when it is missing or cut short, as on a full disk."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SynthesisError(f"a tool left no readable {path.name}; is the disk full?") from error
    if not isinstance(found, dict):
        raise SynthesisError(f"{path.name} of a tool is no JSON object")
    return found

"""Standard cells of a Liberty file: Yosys and ABC map, OpenSTA times where it is installed."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.synthesis.area import TOP, Area, SynthesisError
from reports.synthesis.fpga import read_json
from reports.synthesis.liberty import FILE, Liberty
from reports.synthesis.tools import TIMEOUT_S, opensta, package_version, run_tool, workspace, yosys

CLOCK_PS = 5000
"""Period that gates are sized for: 200 MHz."""
FANOUT = 16
"""Most gates that one drives: more get a tree of buffers, else one register would drive a whole memory."""
_ABC = (
    "strash;&get -n;&fraig -x;&put;scorr;dc2;dretime;strash;&get -n;&dch -f;&nf;&put;topo;"
    f"buffer -p -N {FANOUT};upsize -D {CLOCK_PS};dnsize -D {CLOCK_PS}"
)
FLAGS = (
    f"synth -flatten -top {TOP}",
    f"dfflibmap -liberty {FILE}",
    f"abc -liberty {FILE} -script +{_ABC.replace(' ', ',')}",
    "opt_clean -purge",
)
"""Yosys' own mapping (registers, then logic), and after it buffers and sizes."""
TIMING = f"clock {CLOCK_PS / 1000:g} ns, from register to register, no wires, ideal clock"
_SLACK = re.compile(r"^SLACK (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Netlist:
    """A unit in standard cells."""

    module: Mapping[str, Any]
    """The top module in Yosys' JSON."""
    verilog: str
    cells: Mapping[str, int]


def asic_tools(liberty: Liberty) -> dict[str, str]:
    """Tools and file that decide the figures; OpenSTA only where it is installed."""
    tools = {"yosys": f"{package_version('pyosys')}: {'; '.join(FLAGS)}", "liberty": liberty.about}
    timer = opensta()
    if timer:
        tools["opensta"] = f"{timer[1]}: {TIMING}"
    return tools


def map_to_gates(source: str, liberty: Liberty, folder: Path, timeout: float = TIMEOUT_S) -> Netlist:
    """RTLIL `source` in cells of `liberty`, made in `folder`; memories become registers and multiplexers.

    Raises SynthesisError when a cell remains that the file has not, or states no area of.
    """
    (folder / "unit.il").write_text(source)
    (folder / FILE).write_text(liberty.text)
    yosys(
        folder,
        "read_rtlil unit.il",
        *FLAGS,
        "delete t:$scopeinfo",
        "write_json netlist.json",
        # Without concatenations on the left of assignments, which OpenSTA does not read.
        "write_verilog -noattr -noexpr -simple-lhs netlist.v",
        timeout=timeout,
    )
    module = read_json(folder / "netlist.json")["modules"][TOP]
    cells = Counter(cell["type"] for cell in module["cells"].values())
    for cell in cells:
        liberty.area(cell)
    return Netlist(
        module=module, verilog=(folder / "netlist.v").read_text(), cells=dict(sorted(cells.items()))
    )


def measure_asic(source: str, liberty: Liberty, tools: Mapping[str, str], timeout: float = TIMEOUT_S) -> Area:
    """Maps RTLIL `source` to the cells of `liberty`; with OpenSTA, times it."""
    with workspace() as folder:
        netlist = map_to_gates(source, liberty, folder, timeout)
        area = sum(liberty.area(cell) * number for cell, number in netlist.cells.items())
        fmax = static_timing(netlist.verilog, folder, timeout) if "opensta" in tools else None
    nand2 = liberty.nand2
    return Area(
        target="asic",
        area_um2=area,
        nand2=area / liberty.area(nand2) if nand2 else None,
        gates=sum(netlist.cells.values()),
        flip_flops=sum(n for cell, n in netlist.cells.items() if liberty.is_flip_flop(cell)),
        fmax_mhz=fmax,
        cells=netlist.cells,
        tools=tools,
    )


def static_timing(verilog: str, folder: Path, timeout: float = TIMEOUT_S) -> float | None:
    """Clock rate in MHz of a netlist, by its worst path from register to register; None without such a path.

    OpenSTA ends with 0 whatever happens, so an error is known by its text.
    """
    timer = opensta()
    if timer is None:
        raise SynthesisError("OpenSTA is not installed: no program sta on PATH")
    # OpenSTA reads neither `wire signed` nor ports declared so.
    (folder / "timed.v").write_text(verilog.replace(" signed ", " "))
    (folder / "timing.tcl").write_text(
        f"read_liberty {FILE}\nread_verilog timed.v\nlink_design {TOP}\nset_cmd_units -time ns\n"
        f"create_clock -name clk -period {CLOCK_PS / 1000} [get_ports clk]\n"
        "set registers [all_registers -data_pins]\n"
        "foreach path [find_timing_paths -from [all_registers -clock_pins] -to $registers] "
        "{puts \"SLACK [get_property $path slack]\"}\nputs DONE\nexit\n"
    )  # fmt: skip
    log = run_tool("OpenSTA", [timer[0], "-exit", "timing.tcl"], folder, timeout=timeout)
    errors = [line for line in log.splitlines() if line.startswith("Error")]
    if errors or "DONE" not in log.splitlines():
        raise SynthesisError(f"OpenSTA failed: {errors[0] if errors else 'it stopped early'}")
    slacks = [float(slack) for slack in _SLACK.findall(log)]
    return 1000 / (CLOCK_PS / 1000 - min(slacks)) if slacks else None

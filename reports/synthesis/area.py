"""What synthesis finds for one unit on one target, and how it fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Target = Literal["ecp5", "ice40", "xc7", "xcup", "asic"]
"""Lattice ECP5 and iCE40 HX, Xilinx 7 series and UltraScale+, and standard cells of any Liberty file."""
TOP = "unit"
"""Name of the top module in every netlist."""


class SynthesisError(RuntimeError):
    """A figure cannot be had: a tool failed or is missing, a file is bad, a cell has no cost; one line says which."""


class ToolStoppedError(SynthesisError):
    """A tool was killed or took too long, which says nothing about what it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Size of one unit on one target; what the target has not, or cannot tell, is None and never 0."""

    target: str
    luts: float | None = None
    """ECP5: LUT4, two per carry cell included; iCE40: LUT4; Xilinx: LUTs of any size, as memory included."""
    flip_flops: float | None = None
    dsps: float | None = None
    """ECP5: 18 x 18 multipliers; Xilinx: DSP48; the iCE40 HX has none."""
    block_rams: float | None = None
    """ECP5: 18 kbit blocks; iCE40: 4 kbit; Xilinx: 36 kbit, a half for an 18 kbit one."""
    carries: float | None = None
    """ECP5: CCU2C, two bits each; iCE40: SB_CARRY, one bit; Xilinx: CARRY4."""
    area_um2: float | None = None
    """Standard cells: sum of the cells' areas, without wires or clock tree."""
    nand2: float | None = None
    """Standard cells: that sum in two-input NAND gates, the smallest one of the Liberty file."""
    gates: float | None = None
    """Standard cells: how many, flip-flops included."""
    fmax_mhz: float | None = None
    """Clock rate: FPGA after place and route, standard cells by static timing; None where it is not measured."""
    cells: Mapping[str, int]
    """Cell type -> count, as the tool reports."""
    tools: Mapping[str, str]
    """Tool -> version and flags; for standard cells also the Liberty file and how NAND2 was found in it."""

    @property
    def versions(self) -> str:
        """Such as `yosys 0.70, nextpnr-ecp5 0.11.1`."""
        return ", ".join(f"{tool} {text.partition(': ')[0]}" for tool, text in self.tools.items())

    @property
    def flags(self) -> str:
        """Such as `yosys synth_ecp5 -top unit; nextpnr-ecp5 --85k`."""
        return "; ".join(f"{tool} {text.partition(': ')[2]}" for tool, text in self.tools.items())

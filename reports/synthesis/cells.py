"""What every cell of an FPGA family takes; a cell without a rule is an error, never 0."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from reports.synthesis.area import SynthesisError


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
_ICE40 = {
    "SB_LUT4": Cost(luts=1),
    # The carry beside a LUT of the same logic cell; where none fits, the cell's LUT is lost, which is not counted.
    "SB_CARRY": Cost(carries=1),
    # Either clock edge, with or without enable, synchronous or asynchronous set or reset.
    **{
        f"SB_DFF{edge}{enable}{reset}": Cost(flip_flops=1)
        for edge in ("", "N")
        for enable in ("", "E")
        for reset in ("", "SR", "R", "SS", "S")
    },
    **{f"SB_RAM40_4K{edges}": Cost(block_rams=1) for edges in ("", "NR", "NW", "NRNW")},
    "$scopeinfo": NOTHING,
}
_XILINX = {
    **{f"LUT{n}": Cost(luts=1) for n in range(1, 7)},
    **{name: Cost(flip_flops=1) for name in ("FDRE", "FDSE", "FDCE", "FDPE")},
    "CARRY4": Cost(carries=1),
    "MUXF7": NOTHING,
    "MUXF8": NOTHING,
    # A lone inverter is a LUT unless the vendor's tool absorbs it.
    "INV": Cost(luts=1),
    "BUFG": NOTHING,
    # LUT RAM: the LUTs of a 64-bit column (CLB guides), as many as the primitive's bits and ports need.
    "RAM32X1S": Cost(luts=1),
    "RAM64X1S": Cost(luts=1),
    "RAM128X1S": Cost(luts=2),
    "RAM256X1S": Cost(luts=4),
    "RAM32X1D": Cost(luts=2),
    "RAM64X1D": Cost(luts=2),
    "RAM128X1D": Cost(luts=4),
    "RAM32M": Cost(luts=4),
    "RAM64M": Cost(luts=4),
    "SRL16E": Cost(luts=1),
    "SRLC32E": Cost(luts=1),
    "$scopeinfo": NOTHING,
}
_XC7 = {
    **_XILINX,
    "DSP48E1": Cost(dsps=1),
    "RAMB18E1": Cost(block_rams=0.5),
    "RAMB36E1": Cost(block_rams=1),
}
_XCUP = {
    **_XILINX,
    "CARRY8": Cost(carries=1),
    "MUXF9": NOTHING,
    "DSP48E2": Cost(dsps=1),
    "RAMB18E2": Cost(block_rams=0.5),
    "RAMB36E2": Cost(block_rams=1),
    "RAM512X1S": Cost(luts=8),
    "RAM256X1D": Cost(luts=8),
    "RAM32M16": Cost(luts=8),
    "RAM64M8": Cost(luts=8),
}
RULES: Mapping[str, Mapping[str, Cost]] = {"ecp5": _ECP5, "ice40": _ICE40, "xc7": _XC7, "xcup": _XCUP}
"""Cost of every cell type that can occur; one that is not here is an error."""


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

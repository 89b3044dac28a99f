"""What a design stores beside its units: the weights of its program, and the buffers of its accelerator."""

from collections.abc import Mapping

import numpy as np

from golden.program import Program
from reports.tradeoff.rows import Buffer
from sim.accelerator import Memory
from sim.traffic import one_of_each

BLOCK_BYTES: Mapping[str, int] = {"ecp5": 2048, "ice40": 512, "xc7": 4096, "xcup": 4096}
"""Bytes of one block RAM, parity left out: 18, 4 and 36 kbit blocks."""


def weight_kib(program: Program) -> float:
    """Second operands of products that are constants, packed at the widths of their codes, in KiB.

    A channel's codes span 2^bits - 1 steps wherever its zero point lies, which is kept apart; log2_mac has channels in
    columns. A constant that several operations read is stored once.
    """
    sizes: dict[str, int] = {}
    for operation in program.operations:
        name = operation.inputs.get("w", "")
        if name in program.constants:
            weights = program.constants[name]
            axis = 0 if operation.unit == "log2_mac" else 1
            bits = max(1, int(np.ptp(one_of_each(weights), axis=axis).max()).bit_length())
            sizes[name] = max(sizes.get(name, 0), weights.size * bits)
    return sum(sizes.values()) / 8192


def buffers_of(memory: Memory | None, target: str) -> tuple[Buffer, ...] | None:
    """The buffers that an accelerator's description states, on one target; None where it states none."""
    if memory is None:
        return None
    copies = 2 if memory.double_buffered else 1
    return tuple(
        Buffer(
            name=name,
            kbit=8.0 * copies * kib,
            block_rams=copies * -(-(kib << 10) // BLOCK_BYTES[target]) if target in BLOCK_BYTES else None,
        )
        for name, kib in (
            ("weight buffer", memory.weight_buffer_kib),
            ("activation buffer", memory.activation_buffer_kib),
        )
    )

"""Table MAC in reports: sweep over code widths and narrow accumulators, tangent tables; every code against ends."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from golden.formats import Integer
from reports.dot_product import (
    OVERFLOWING,
    dot_product_reference,
    dot_product_stimuli,
    dot_product_volume,
    overflow_suffix,
)
from reports.units.threshold_encoder import tangent
from sim.unit import Beats
from sim.units.table_mac import TableMac

ENTRY_BITS = 12


def _spec(bits: int) -> TableMac:
    """Attention · V: tangent codes of probabilities, V an activation with a zero point."""
    top = (1 << bits) - 1
    return TableMac(
        code_bits=bits,
        entry_bits=ENTRY_BITS,
        table=tuple(round(tangent(code / top) * ((1 << ENTRY_BITS) - 1)) for code in range(top + 1)),
        w_format=Integer(bits=bits, signed=False),
        w_zero_point=1 << (bits - 1),
        acc_bits=ENTRY_BITS + bits + 8,  # sums of up to 197 terms
    )


SWEEP = [_spec(bits) for bits in (4, 6, 8)] + [
    # Five of the largest products, up to 4095 · 8 each, leave ±2^17.
    replace(_spec(4), acc_bits=18, overflow=overflow)
    for overflow in OVERFLOWING
]


def label(spec: TableMac) -> str:
    """Such as `table4-e12-x-u4-z8`: code and entry bits; format and zero point of the other operand.

    `-wrap18` follows where sums may overflow.
    """
    operands = f"table{spec.code_bits}-e{spec.entry_bits}-x-{spec.w_format}-z{spec.w_zero_point}"
    return operands + overflow_suffix(spec)


def stimuli(spec: TableMac, rng: np.random.Generator) -> dict[str, Beats]:
    """Rows of random operands and of every code; biases that take some sums to the limits."""
    return dot_product_stimuli(
        spec, spec.code_format, range(1 << spec.code_bits), lambda codes: spec.values[codes], rng
    )


def volume(spec: TableMac, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` products in rows of 1 to 64: random operands, and rows of the ends alone."""
    return dot_product_volume(
        spec, spec.code_format, range(1 << spec.code_bits), lambda codes: spec.values[codes], rng, count
    )


def reference(spec: TableMac, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Accumulators by golden's reference, row by row."""
    from golden.units.table_mac import golden

    return dot_product_reference(golden, spec, inputs)

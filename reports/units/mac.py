"""MAC in reports: sweep over operand widths and narrow accumulators; rows of random and extreme codes of any length."""

from collections.abc import Mapping

import numpy as np

from golden.formats import Integer
from reports.dot_product import (
    OVERFLOWING,
    dot_product_reference,
    dot_product_stimuli,
    dot_product_volume,
    overflow_suffix,
)
from reports.stimuli import ends
from sim.unit import Beats
from sim.units.mac import Mac

SWEEP = [
    # Activations × weights: both zero points folded away; Q·Kᵀ: two activations with zero points.
    Mac(
        a_format=Integer(bits=bits, signed=False),
        w_format=Integer(bits=bits, signed=signed),
        a_zero_point=zero_point,
        w_zero_point=zero_point and zero_point - 1,
        acc_bits=2 * bits + 10,
    )
    for bits in (4, 8)
    for signed, zero_point in ((True, 0), (False, 1 << (bits - 1)))
] + [
    # Five of the largest products, up to 120 each, leave ±512.
    Mac(
        a_format=Integer(bits=4, signed=False),
        w_format=Integer(bits=4, signed=True),
        a_zero_point=0,
        w_zero_point=0,
        acc_bits=10,
        overflow=overflow,
    )
    for overflow in OVERFLOWING
]


def label(spec: Mac) -> str:
    """Such as `u8-z0-x-s8-z0`: formats and zero points of both operands; `-wrap10` where sums may overflow."""
    operands = f"{spec.a_format}-z{spec.a_zero_point}-x-{spec.w_format}-z{spec.w_zero_point}"
    return operands + overflow_suffix(spec)


def stimuli(spec: Mac, rng: np.random.Generator) -> dict[str, Beats]:
    """Rows of random and extreme operands; biases that take some sums to the accumulator's limits."""
    return dot_product_stimuli(
        spec, spec.a_format, ends(spec.a_format), lambda codes: codes - spec.a_zero_point, rng
    )


def volume(spec: Mac, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` products in rows of 1 to 64: random operands, and rows of the ends alone."""
    return dot_product_volume(
        spec, spec.a_format, ends(spec.a_format), lambda codes: codes - spec.a_zero_point, rng, count
    )


def reference(spec: Mac, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Accumulators by golden's reference, row by row."""
    from golden.units.mac import golden

    return dot_product_reference(golden, spec, inputs)

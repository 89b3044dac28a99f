"""Two-scale MAC in reports: sweep over code widths, both kinds of regions, narrow accumulators; rows to each end."""

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
from sim.units.two_scale_mac import TwoScaleMac

SWEEP = [
    TwoScaleMac(
        code_bits=bits,
        shift=shift,
        signed_regions=signed_regions,
        w_format=Integer(bits=bits, signed=weights),
        w_zero_point=0 if weights else 1 << (bits - 1),
        acc_bits=2 * bits + shift + 8,
    )
    # Attention · V: two-scale probabilities, V an activation with a zero point; after GELU: sign-scale, weights.
    for bits, shift in ((4, 5), (6, 4), (8, 4))
    for signed_regions, weights in ((False, False), (True, True))
] + [
    # The largest terms are 7 · 8 << 5: three leave ±2^12, and one alone leaves ±2^10.
    TwoScaleMac(
        code_bits=4,
        shift=5,
        signed_regions=signed_regions,
        w_format=Integer(bits=4, signed=True),
        w_zero_point=0,
        acc_bits=acc_bits,
        overflow=overflow,
    )
    for signed_regions, acc_bits in ((False, 13), (True, 11))
    for overflow in OVERFLOWING
]


def label(spec: TwoScaleMac) -> str:
    """Such as `sign-scale4-m5-x-s4-z0`: regions, code bits and shift; format and zero point of the other operand.

    `-wrap13` follows where sums may overflow.
    """
    regions = "sign" if spec.signed_regions else "two"
    operands = f"{regions}-scale{spec.code_bits}-m{spec.shift}-x-{spec.w_format}-z{spec.w_zero_point}"
    return operands + overflow_suffix(spec)


def stimuli(spec: TwoScaleMac, rng: np.random.Generator) -> dict[str, Beats]:
    """Rows of random operands and of both ends of each region; biases that take some sums to the limits."""
    return dot_product_stimuli(spec, spec.code_format, _ends(spec), lambda codes: spec.values[codes], rng)


def volume(spec: TwoScaleMac, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` products in rows of 1 to 64: random operands, and rows of the ends alone."""
    return dot_product_volume(
        spec, spec.code_format, _ends(spec), lambda codes: spec.values[codes], rng, count
    )


def _ends(spec: TwoScaleMac) -> list[int]:
    """Both ends of each region."""
    payload = ends(Integer(bits=spec.payload_bits, signed=False))
    return [*payload, *(code + (1 << spec.payload_bits) for code in payload)]


def reference(spec: TwoScaleMac, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Accumulators by golden's reference, row by row."""
    from golden.units.two_scale_mac import golden

    return dot_product_reference(golden, spec, inputs)

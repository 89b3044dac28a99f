"""Real factors as integer multiplier and shift, with the offset that belongs to them."""

import math

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import MAX_BITS

MULTIPLIER_BITS = 18
"""Signed multiplier width: the narrow operand of an ECP5 MULT18X18D, below the 25/27 x 18 of Xilinx DSPs."""
MAX_SHIFT = 40
"""A factor so small that it would need a larger shift keeps fewer multiplier bits instead: with 16-bit results
and 18-bit multipliers, a wider shift would only widen the offset (result bits + shift <= 62)."""


def fixed_point(ratio: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(multiplier, shift) with multiplier / 2^shift nearest to each positive `ratio`.

    The multiplier lies in [2^16, 2^17), the positive half of an 18-bit signed word, so the relative error is at
    most 2^-17; smaller only where the shift would exceed MAX_SHIFT.
    """
    if not (np.isfinite(ratio).all() and (ratio > 0).all()):
        raise InvariantError(
            f"requantizer factors must be positive and finite, not {ratio.min()} .. {ratio.max()}"
        )
    exponent = np.frexp(ratio)[1].astype(np.int64)  # ratio = m * 2^exponent, m in [0.5, 1)
    shift = np.minimum(MULTIPLIER_BITS - 1 - exponent, MAX_SHIFT)
    multiplier = np.rint(np.ldexp(ratio, shift)).astype(np.int64)
    carried = multiplier == 1 << (MULTIPLIER_BITS - 1)  # rounding up to 2^17 does not fit the signed word
    multiplier[carried] >>= 1
    shift[carried] -= 1
    if shift.min() < 1:
        raise InvariantError(f"requantizer factor {ratio.max()} needs a left shift")
    return multiplier, shift


def fixed_offset(steps: NDArray[np.float64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """Offset of a requantizer: `steps` output codes plus one half (HALF_UP), in units of 2^-shift codes.

    Limited to 2^60, where a small factor has a large shift and the steps lie far outside every output format: the
    result saturates there anyway, the sign is all that matters.
    """
    limit = np.ldexp(1.0, MAX_BITS - 2 - shift)
    return np.rint(np.ldexp(np.clip(steps, -limit, limit), shift)).astype(np.int64) + (
        np.int64(1) << (shift - 1)
    )


def check_product(acc_bits: int, multiplier: NDArray[np.int64], offset: NDArray[np.int64], what: str) -> None:
    """InvariantError when acc * multiplier + offset could leave the 62 bits that sim and RTL provide for it."""
    widest = (1 << (acc_bits - 1)) * int(np.abs(multiplier).max()) + int(np.abs(offset).max())
    if widest.bit_length() + 1 > MAX_BITS:
        raise InvariantError(
            f"{what}: the requantizer's sum needs {widest.bit_length() + 1} bits, more than {MAX_BITS}"
        )


def shared_shift(gains: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """(multipliers, one common shift) for signed `gains`; the largest magnitude fills the 18-bit signed word."""
    peak = float(np.abs(gains).max())
    exponent = math.frexp(peak)[1] if peak else 0
    shift = min(MULTIPLIER_BITS - 1 - exponent, MAX_SHIFT)
    if shift < 1:
        raise InvariantError(f"a gain of {peak} needs a left shift")
    limit = (1 << (MULTIPLIER_BITS - 1)) - 1
    return np.clip(np.rint(np.ldexp(gains, shift)), -limit, limit).astype(np.int64), shift

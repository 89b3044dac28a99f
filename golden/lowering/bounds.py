"""Accumulator widths from worst-case bounds on every partial sum, so that no overflow can happen."""

import numpy as np
from numpy.typing import NDArray

from golden.formats import Integer


def weighted_sum(weights: NDArray[np.int64], bias: NDArray[np.int64], max_code: int) -> Integer:
    """Accumulator of bias + Σ w · code for codes in [0, max_code], whatever the order of summation.

    A partial sum is largest when exactly the positive terms at full code have been added, and smallest likewise.
    """
    high = np.maximum(bias, 0) + np.maximum(weights, 0).sum(1) * max_code
    low = np.minimum(bias, 0) + np.minimum(weights, 0).sum(1) * max_code
    return Integer.holding(int(low.min()), int(high.max()))


def product_sum(length: int, a: tuple[int, int], w: tuple[int, int]) -> Integer:
    """Accumulator of `length` products of integers in the inclusive ranges `a` and `w`."""
    corners = [x * y for x in a for y in w]
    return Integer.holding(length * min(0, *corners), length * max(0, *corners))


def shifted_sum(length: int, w: tuple[int, int], frac_bits: int) -> Integer:
    """Accumulator of `length` log2-coded terms (w << frac_bits) >> j.

    Code 0 (j = 0) is the largest; odd codes of base √2 weigh at most √2/2 of it. One unit more on each side
    covers the rounding where the odd accumulator joins.
    """
    low, high = min(0, w[0]), max(0, w[1])
    return Integer.holding(length * (low << frac_bits) - 1, length * (high << frac_bits) + 1)


def centred_range(bits: int, zero_point: int) -> tuple[int, int]:
    """Range of code - zero_point for unsigned codes of `bits` bits."""
    return -zero_point, (1 << bits) - 1 - zero_point

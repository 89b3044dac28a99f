"""Kernels in the log domain: powers of two, the sum of a row's, and its log2 (docs/datapath.md, "softmax", 2 to 4).

FLOOR in all of them.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sim.unit import Codes

LOG_INDEX_BITS = 12
"""Bits of the sum after its leading one that log2 looks at."""


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def power_of_two(d: int, f: int, exp_base: Codes, exp_slope: Codes, segment_shift: int, fewer: int) -> int:
    """2^−d of a distance d with f fraction bits, with `fewer` fraction bits less than the table's."""
    r = d & ((1 << f) - 1)
    segment, low = r >> segment_shift, r & ((1 << segment_shift) - 1)
    mantissa = exp_base[segment] - exp_slope[segment] * low
    return mantissa >> min((d >> f) + fewer, 62)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def powers_of_two(
    f: int, exp_base: Codes, exp_slope: Codes, segment_shift: int, count: int
) -> NDArray[np.int32]:
    """`power_of_two` of the distances 0 to count − 1."""
    powers: NDArray[np.int32] = np.empty(count, np.int32)  # below 2^31, as P is 30 at most
    for d in range(count):
        powers[d] = power_of_two(d, f, exp_base, exp_slope, segment_shift, 0)
    return powers


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _sum_of_powers(
    scores: Codes, x_max: int, f: int, exp_base: Codes, exp_slope: Codes, segment_shift: int, absent: int,
    powers: NDArray[np.int32],
) -> int:  # fmt: skip
    """The sum; `powers`, unless empty, are those of all distances up to one that is 0."""
    total = 0
    if powers.size:
        # In int32, which twice as many of fit into a vector; the caller has proven that it holds every distance.
        last, top, none = np.int32(powers.size - 1), np.int32(x_max), np.int32(absent)
        for j in range(
            scores.size
        ):  # by index, which compilers make vectors of; the elements themselves they do not
            score = np.int32(scores[j])
            power = powers[min(np.int32(top - score), last)]
            total += power if score != none else 0
        return total
    for x in scores:
        if x != absent:
            total += power_of_two(x_max - x, f, exp_base, exp_slope, segment_shift, 0)
    return total


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def row_max(row: Codes) -> int:
    """The largest score, by index, which compilers make vectors of."""
    top = row[0]
    for j in range(row.size):
        top = max(top, row[j])
    return top  # type: ignore[no-any-return]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _log2_sum(total: int, p_bits: int, g: int, log_base: Codes, log_slope: Codes, segment_shift: int) -> int:
    p = 0
    while total >> (p + 1):
        p += 1
    u = ((total << LOG_INDEX_BITS) >> p) & ((1 << LOG_INDEX_BITS) - 1)
    segment, low = u >> segment_shift, u & ((1 << segment_shift) - 1)
    return int(((p - p_bits) << g) + log_base[segment] + ((log_slope[segment] * low) >> segment_shift))


@njit(cache=True)  # type: ignore[untyped-decorator]
def row_level(
    row: Codes, x_max: int, exp_base: Codes, exp_slope: Codes, log_base: Codes, log_slope: Codes,
    exp_shift: int, log_shift: int, f: int, p_bits: int, g: int, offset: int, absent: int, powers: NDArray[np.int32],
) -> int:  # fmt: skip
    """log2 of the row's sum of powers, plus `offset`; the scalars are those of `LogDomainRows`."""
    total = _sum_of_powers(row, x_max, f, exp_base, exp_slope, exp_shift, absent, powers)
    return int(_log2_sum(total, p_bits, g, log_base, log_slope, log_shift) + offset)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def row_levels(
    rows: Codes, exp_base: Codes, exp_slope: Codes, log_base: Codes, log_slope: Codes,
    exp_shift: int, log_shift: int, f: int, p_bits: int, g: int, offset: int, absent: int, powers: NDArray[np.int32],
) -> Codes:  # fmt: skip
    """`row_level` of each of the rows `[rows, n]`."""
    levels = np.empty(len(rows), np.int64)
    for i in range(len(rows)):
        levels[i] = row_level(
            rows[i], row_max(rows[i]), exp_base, exp_slope, log_base, log_slope,
            exp_shift, log_shift, f, p_bits, g, offset, absent, powers,
        )  # fmt: skip
    return levels

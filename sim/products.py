"""Matrix products of integers, exact: the narrowest arithmetic that a bound on every partial sum allows."""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from sim.checks import check_bound, magnitude
from sim.unit import Codes

_INT16_MAX = (1 << 15) - 1
_INT32_MAX = (1 << 31) - 1


@numba.njit(cache=True, nogil=True)
def _narrow_products(a, w, bias, acc):  # type: ignore[no-untyped-def]
    """int16 x int16 in int32, for which LLVM emits the packed multiply-add; the caller has proven the bound.

    Eight rows of `a` share each row of `w` while it is in the first-level cache.
    """
    groups, rows, depth = a.shape
    blocks = (rows + 7) // 8
    for block in range(groups * blocks):
        group = block // blocks
        start = block % blocks * 8
        stop = min(start + 8, rows)
        weights = w[group % w.shape[0]]
        for n in range(weights.shape[0]):
            for m in range(start, stop):
                total = np.int32(0)
                for k in range(depth):
                    total = np.int32(total + np.int32(a[group, m, k]) * np.int32(weights[n, k]))
                acc[group, m, n] = bias[n] + np.int64(total)


@numba.njit(cache=True, nogil=True)
def _wide_products(a, w, bias, acc):  # type: ignore[no-untyped-def]
    """The same in int64, for operands or sums that need it."""
    groups, rows, depth = a.shape
    for row in range(groups * rows):
        group = row // rows
        m = row % rows
        weights = w[group % w.shape[0]]
        for n in range(weights.shape[0]):
            total = bias[n]
            for k in range(depth):
                total += a[group, m, k] * weights[n, k]
            acc[group, m, n] = total


class Operand(NamedTuple):
    """Codes less their zero point, in C order: int16 where that holds them, else int64."""

    codes: NDArray[np.int16] | NDArray[np.int64]
    reach: int
    """Largest magnitude."""
    row_reach: int
    """Largest sum of magnitudes along the last axis, or a bound on it."""


def centred(codes: Codes, extremes: tuple[int, int], zero_point: int) -> Operand:
    """`codes`, all within `extremes`, less their zero point, in the narrowest type a kernel takes."""
    low, high = extremes
    reach = max(zero_point - low, high - zero_point, 0)
    kind = np.int16 if reach <= _INT16_MAX else np.int64
    values = np.subtract(codes, zero_point, out=np.empty(codes.shape, kind), casting="unsafe")
    return Operand(values, reach, codes.shape[-1] * reach)


def fixed(operand: Operand) -> Operand:
    """`operand` made ready to be the second one of many products."""
    # Weights seldom reach their extremes, so the sum of their magnitudes is a much closer bound.
    sums = np.abs(operand.codes.astype(np.int64)).sum(axis=-1)
    return operand._replace(row_reach=magnitude(sums))


def products(a: Operand, w: Operand, bias: Codes) -> Codes:
    """`acc[g, m, n] = bias[n] + Σ_k a[g, m, k] · w[g, n, k]` in the narrowest exact arithmetic.

    Args:
        a: `[.., M, K]`.
        w: `[N, K]`, shared by all of `a`, or `[.., N, K]` with its leading axes.
        bias: `[N]`.

    Returns:
        `[G, M, N]`, all leading axes of `a` as one.

    Raises:
        InvariantError: a partial sum may exceed 64 bits.
    """
    outputs, depth = w.codes.shape[-2:]
    # Every partial sum, in whatever order, is within max|a| · max_n Σ_k |w[n, k]|.
    bound = a.reach * w.row_reach
    check_bound("mac partial sum", bound + magnitude(bias))
    # A weight matrix is shared, so that all rows of the batch form one group.
    rows = a.codes.shape[-2] if w.codes.ndim > 2 else a.codes.size // max(depth, 1)
    left, right = a.codes.reshape(-1, rows, depth), w.codes.reshape(-1, outputs, depth)
    acc = np.empty((left.shape[0], rows, outputs), np.int64)
    if bound <= _INT32_MAX and left.dtype == right.dtype == np.int16:
        _narrow_products(left, right, bias, acc)
    else:
        _wide_products(left.astype(np.int64), right.astype(np.int64), bias, acc)
    return acc

"""Integers as digits of 8 bits, and their matrix products from products of digits."""

from itertools import product
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from sim.checks import extremes
from sim.products_torch import Engine
from sim.unit import Codes

BITS = 8
"""Of a digit."""
_MOST_PASSES = 6
"""Products of digits that together are still faster than one product in a kernel."""


@numba.njit(cache=True, nogil=True)
def _split(codes, offset, half, digits, sums):  # type: ignore[no-untyped-def]
    """`codes[r, k] − offset = Σ_d digits[d, r, k] · 256^d`, which the caller has proven to fit; sums along the rows.

    Digits are signed if `half` is half of each, 128 + 128 · 256 + …: added, it makes them bytes, less 128 each.
    """
    count, rows, depth = digits.shape
    less = 128 if half else 0
    for row in range(rows):
        total = np.int64(0)
        for k in range(depth):
            total += np.int64(codes[row, k]) - offset
        sums[row] = total
        for d in range(count):
            for k in range(depth):
                digits[d, row, k] = (((np.int64(codes[row, k]) - offset + half) >> (8 * d)) & 255) - less


@numba.njit(cache=True, nogil=True)
def _look_up(codes, table, values, digits, sums):  # type: ignore[no-untyped-def]
    """`digits[d, r, k] = table[d, codes[r, k]]`, and the sums of `values[codes[r, k]]` along the rows."""
    count, rows, depth = digits.shape
    for row in range(rows):
        total = np.int64(0)
        for k in range(depth):
            total += values[codes[row, k]]
        sums[row] = total
        for d in range(count):
            of_digit = table[d]
            for k in range(depth):
                digits[d, row, k] = of_digit[codes[row, k]]


@numba.njit(cache=True, nogil=True)
def _join(part, shift, of_row, of_column, acc):  # type: ignore[no-untyped-def]
    """`acc = part · 2^shift + of_row + of_column`, one of each row and column of the product."""
    groups, rows, columns = part.shape
    for row in range(groups * rows):
        group = row // rows
        m = row % rows
        column = of_column[group % of_column.shape[0]]
        start = of_row[group, m]
        for n in range(columns):
            acc[group, m, n] = start + column[n] + (np.int64(part[group, m, n]) << shift)


@numba.njit(cache=True, nogil=True)
def _add(part, shift, acc):  # type: ignore[no-untyped-def]
    """`acc += part · 2^shift`."""
    for n in range(part.size):
        acc[n] += np.int64(part[n]) << shift


class Digits(NamedTuple):
    """Integers `[G, R, K]` as Σ_d parts[d] · 2^shifts[d] + offset."""

    parts: tuple[NDArray[Any], ...]
    """Each contiguous."""
    shifts: tuple[int, ...]
    offset: int
    sums: Codes
    """`[G, R]`: of the integers less the offset, along K."""
    reach: int
    """Largest magnitude in any part."""
    row_reach: int
    """Largest sum of magnitudes along K in any part."""


def split(codes: NDArray[Any], *, first: bool) -> Digits | None:
    """`codes[G, R, K]` in as few digits as hold them, unsigned ones only as the first operand; None if too many."""
    low, high = extremes(codes)
    # So many digits reach 255 times 1 + 256 + … further than their lowest, whatever the offset makes that.
    count, ones = 1, 1
    while high - low > 255 * ones:
        count, ones = count + 1, 256 * ones + 1
    if count > _MOST_PASSES:
        return None
    unsigned = first and (low >= 0 or low < -128 * ones or high > 127 * ones)
    lowest = 0 if unsigned else -128 * ones
    offset = 0 if lowest <= low and high <= lowest + 255 * ones else low - lowest
    groups, rows, depth = codes.shape
    digits = np.empty((count, groups * rows, depth), np.uint8 if unsigned else np.int8)
    sums = np.empty(groups * rows, np.int64)
    flat = np.ascontiguousarray(codes).reshape(digits.shape[1:])
    _split(flat, offset, 0 if unsigned else 128 * ones, digits, sums)
    limit = 255 if unsigned else 128
    reach = min(max(offset - low, high - offset), limit) if count == 1 else limit
    return _digits(digits, offset, sums, reach, codes.shape)


def decoded(codes: NDArray[Any], values: Codes) -> Digits | None:
    """`values[codes]` of `codes[G, R, K]` as the digits of a first operand; None if they are too many."""
    table = split(values.reshape(1, 1, -1), first=True)
    if table is None:
        return None
    of_digit = np.concatenate(table.parts)[:, 0]
    groups, rows, depth = codes.shape
    digits = np.empty((len(table.parts), groups * rows, depth), of_digit.dtype)
    sums = np.empty(groups * rows, np.int64)
    flat = np.ascontiguousarray(codes).reshape(digits.shape[1:])
    _look_up(flat, of_digit, values - table.offset, digits, sums)
    return _digits(digits, table.offset, sums, table.reach, codes.shape)


def _digits(
    digits: NDArray[Any], offset: int, sums: Codes, reach: int, shape: tuple[int, int, int]
) -> Digits:
    """`digits[D, G · R, K]` and their rows' sums, of operands `shape`."""
    groups, rows, depth = shape
    parts = tuple(part.reshape(shape) for part in digits)
    shifts = tuple(range(0, BITS * len(parts), BITS))
    return Digits(parts, shifts, offset, sums.reshape(groups, rows), reach, depth * reach)


def whole(codes: NDArray[Any], reach: int, row_reach: int) -> Digits:
    """`codes[G, R, K]` undivided."""
    return Digits((codes,), (0,), 0, np.zeros(codes.shape[:2], np.int64), reach, row_reach)


def tightened(digits: Digits) -> Digits:
    """With the row reach that the digits have, not just could have."""
    largest = max(int(np.abs(part.astype(np.int64)).sum(axis=-1).max(initial=0)) for part in digits.parts)
    return digits._replace(row_reach=largest)


def multiply(engine: Engine, a: Digits, w: Digits, bias: Codes, acc: Codes) -> bool:
    """`acc[g, m, n] = bias[n] + Σ_k a[g, m, k] · w[g or 0, n, k]`, unless `engine` cannot prove to compute that.

    Sums in int64 may wrap on their way: what they end at fits, as the caller has proven.
    """
    groups, rows, depth = a.parts[0].shape
    columns = w.parts[0].shape[1]
    if not (
        len(a.parts) * len(w.parts) <= _MOST_PASSES
        and a.reach * w.row_reach <= engine.limit
        and engine.exact(a.parts[0].dtype, (rows, columns, depth))
    ):
        return False
    of_column = bias + a.offset * (w.sums + depth * w.offset)
    of_row = w.offset * a.sums
    part = np.empty((groups, rows, columns), np.int32)
    for (x, i), (y, j) in product(zip(a.parts, a.shifts, strict=True), zip(w.parts, w.shifts, strict=True)):
        for group in range(groups):
            engine.multiply(x[group], y[group % len(y)], part[group])
        if x is a.parts[0] and y is w.parts[0]:
            _join(part, i + j, of_row, of_column, acc)
        else:
            _add(part.reshape(-1), i + j, acc.reshape(-1))
    return True

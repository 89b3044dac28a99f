"""Integers as digits of 8 bits, and their matrix products from products of digits."""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from sim.checks import extremes, magnitude
from sim.products_torch import Engine
from sim.unit import Codes

_MOST_PASSES = 6
"""Products of digits that together are still faster than one product in a kernel."""


@numba.njit(cache=True, nogil=True)
def _split(codes, offsets, half, digits, sums):  # type: ignore[no-untyped-def]
    """`codes[g, r, k] − offsets[g, r] = Σ_d digits[g, d, r, k] · 256^d`, and the sums of that along k.

    The caller has proven that the digits suffice. They are signed if `half` is half of each, 128 + 128 · 256 + …:
    added, it makes them bytes, less 128 each.
    """
    groups, count, rows, depth = digits.shape
    less = 128 if half else 0
    for row in range(groups * rows):
        group = row // rows
        r = row % rows
        line, offset = codes[group, r], offsets[group, r]
        total = np.int64(0)
        for k in range(depth):
            total += np.int64(line[k]) - offset
        sums[group, r] = total
        for d in range(count):
            digit = digits[group, d, r]
            for k in range(depth):
                digit[k] = (((np.int64(line[k]) - offset + half) >> (8 * d)) & 255) - less


@numba.njit(cache=True, nogil=True)
def _join(parts, of_row, factors, of_column, acc):  # type: ignore[no-untyped-def]
    """`acc[g, m, n] = Σ_ij parts[g, i, m, j, n] · 256^(i + j) + of_row[g, m] · factors[g, n] + of_column[g, n]`.

    One group of factors and columns serves all.
    """
    groups, high, rows, wide, columns = parts.shape
    total = np.empty(columns, np.int64)
    for row in range(groups * rows):
        group = row // rows
        m = row % rows
        line, one = acc[group, m], of_row[group, m]
        factor, column = factors[group % len(factors)], of_column[group % len(of_column)]
        lowest = parts[group, 0, m, 0]
        if high * wide == 1:
            for n in range(columns):
                line[n] = lowest[n] + one * factor[n] + column[n]
            continue
        for n in range(columns):
            total[n] = lowest[n] + one * factor[n] + column[n]
        for d in range(1, high * wide):
            part = parts[group, d // wide, m, d % wide]
            shift = 8 * (d // wide + d % wide)
            for n in range(columns):
                total[n] += np.int64(part[n]) << shift
        line[:] = total


class Digits(NamedTuple):
    """Integers `[G, R, K]` as Σ_d parts[g, d, r, k] · 256^d + offsets[g, r]."""

    parts: NDArray[Any]
    """`[G, D, R, K]`, contiguous."""
    offsets: Codes
    """`[G, R]`; a first operand's are all the same."""
    sums: Codes
    """`[G, R]`: of the integers less the offset, along K."""
    reach: int
    """Largest magnitude of a digit."""
    row_reach: int
    """Largest sum of magnitudes of digits along K."""


def first_digits(codes: NDArray[Any]) -> Digits | None:
    """`codes[G, R, K]` of a first operand in as few digits as hold them; None if those are too many."""
    low, high = extremes(codes)
    count = _count(high - low)
    if count > _MOST_PASSES:
        return None
    signed = low < 0 and low >= -128 * _ones(count) and high <= 127 * _ones(count)
    offset = 0 if signed or (low >= 0 and high <= 255 * _ones(count)) else low
    return _digits(codes, np.full(codes.shape[:2], offset), count, signed=signed)


def second_digits(codes: NDArray[Any]) -> Digits | None:
    """`codes[G, R, K]` of a second operand in as few signed digits as hold them; None if those are too many.

    Each row, which is one column of the product, has an offset of its own where that takes fewer digits than one
    for all: weights with a zero point per channel need it.
    """
    low, high = extremes(codes)
    lows, highs = np.int64(low), np.int64(high)
    if codes.size and _count(high - low) > 1:
        lows, highs = codes.min(axis=2).astype(np.int64), codes.max(axis=2).astype(np.int64)
        if _count(magnitude(highs - lows)) == _count(high - low):
            lows, highs = np.int64(low), np.int64(high)
    count = _count(int(np.max(highs - lows)))
    if count > _MOST_PASSES:
        return None
    lowest = -128 * _ones(count)
    fits = (lows >= lowest) & (highs <= lowest + 255 * _ones(count))
    offsets = np.broadcast_to(np.where(fits, 0, lows - lowest), codes.shape[:2])
    return _digits(codes, np.ascontiguousarray(offsets), count, signed=True)


def whole(codes: NDArray[Any], reach: int, row_reach: int) -> Digits:
    """`codes[G, R, K]` undivided."""
    none = np.zeros(codes.shape[:2], np.int64)
    return Digits(codes[:, None], none, none, reach, row_reach)


def tightened(digits: Digits) -> Digits:
    """With the reach along the rows that the digits have, instead of the one they could have."""
    return digits._replace(row_reach=magnitude(np.abs(digits.parts.astype(np.int64)).sum(axis=-1)))


def multiply(engine: Engine, a: Digits, w: Digits, bias: Codes, acc: NDArray[Any]) -> bool:
    """`acc[g, m, n] = bias[n] + Σ_k a[g, m, k] · w[g or 0, n, k]`, unless `engine` cannot be proven to do it.

    Sums in int64 may wrap on their way: what they end at fits, as the caller has proven.
    """
    groups, high, rows, depth = a.parts.shape
    wide, columns = w.parts.shape[1:3]
    if not (
        high * wide <= _MOST_PASSES
        and a.reach * w.row_reach <= engine.limit
        and engine.exact(a.parts.dtype, (high * rows, wide * columns, depth))
    ):
        return False
    parts = np.empty((groups, high, rows, wide, columns), np.int32)
    for group in range(groups):
        left, right = a.parts[group], w.parts[group % len(w.parts)]
        out = parts[group].reshape(high * rows, wide * columns)
        engine.multiply(left.reshape(high * rows, depth), right.reshape(wide * columns, depth), out)
    # (A + o)·(W + p) = A·W + p ΣA + o ΣW + K·o·p, o the offset of all rows of a, p that of a row of w.
    offset = int(a.offsets.flat[0]) if a.offsets.size else 0
    _join(parts, a.sums, w.offsets, bias + offset * (w.sums + depth * w.offsets), acc)
    return True


def _digits(codes: NDArray[Any], offsets: Codes, count: int, *, signed: bool) -> Digits:
    """`codes[G, R, K]` less the offsets in so many digits, which suffice."""
    groups, rows, depth = codes.shape
    digits = np.empty((groups, count, rows, depth), np.int8 if signed else np.uint8)
    sums = np.empty((groups, rows), np.int64)
    _split(codes, offsets, 128 * _ones(count) if signed else 0, digits, sums)
    reach = magnitude(digits)
    return Digits(digits, offsets, sums, reach, depth * reach)


def _count(span: int) -> int:
    """Digits, at least 1, that tell `span` + 1 neighbouring integers apart."""
    return max(-(-span.bit_length() // 8), 1)


def _ones(count: int) -> int:
    """1 + 256 + …, with so many terms."""
    return ((1 << (8 * count)) - 1) // 255

"""Accumulators that overflow as hardware does: sums modulo 2^acc_bits, and sums that saturate term by term."""

from collections.abc import Iterator
from math import prod

import numba
import numpy as np
from numpy.typing import NDArray

from golden.formats import MAX_BITS, Integer
from sim.checks import INT64_MAX, check_codes, check_length, magnitude
from sim.products import Operand, products
from sim.unit import Codes

OVERFLOWS = ("none", "wrap", "saturate")
"""What a unit's `overflow` may be; see docs/datapath.md, accumulators."""
_WIDEST = Integer(bits=MAX_BITS, signed=True)
_INT32_MAX = (1 << 31) - 1


@numba.njit(cache=True, nogil=True)
def _take(total, over, row, factor, low, high):  # type: ignore[no-untyped-def]
    """Adds `factor · row[n]` to each total and limits it; `over[n]` becomes other than 0 where that changed it.

    All are of one type, int32 where the caller has proven that no sum leaves it, else int64.
    """
    for n in range(total.size):
        exact = total.dtype.type(total[n] + factor * row[n])
        limited = min(max(exact, low), high)
        over[n] |= exact ^ limited
        total[n] = limited


@numba.njit(cache=True, nogil=True)
def _take_shifted(total, over, row, shift, low, high):  # type: ignore[no-untyped-def]
    """The same with the terms `row[n] >> shift`, a shift in 64 bits."""
    for n in range(total.size):
        exact = total.dtype.type(total[n] + (row[n] >> shift))
        limited = min(max(exact, low), high)
        over[n] |= exact ^ limited
        total[n] = limited


@numba.njit(cache=True, nogil=True)
def _saturated_products(a, w, start, spilt, low, high, acc, over):  # type: ignore[no-untyped-def]
    """k after k onto a row of totals, which stays in the first-level cache; w is `[G, K, N]`."""
    groups, rows, depth = a.shape
    total, changed = np.empty_like(start), np.empty_like(start)
    for row in range(groups * rows):
        group = row // rows
        m = row % rows
        total[:] = start
        changed[:] = spilt
        for k in range(depth):
            _take(total, changed, w[group, k], a[group, m, k], low, high)
        acc[group, m] = total
        over[group, m] = changed != 0


@numba.njit(cache=True, nogil=True)
def _saturated_list(words, columns, value_bits, start, spilt, low, high, acc, over):  # type: ignore[no-untyped-def]
    """Word after word onto a row of totals: its value times the column of weights at its index."""
    rows, places = words.shape
    half = np.int64(1) << (value_bits - 1)
    total, changed = np.empty_like(start), np.empty_like(start)
    for row in range(rows):
        total[:] = start
        changed[:] = spilt
        for p in range(places):
            value = ((words[row, p] + half) & (2 * half - 1)) - half
            _take(total, changed, columns[words[row, p] >> value_bits], total.dtype.type(value), low, high)
        acc[row] = total
        over[row] = changed != 0


@numba.njit(cache=True, nogil=True)
def _saturated_shifts(codes, shifts, w, low, high, sums, over):  # type: ignore[no-untyped-def]
    """`sums[p, g, m, n]` of the terms of codes of parity p; `shifts[p, code]` is −1 where they have none."""
    groups, rows, depth = codes.shape
    steps = shifts.shape[0]
    total = np.empty((steps, w.shape[2]), w.dtype)
    changed = np.empty(w.shape[2], w.dtype)
    for row in range(groups * rows):
        group = row // rows
        m = row % rows
        total[:] = 0
        changed[:] = 0
        for k in range(depth):
            for parity in range(steps):
                shift = shifts[parity, codes[group, m, k]]
                if shift >= 0:
                    _take_shifted(total[parity], changed, w[group, k], shift, low, high)
        sums[:, group, m] = total
        over[group, m] = changed != 0


def check_overflow(overflow: str) -> None:
    """Refuses a mode that is none.

    Raises:
        ValueError: `overflow` is not one of `OVERFLOWS`.
    """
    if overflow not in OVERFLOWS:
        raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")


def check_bias(tensor: str, bias: Codes | None, length: int, format: Integer, overflow: str) -> Codes:
    """`bias` as int64 after checking its length, and with overflow `none` that it fits `format`; no bias means 0.

    Raises:
        InvariantError: it holds no integers, has another length or does not fit.
    """
    if bias is None:
        return np.zeros(length, np.int64)
    check_length(tensor, bias.size, length)
    return check_codes(tensor, bias, format if overflow == "none" else _WIDEST)


def settled(sums: Codes, format: Integer, overflow: str) -> Codes:
    """Any int64 sums as an accumulator of `format` keeps them: modulo 2^bits for `wrap`, else limited."""
    if overflow == "wrap":
        half = 1 << (format.bits - 1)
        # Flipping the sign bit and taking its weight off again extends the sign.
        wrapped: Codes = ((sums & (2 * half - 1)) ^ half) - half
        return wrapped
    return np.clip(sums, format.min_code, format.max_code)


def stretches(depth: int, largest: int) -> Iterator[slice]:
    """Parts of `depth` terms of magnitude `largest` or less, whose sum onto any accumulator fits 64 bits."""
    most = max((INT64_MAX - (1 << MAX_BITS)) // max(largest, 1), 1)
    for start in range(0, depth, most):
        yield slice(start, start + most)


def wrapped_products(a: Operand, w: Operand, bias: Codes, format: Integer) -> Codes:
    """`sim.products.products`, modulo 2^bits of `format`: the order and the width of the sums before do not matter."""
    acc = settled(bias, format, "wrap")
    none = np.zeros_like(bias)
    for part in stretches(a.codes.shape[-1], a.reach * w.reach):
        left, right = _part(a, part), _part(w, part)
        acc = settled(acc + products(left, right, none), format, "wrap")
    return acc


def _part(operand: Operand, part: slice) -> Operand:
    """Those terms alone; `operand` itself where they are all there are."""
    if part.stop - part.start >= operand.codes.shape[-1]:
        return operand
    codes = operand.codes[..., part].copy()
    return Operand(codes, operand.reach, min(operand.row_reach, codes.shape[-1] * operand.reach))


def saturated_products(
    a: Operand, w: Operand, bias: Codes, format: Integer
) -> tuple[Codes, NDArray[np.bool_]]:
    """Dot products in the order of k that saturate at each term, and where one did.

    Args:
        a: `[.., M, K]`.
        w: `[N, K]`, shared by all of `a`, or `[.., N, K]` with its leading axes.
        bias: `[N]`, of any size; it saturates first.
        format: the accumulator.

    Returns:
        `[G, M, N]` accumulators, all leading axes of `a` as one, and of the same shape whether bias or a sum left
        the format.
    """
    outputs, depth = w.codes.shape[-2:]
    # A weight matrix is shared, so that all rows of the batch form one group.
    *lead, rows, _ = a.codes.shape
    groups, rows = (prod(lead), rows) if w.codes.ndim > 2 else (1, prod(lead) * rows)
    kind = _kind(format, max(a.reach, w.reach, a.reach * w.reach))
    left = a.codes.reshape(groups, rows, depth).astype(kind)
    right = np.ascontiguousarray(w.codes.reshape(groups, outputs, depth).transpose(0, 2, 1), kind)
    acc = np.empty((groups, rows, outputs), np.int64)
    over = np.empty(acc.shape, np.bool_)
    _saturated_products(left, right, *_start(bias, format, kind), acc, over)
    return acc, over


def saturated_list(
    words: Codes, columns: NDArray[np.int32], value_bits: int, reach: int, bias: Codes, format: Integer
) -> tuple[Codes, NDArray[np.bool_]]:
    """Sums over `words[M, P]` of value times `columns[index, N]`, saturated at each, and where one was.

    `reach` is the columns' largest magnitude; indices lie within the columns.
    """
    kind = _kind(format, max(reach, 1) << (value_bits - 1))
    acc = np.empty((len(words), bias.size), np.int64)
    over = np.empty(acc.shape, np.bool_)
    _saturated_list(
        words, columns.astype(kind, copy=False), value_bits, *_start(bias, format, kind), acc, over
    )
    return acc, over


def saturated_shifts(
    codes: Codes, shifts: Codes, w: Codes, format: Integer
) -> tuple[Codes, NDArray[np.bool_]]:
    """Sums over k of `w[g, k, n]` shifted right by what `codes[g, m, k]` means, saturated at each term.

    Args:
        codes: `[G, M, K]`.
        shifts: `[steps, codes]`: of each accumulator the shift of each code's term, 0 to 62, −1 for no term.
        w: `[G, K, N]`.
        format: each accumulator.

    Returns:
        `[steps, G, M, N]` accumulators, and `[G, M, N]` whether a sum of any of them left the format.
    """
    kind = _kind(format, magnitude(w))
    sums = np.empty((len(shifts), *codes.shape[:2], w.shape[2]), np.int64)
    over = np.empty(sums.shape[1:], np.bool_)
    low, high = kind(format.min_code), kind(format.max_code)
    _saturated_shifts(codes, shifts, np.ascontiguousarray(w, kind), low, high, sums, over)
    return sums, over


def _kind(format: Integer, largest: int) -> type[np.int32] | type[np.int64]:
    """Type that holds an accumulator of `format` and a term of magnitude `largest` added to it.

    int64 always does: a term stays within 2^61, an accumulator within its 62 bits.
    """
    return np.int32 if largest - format.min_code <= _INT32_MAX else np.int64


def _start(
    bias: Codes, format: Integer, kind: type[np.int32] | type[np.int64]
) -> tuple[NDArray[np.int32 | np.int64], NDArray[np.bool_], np.int32 | np.int64, np.int32 | np.int64]:
    """What totals start from, where the bias did not fit, and both limits."""
    first = settled(bias, format, "saturate")
    return first.astype(kind), first != bias, kind(format.min_code), kind(format.max_code)

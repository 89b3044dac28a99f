"""Sums of integers shifted right by what log2 codes say: by products with powers of two, or shift by shift."""

from math import prod
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from sim.products import Operand, centred, chosen, fixed, power_products
from sim.unit import Codes

_INT32_MAX = (1 << 31) - 1
_DEPTHS = 32
"""Terms along k come in multiples of this: two vectors of int32 where they are longest, so that no rest is left."""
_COLUMNS = 4
"""Columns that share the shifts of a row while these are in registers."""
_COLUMNS_PER_PASS = 16
"""A pass of the products takes about as long as shifting all terms of so many columns: measured at 64."""


@numba.njit(cache=True, nogil=True)
def _span(codes, none):  # type: ignore[no-untyped-def]
    """Smallest and largest of the flat `codes` other than `none`, the top one; (none, −1) if there are no others."""
    low, high = none, -1
    for n in range(codes.size):
        low = min(low, codes[n])
        high = max(high, codes[n] if codes[n] != none else -1)
    return low, high


@numba.njit(cache=True, nogil=True)
def _shifted_sums(codes, shifts, parities, w, sums):  # type: ignore[no-untyped-def]
    """`sums[p, g, m, n] += Σ_k w[g, k, n] >> shifts[c]` over the codes `c = codes[g, m, k]` of parity p.

    A shift of −1 stands for no term: those there are get listed first, without a branch.
    `w`, `shifts` and `sums` are int32 where the caller has proven that it suffices, else int64.
    """
    groups, rows, depth = codes.shape
    listed = np.empty(depth, np.int64)
    for row in range(groups * rows):
        group = row // rows
        m = row % rows
        count = 0
        for k in range(depth):
            listed[count] = k
            count += shifts[codes[group, m, k]] >= 0
        for k in listed[:count]:
            code = codes[group, m, k]
            shift = shifts[code]
            total = sums[parities[code], group, m]
            term = w[group, k]
            for n in range(total.size):
                total[n] += term[n] >> shift


@numba.njit(cache=True, nogil=True)
def _all_sums(codes, none, steps, w, sums):  # type: ignore[no-untyped-def]
    """`sums[p, g, m, n] = Σ_k w[g, n, k] >> ceil(c / steps)` over codes `c = codes[g, m, k]` of parity p but `none`.

    In int32, which the caller has proven to hold every sum. An int32 has no bit beyond 31: a shift by 31 gives the 0
    or −1 that a longer one would. Axes of `w` are padded with 0 to multiples of _COLUMNS and _DEPTHS.
    """
    groups, rows, depth = codes.shape
    _, columns, padded = w.shape
    shifts = np.zeros(padded, np.int32)
    # −1 where a term belongs to the sum, else 0.
    even, odd = np.zeros(padded, np.int32), np.zeros(padded, np.int32)
    halves = np.int32(steps - 1)
    for row in range(groups * rows):
        group = row // rows
        m = row % rows
        line = codes[group, m]
        for k in range(depth):
            code = np.int32(line[k])
            shifts[k] = min((code + halves) >> halves, np.int32(31))
            term = np.int32(0) if code == none else np.int32(-1)
            odd[k] = -(code & halves) & term
            even[k] = term ^ odd[k]
        for n in range(0, columns, 4):
            w0, w1, w2, w3 = w[group, n], w[group, n + 1], w[group, n + 2], w[group, n + 3]
            e0 = e1 = e2 = e3 = o0 = o1 = o2 = o3 = np.int32(0)
            for k in range(padded):
                shift = shifts[k] & np.int32(31)  # what it is; without it the compiler shifts in 64 bits
                x0, x1 = np.int32(w0[k] >> shift), np.int32(w1[k] >> shift)
                x2, x3 = np.int32(w2[k] >> shift), np.int32(w3[k] >> shift)
                e0, e1 = np.int32(e0 + (x0 & even[k])), np.int32(e1 + (x1 & even[k]))
                e2, e3 = np.int32(e2 + (x2 & even[k])), np.int32(e3 + (x3 & even[k]))
                o0, o1 = np.int32(o0 + (x0 & odd[k])), np.int32(o1 + (x1 & odd[k]))
                o2, o3 = np.int32(o2 + (x2 & odd[k])), np.int32(o3 + (x3 & odd[k]))
            sums[0, group, m, n], sums[0, group, m, n + 1] = e0, e1
            sums[0, group, m, n + 2], sums[0, group, m, n + 3] = e2, e3
            sums[1, group, m, n], sums[1, group, m, n + 1] = o0, o1
            sums[1, group, m, n + 2], sums[1, group, m, n + 3] = o2, o3


class Weights(NamedTuple):
    """Integers less their zero point, with F fraction bits to come."""

    values: NDArray[Any]
    """`[G, K, N]`, without the fraction bits."""
    turned: Operand
    """The same as `[G, N, K]`."""
    shape: tuple[int, ...]
    """What they were given in, `[.., K, N]`."""
    frac_bits: int
    """F."""

    @property
    def reach(self) -> int:
        """Largest magnitude of a term; 1 at least, as no shift brings a negative one above −1."""
        return max(self.turned.reach << self.frac_bits, 1)

    @property
    def columns(self) -> int:
        """N."""
        return int(self.values.shape[2])

    @property
    def row_reach(self) -> int:
        """Bound on every partial sum of terms: no shift brings a negative one above −1."""
        return (self.turned.row_reach << self.frac_bits) + int(self.values.shape[1])

    def terms(self, kind: type[np.signedinteger[Any]] = np.int64) -> NDArray[Any]:
        """`[G, K, N]` with the fraction bits, in a type that holds them."""
        terms: NDArray[Any] = self.values.astype(kind) << kind(self.frac_bits)
        return terms

    def padded(self) -> NDArray[np.int32]:
        """`[G, N, K]` with the fraction bits, which int32 holds, padded for `_all_sums`."""
        groups, columns, depth = self.turned.codes.shape
        shape = (groups, -(-columns // _COLUMNS) * _COLUMNS, -(-depth // _DEPTHS) * _DEPTHS)
        terms = np.zeros(shape, np.int32)
        terms[:, :columns, :depth] = self.turned.codes
        terms <<= np.int32(self.frac_bits)
        return terms

    def part(self, depths: slice) -> "Weights":
        """Those of some k."""
        values = self.values[:, depths]
        turned = self.turned.codes[..., depths].copy()
        reach = self.turned.reach
        return Weights(values, Operand(turned, reach, reach * turned.shape[-1]), values.shape, self.frac_bits)


def weights(codes: Codes, ends: tuple[int, int], zero_point: int, frac_bits: int, *, ready: bool) -> Weights:
    """`codes[.., K, N]`, which lie within `ends`; `ready` for many sums if they are constant."""
    values = centred(codes, ends, zero_point)
    matrices = values.codes.reshape(prod(codes.shape[:-2]), *codes.shape[-2:])
    turned = Operand(matrices.swapaxes(1, 2).copy(), values.reach, values.reach * codes.shape[-2])
    return Weights(matrices, fixed(turned) if ready else turned, codes.shape, frac_bits)


def shifted_sums(codes: NDArray[Any], shifts: Codes, steps: int, w: Weights) -> Codes:
    """`[steps, G, M, N]` sums over k of `w[g, k, n]` shifted right by `shifts[codes[g, m, k]]`, FLOOR each.

    The first is that of the even codes, the second that of the odd ones. A term that loses no bit is w times a power
    of two, and sums of those are products of matrices, in as many passes as the powers have digits; the others are
    shifted and added one by one. Where that is more work than to shift and add every term, that is done.

    Args:
        codes: `[G, M, K]`, of 16 bits at most.
        shifts: of each code, its part by `steps`, rounded up, 62 at most; −1 for the top one, which has no term.
        steps: 1, for a single sum, or 2.
        w: whose sums the caller has proven to fit 64 bits.
    """
    lines = np.ascontiguousarray(codes)
    low, high = _span(lines.reshape(-1), len(shifts) - 1)
    every = np.arange(len(shifts))
    left = np.where((low <= every) & (every <= high), shifts, -1)
    if w.columns <= _COLUMNS_PER_PASS * _passes(left, steps, w) and w.row_reach <= _INT32_MAX:
        terms = w.padded()
        alone = np.empty((2, *codes.shape[:2], terms.shape[1]), np.int32)
        _all_sums(lines, len(shifts) - 1, steps, terms, alone)
        return alone[:steps, ..., : w.columns].astype(np.int64)
    sums = np.zeros((steps, *codes.shape[:2], w.values.shape[2]), np.int64)
    if _multiplied(lines, left, w, sums):
        left = np.where(left <= w.frac_bits, -1, left)
    if (left >= 0).any():
        kind = np.int32 if codes.shape[2] * w.reach <= _INT32_MAX else np.int64
        # An int32 term has no bit beyond 31: a shift by 31 gives the 0 or −1 that a longer one would.
        amounts = np.minimum(left, 31 if kind is np.int32 else 62).astype(kind)
        others = np.zeros(sums.shape, kind)
        _shifted_sums(lines, amounts, every % steps, w.terms(kind), others)
        sums += others
    return sums


def _passes(shifts: Codes, steps: int, w: Weights) -> int:
    """8-bit products that `_multiplied` takes, and one more where it leaves terms to shift; many without an engine."""
    exact = shifts[(shifts >= 0) & (shifts <= w.frac_bits)]
    if not chosen():
        return w.columns
    powers = int(exact.max() - exact.min()) + 1 if exact.size else 0
    of_w = 1 if w.turned.digits is None else w.turned.digits.parts.shape[1]
    return steps * -(-powers // 8) * of_w + int((shifts > w.frac_bits).any())


def _multiplied(codes: NDArray[Any], shifts: Codes, w: Weights, sums: Codes) -> bool:
    """Fills `sums` by products with the terms of `shifts` up to F, which keep every bit; False if it cannot."""
    exact = shifts[(shifts >= 0) & (shifts <= w.frac_bits)]
    if not exact.size:
        return True
    low, high = int(exact.min()), int(exact.max())
    steps = len(sums)
    for parity, acc in enumerate(sums):
        # Shift j is that of code steps · j, and of the one before with √2; high is the least power there is.
        first = steps * high - parity
        if not power_products(codes, w.turned, acc, first=first, step_bits=steps - 1, count=high - low + 1):
            sums[:] = 0
            return False
    sums <<= w.frac_bits - high
    return True

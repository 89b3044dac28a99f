"""Sums of integers shifted right by what log2 codes say, those of odd codes times √2."""

from math import prod
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from sim.checks import magnitude
from sim.products import centred
from sim.unit import Codes
from sim.vectors import LANES, UNROLLED, WIDTH, add_terms, list_terms

_INT32_MAX = (1 << 31) - 1
_ROWS = 8
"""Rows whose lists of terms stay in the first-level cache, beside WIDTH columns of the terms."""
_ALIGNED = 64
"""Bytes of a line of the caches: a vector that lies in two takes twice as long to read."""


@numba.njit(cache=True, nogil=True)
def _lay_out(weights, frac_bits, terms):  # type: ignore[no-untyped-def]
    """`terms[block, k, n] = weights[k, block · WIDTH + n] << frac_bits`: the columns of a block side by side."""
    for k in range(len(weights)):
        for block in range(len(terms)):
            some = weights[k, block * WIDTH : (block + 1) * WIDTH]
            term = terms[block, k]
            for n in range(some.size):
                term[n] = np.int64(some[n]) << frac_bits


@numba.njit(cache=True, nogil=True)
def _list_row(line, none, steps, longest, nothing, offsets, amounts, counts):  # type: ignore[no-untyped-def]
    """Lists the terms of a row of codes by parity, each list filled up with the term at `nothing`, which is 0."""
    for parity in range(steps):
        listed = list_terms(
            line, np.int32(none), np.int32(steps), np.int32(parity), np.int32(longest),
            np.int32(WIDTH), offsets[parity], amounts[parity],
        )  # fmt: skip
        offsets[parity, listed : listed + UNROLLED] = nothing
        amounts[parity, listed : listed + UNROLLED] = 0
        counts[parity] = listed


@numba.njit(cache=True, nogil=True)
def _join_row(even, odd, root, root_frac_bits, out):  # type: ignore[no-untyped-def]
    """`out = even + odd · root / 2^root_frac_bits`, HALF_UP; returns the smallest and the largest of them.

    The product may exceed 64 bits, its high and low part do not: one has 47 bits, the root 16.
    """
    half, mask = (np.int64(1) << root_frac_bits) >> 1, (np.int64(1) << root_frac_bits) - 1
    low, high = np.int64(np.iinfo(np.int64).max), np.int64(np.iinfo(np.int64).min)
    for n in range(out.size):
        times = np.int64(odd[n])
        rounded = ((times & mask) * root + half) >> root_frac_bits
        joined = np.int64(even[n]) + (times >> root_frac_bits) * root + rounded
        low, high = min(low, joined), max(high, joined)
        out[n] = joined
    return low, high


@numba.njit(cache=True, nogil=True)
def _joined_sums(codes, w, frac_bits, none, steps, root, root_frac_bits, longest, acc):  # type: ignore[no-untyped-def]
    """`acc[g, m, n] = E + O · root / 2^root_frac_bits`, HALF_UP; returns the smallest and the largest of them.

    E and O are `Σ_k (w[g, k, n] << frac_bits) >> ceil(c / steps)` over even and over odd codes c = codes[g, m, k];
    `none` and all codes with `steps` 1 count as even, and `none` adds nothing.

    The sums are of the type of `longest`, which the caller has proven to hold all of them, as it has proven that an
    int64 holds what they join to. A shift by `longest` must give what every longer one does.
    """
    groups, rows, depth = codes.shape
    columns = w.shape[2]
    blocks = (columns + WIDTH - 1) // WIDTH
    # One more term, 0, is what fills up the lists.
    size = blocks * (depth + 1) * WIDTH
    room = np.zeros(size + _ALIGNED, longest.dtype)
    start = (-np.int64(room.ctypes.data) & (_ALIGNED - 1)) // room.itemsize
    terms = room[start : start + size].reshape(blocks, depth + 1, WIDTH)
    line = np.full((depth + LANES - 1) // LANES * LANES, none, np.int32)
    offsets = np.empty((_ROWS, 2, line.size + LANES), np.int32)
    amounts = np.empty((_ROWS, 2, line.size + LANES), np.int32)
    counts = np.zeros((_ROWS, 2), np.int64)
    sums = np.zeros((_ROWS, 2, blocks * WIDTH), longest.dtype)
    low, high = np.int64(np.iinfo(np.int64).max), np.int64(np.iinfo(np.int64).min)
    for group in range(groups):
        _lay_out(w[group], frac_bits, terms)
        for first in range(0, rows, _ROWS):
            count = min(rows - first, _ROWS)
            for m in range(count):
                line[:depth] = codes[group, first + m]
                _list_row(line, none, steps, longest[0], depth * WIDTH, offsets[m], amounts[m], counts[m])
            for block in range(blocks):
                of_block = terms[block].reshape(-1)
                for m in range(count):
                    for parity in range(steps):
                        total = sums[m, parity, block * WIDTH : (block + 1) * WIDTH]
                        add_terms(of_block, offsets[m, parity], amounts[m, parity], counts[m, parity], total)
            for m in range(count):
                least, most = _join_row(sums[m, 0], sums[m, 1], root, root_frac_bits, acc[group, first + m])
                low, high = min(low, least), max(high, most)
    return low, high


class Weights(NamedTuple):
    """Integers less their zero point, with F fraction bits to come."""

    values: NDArray[Any]
    """`[G, K, N]`, without the fraction bits."""
    largest: int
    """Their largest magnitude."""
    shape: tuple[int, ...]
    """What they were given in, `[.., K, N]`."""
    frac_bits: int
    """F."""

    @property
    def reach(self) -> int:
        """Largest magnitude of a term, however far it is shifted right: a negative one stays −1."""
        return self.largest << self.frac_bits

    def terms(self) -> Codes:
        """`[G, K, N]` with the fraction bits."""
        terms: Codes = self.values.astype(np.int64) << self.frac_bits
        return terms

    def part(self, depths: slice) -> "Weights":
        """Those of some k."""
        values = np.ascontiguousarray(self.values[:, depths])
        return Weights(values, self.largest, values.shape, self.frac_bits)

    def fit_int32(self) -> bool:
        """Whether int32 holds every partial sum of terms: no shift brings a negative one above −1."""
        depth = self.values.shape[1]
        if depth * self.reach <= _INT32_MAX:
            return True
        # The weights of a column seldom reach their extremes, so the sum of their magnitudes is a closer bound.
        sums = np.abs(self.values).sum(axis=1, dtype=np.int64)
        return bool((magnitude(sums) << self.frac_bits) + depth <= _INT32_MAX)


def weights(codes: Codes, ends: tuple[int, int], zero_point: int, frac_bits: int) -> Weights:
    """`codes[.., K, N]`, which lie within `ends`."""
    values = centred(codes, ends, zero_point)
    matrices = values.codes.reshape(prod(codes.shape[:-2]), *codes.shape[-2:])
    return Weights(matrices, values.reach, codes.shape, frac_bits)


def joined_sums(
    codes: NDArray[Any],
    w: Weights,
    acc: NDArray[np.signedinteger[Any]],
    *,
    none: int,
    steps: int,
    root: int,
    root_frac_bits: int,
) -> tuple[int, int]:
    """`acc[g, m, n] = E + O · root / 2^root_frac_bits`, HALF_UP; returns the smallest and the largest of them.

    E and O are the sums of `w[g, k, n]`, with its fraction bits, shifted right by `ceil(c / steps)`, FLOOR, over the
    even and the odd codes `c = codes[g, m, k]` other than `none`; with `steps` 1 all are in E.

    Args:
        codes: `[G, M, K]`, of 16 bits at most.
        w: whose sums, and what they join to, the caller has proven to fit 64 bits.
        acc: what of that exceeds its type is lost.
        none: the top code, odd.
        steps: 1 or 2.
        root: below 2^16.
        root_frac_bits: fraction bits of the root, 15 at most.
    """
    if not acc.size:
        return 0, 0
    # An int32 term has no bit beyond 31: a shift by 31 gives the 0 or −1 that a longer one would.
    longest = np.array([31], np.int32) if w.fit_int32() else np.array([62], np.int64)
    lines = np.ascontiguousarray(codes)
    low, high = _joined_sums(lines, w.values, w.frac_bits, none, steps, root, root_frac_bits, longest, acc)
    return int(low), int(high)

"""Log2 code times integer: subtract the zero point, shift by the code (FLOOR), sum.

Base √2 sums odd codes apart and joins them, times 46341 / 2^15 (HALF_UP). Sums and join overflow as stated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import MAX_BITS, Integer
from sim.accumulation import check_overflow, saturated_shifts, settled, stretches
from sim.checks import check_bound, check_codes, check_length, extremes, magnitude
from sim.products import centred, decoded_products
from sim.unit import Beats, Codes, Port, Unit

SQRT2 = 46341
"""round(√2 · 2^15): a code 2j − 1 of base √2 is worth √2 · 2^−j."""
SQRT2_FRAC_BITS = 15
_INT32_MAX = (1 << 31) - 1


@numba.njit(cache=True, nogil=True)
def _mark(codes, present):  # type: ignore[no-untyped-def]
    """`present[code] = True` for each of the flat `codes`."""
    for n in range(codes.size):
        present[codes[n]] = True


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Log2Mac(Unit):
    """Multiply-accumulate of a log2 code and an integer: a shift instead of a multiplier, one term per cycle.

    Streams: `a` and `w` move together, one beat per term, `last` of `a` closing a sum; `o` gives one
    accumulator per sum, `latency` cycles after its last beat.
    """

    code_bits: int
    """Width of a log2 code, 2 to 8; the top code means 0."""
    steps_per_octave: int
    """1 for base 2, 2 for base √2."""
    frac_bits: int
    """Fraction bits F of the accumulator, 0 to 30."""
    w_format: Integer
    """Codes of the integer operand."""
    w_zero_point: int
    """Code of `w` that means 0."""
    acc_bits: int
    """Width of the signed accumulator, 1 to 62, and with base √2 of each of the two."""
    overflow: str = "none"
    """What sums beyond `acc_bits` do: none (lowering has proven that there are none), wrap or saturate."""
    join_cycles: ClassVar[int] = 2
    """Base √2 only: one stage multiplies the odd sum by 46341, one rounds and adds the even sum."""

    def __post_init__(self) -> None:
        if not 2 <= self.code_bits <= 8:
            raise ValueError(f"code_bits must be in [2, 8], not {self.code_bits}")
        if self.steps_per_octave not in (1, 2):
            raise ValueError(
                f"steps_per_octave must be 1 (base 2) or 2 (base √2), not {self.steps_per_octave}"
            )
        if not 0 <= self.frac_bits <= 30:
            raise ValueError(f"frac_bits must be in [0, 30], not {self.frac_bits}")
        if not 1 <= self.acc_bits <= MAX_BITS:
            raise ValueError(f"acc_bits must be in [1, {MAX_BITS}], not {self.acc_bits}")
        check_overflow(self.overflow)
        if self.term_format.bits + 17 * (self.steps_per_octave == 2) > MAX_BITS:
            raise ValueError(
                f"a term of w ({self.w_format}) with {self.frac_bits} fraction bits exceeds {MAX_BITS} bits"
            )

    @property
    def latency(self) -> int:
        """Cycles from the last beat of a sum to its accumulator: term and accumulator registers, join."""
        return 2 + (self.join_cycles if self.steps_per_octave == 2 else 0)

    @property
    def zero_code(self) -> int:
        """The code that means exactly 0."""
        return (1 << self.code_bits) - 1

    @property
    def code_format(self) -> Integer:
        """The log2 codes."""
        return Integer(bits=self.code_bits, signed=False)

    @property
    def term_format(self) -> Integer:
        """One term: w less its zero point, with F fraction bits; a shift right never grows it."""
        low, high = self.w_format.min_code - self.w_zero_point, self.w_format.max_code - self.w_zero_point
        return Integer.holding(min(low, 0) << self.frac_bits, max(high, 0) << self.frac_bits)

    @property
    def acc_format(self) -> Integer:
        """The accumulator."""
        return Integer(bits=self.acc_bits, signed=True)

    @property
    def shifts(self) -> tuple[int, ...]:
        """Right shift of each code: ceil(code / steps_per_octave), at most 62; −1 for the zero code."""
        steps = self.steps_per_octave
        return (*(min(-(-code // steps), 62) for code in range(self.zero_code)), -1)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The log2 codes and the integer operand."""
        return {"a": Port(self.code_format, last=True), "w": Port(self.w_format)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """One accumulator per sum."""
        return {"o": Port(self.acc_format)}

    def compute(self, *, a: Codes, w: Codes) -> Codes:
        """`acc[.., m, n] = Σ_k ((w[.., k, n] − w_zero_point) << F) >> shift(a[.., m, k])`, odd ones · √2.

        Args:
            a: `[.., M, K]` log2 codes.
            w: `[K, N]`, shared by all of `a`, or `[.., K, N]` with its leading axes.

        Returns:
            `[.., M, N]` accumulators with F fraction bits.

        Raises:
            InvariantError: a code lies outside its format, or with overflow none an accumulator outside `acc_bits`.
        """
        codes, terms = self._operands(a, w)
        bound = self._bound(terms)
        if self.overflow == "none":
            check_bound("log2_mac joined sum", bound * (SQRT2 + 1) + (1 << SQRT2_FRAC_BITS))
        if self.overflow == "none" or self._fits(bound):
            acc = self._joined(self._sums(codes, terms))
        else:
            sums = (
                self._wrapped(codes, terms) if self.overflow == "wrap" else self._saturated(codes, terms)[0]
            )
            acc = settled(self._joined(sums), self.acc_format, self.overflow)
        return check_codes("log2_mac accumulator", acc.reshape(*a.shape[:-1], w.shape[-1]), self.acc_format)

    def overflows(self, *, a: Codes, w: Codes) -> int:
        """Of how many accumulators of `compute` a sum in the order of k or the joined value leaves `acc_bits`."""
        codes, terms = self._operands(a, w)
        if self._fits(self._bound(terms)):
            return 0
        # Until the first overflow all modes agree, and only whether there is one counts.
        sums, over = self._saturated(codes, terms)
        joined = self._joined(sums)
        return int(np.count_nonzero(over | (joined != settled(joined, self.acc_format, "saturate"))))

    def _operands(self, a: Codes, w: Codes) -> tuple[Codes, Codes]:
        """Codes `[G, M, K]` and integers with F fraction bits `[G, K, N]`, checked."""
        shared = w.ndim == 2  # all of `a` are then the rows of one product
        if not shared and w.shape[:-2] != a.shape[:-2]:
            raise InvariantError(
                f"log2_mac operands a {a.shape} and w {w.shape} differ in their leading axes"
            )
        check_length("the rows of log2_mac operand w", w.shape[-2], a.shape[-1])
        codes = check_codes("log2_mac operand a", a, self.code_format)
        terms = (check_codes("log2_mac operand w", w, self.w_format) - self.w_zero_point) << self.frac_bits
        groups = (1, -1, a.shape[-1]) if shared else (-1, *a.shape[-2:])
        return codes.reshape(groups), terms.reshape(-1, *w.shape[-2:])

    def _bound(self, terms: Codes) -> int:
        """A term is within |w|, a negative one never above −1: K · max(|w|, 1) bounds every partial sum."""
        depth: int = terms.shape[1]
        return depth * max(magnitude(terms), 1)

    def _fits(self, bound: int) -> bool:
        """Whether `bound` proves that sums and joined value stay within `acc_bits`."""
        joined = bound if self.steps_per_octave == 1 else (bound * SQRT2 >> SQRT2_FRAC_BITS) + 1
        return joined <= self.acc_format.max_code

    def _joined(self, sums: Codes) -> Codes:
        """The even sums, with base √2 and the odd ones times √2."""
        if self.steps_per_octave == 1:
            even: Codes = sums[0]
            return even
        # O · 46341 may exceed 64 bits, its high and low part do not: O >> 15 has 47 bits, 46341 has 16.
        high, low = sums[1] >> SQRT2_FRAC_BITS, sums[1] & ((1 << SQRT2_FRAC_BITS) - 1)
        rounded = (low * SQRT2 + (1 << (SQRT2_FRAC_BITS - 1))) >> SQRT2_FRAC_BITS
        joined: Codes = sums[0] + high * SQRT2 + rounded
        return joined

    def _wrapped(self, a: Codes, w: Codes) -> Codes:
        """The sums modulo 2^acc_bits."""
        sums = np.zeros((self.steps_per_octave, *a.shape[:2], w.shape[2]), np.int64)
        for part in stretches(a.shape[2], magnitude(w)):
            sums = settled(sums + self._sums(a[:, :, part], w[:, part]), self.acc_format, "wrap")
        return sums

    def _saturated(self, a: Codes, w: Codes) -> tuple[Codes, NDArray[np.bool_]]:
        """The sums, saturated at each term, and where one was."""
        shifts = np.array(self.shifts)
        of_parity = [np.where(self._parities() == p, shifts, -1) for p in range(self.steps_per_octave)]
        return saturated_shifts(a, np.stack(of_parity), w, self.acc_format)

    def _parities(self) -> Codes:
        """Which sum the term of each code belongs to."""
        return np.arange(len(self.shifts)) % self.steps_per_octave

    def _sums(self, a: Codes, w: Codes) -> Codes:
        """`[steps_per_octave, G, M, N]` sums of the even, then of the odd codes' terms, in the fastest arithmetic.

        A term that loses no bit is w times a power of two, and sums of those are products of matrices. The others
        are shifted and added one by one.
        """
        codes = np.ascontiguousarray(a)
        present = np.zeros(1 << self.code_bits, np.bool_)
        _mark(codes.reshape(-1), present)
        shifts = np.where(present, np.array(self.shifts), -1)
        sums = np.zeros((self.steps_per_octave, *a.shape[:2], w.shape[2]), np.int64)
        if self._multiplied(codes, w, shifts, sums):
            shifts = np.where(shifts <= self.frac_bits, -1, shifts)
        if (shifts >= 0).any():
            kind = np.int32 if self._bound(w) <= _INT32_MAX else np.int64
            # An int32 term has no bit beyond 31: a shift by 31 gives the 0 or −1 that a longer one would.
            amounts = np.minimum(shifts, 31 if kind is np.int32 else 62).astype(kind)
            others = np.zeros(sums.shape, kind)
            _shifted_sums(codes, amounts, self._parities(), w.astype(kind), others)
            sums += others
        return sums

    def _multiplied(self, a: Codes, w: Codes, shifts: Codes, sums: Codes) -> bool:
        """Fills `sums` by products with the terms of `shifts` up to F, or returns False.

        w is a multiple of 2^F, of which those shifts keep every bit.
        """
        exponents = self.frac_bits - shifts
        exact = (shifts >= 0) & (exponents >= 0)
        least = int(exponents[exact].min(initial=self.frac_bits))
        powers = np.where(exact, np.left_shift(1, np.where(exact, exponents - least, 0)), 0)
        turned = np.ascontiguousarray((w >> self.frac_bits).swapaxes(1, 2))
        right = centred(turned, extremes(turned), 0)
        for parity, acc in enumerate(sums):
            values = np.where(self._parities() == parity, powers, 0)
            if not decoded_products(a, values, right, acc):
                return False
        sums <<= least
        return True

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One accumulator per row of `a`, a row being the beats up to `last`."""
        a, w = inputs["a"].codes[:, 0], inputs["w"].codes[:, 0]
        stops = np.flatnonzero(inputs["a"].last) + 1
        starts = np.concatenate(([0], stops[:-1]))
        acc = [
            self.compute(a=a[None, start:stop], w=w[start:stop, None])[0]
            for start, stop in zip(starts, stops, strict=True)
        ]
        return {"o": Beats(np.array(acc, np.int64).reshape(-1, 1), np.ones(len(acc), np.bool_))}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A beat per cycle; the accumulator `latency` after the last of a row."""
        last = inputs["a"].last
        beat = np.arange(last.size)
        return {"a": beat, "w": beat, "o": beat[last] + self.latency}

    def cycles(self, rows: int, length: int) -> int:
        """Cycles from the first beat of `rows` sums of `length` to the last accumulator, inclusive."""
        return rows * length + self.latency

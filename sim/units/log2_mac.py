"""Log2 code times integer: subtract the zero point, shift by the code (FLOOR), sum.

Base √2 sums odd codes apart and joins them, times 46341 / 2^15 (HALF_UP). Sums and join overflow as stated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import MAX_BITS, Integer
from sim.accumulation import check_overflow, saturated_shifts, settled, stretches
from sim.checks import check_bound, check_ends, check_length, check_range
from sim.log2_products import Weights, joined_sums, weights
from sim.unit import Beats, Codes, Port, Unit

SQRT2 = 46341
"""round(√2 · 2^15): a code 2j − 1 of base √2 is worth √2 · 2^−j."""
SQRT2_FRAC_BITS = 15
ROOT = (SQRT2, SQRT2_FRAC_BITS)
"""What odd sums are multiplied by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log2Mac(Unit):
    """Multiply-accumulate of a log2 code and an integer: a shift instead of a multiplier, one term per cycle.

    Streams: `a` and `w` move together, one beat per term, `last` of `a` closing a sum; `o` gives one
    accumulator per sum, `latency` cycles after its last beat.

    Ports: in `a: u(code_bits), last`, `w: w_format`; out `o: s(acc_bits)`.
    Latency: `n + 2 * steps_per_octave - 1` cycles from the first of a row's n beats to its sum.
    Interval: `n` cycles from a row to the next, one for each of its beats.
    Rounding: FLOOR in each term, HALF_UP where base √2 joins its sums; a sum beyond `acc_bits` wraps or saturates, as
        `overflow` says.
    Paper: base 2, FQ-ViT (IJCAI 2022, arXiv 2111.13824); base √2, RepQ-ViT (ICCV 2023, arXiv 2212.08254).
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
        return Integer.holding(low << self.frac_bits, high << self.frac_bits)

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

    def prepare(self, name: str, constant: Codes) -> Codes | Weights:
        """What `compute` takes as well in place of constant `name`: weights, checked and packed once."""
        return self._weights(constant) if name == "w" else constant

    def compute(self, *, a: Codes, w: Codes | Weights, kind: type[np.signedinteger[Any]] = np.int64) -> Codes:
        """`acc[.., m, n] = Σ_k ((w[.., k, n] − w_zero_point) << F) >> shift(a[.., m, k])`, odd ones · √2.

        Args:
            a: `[.., M, K]` log2 codes.
            w: `[K, N]`, shared by all of `a`, or `[.., K, N]` with its leading axes; or either, prepared.
            kind: type of the result, which holds `acc_format`.

        Returns:
            `[.., M, N]` accumulators with F fraction bits.

        Raises:
            InvariantError: a code lies outside its format, or with overflow none an accumulator outside `acc_bits`.
        """
        codes, weights = self._operands(a, w)
        bound = codes.shape[2] * weights.reach
        if self.overflow == "none":
            check_bound("log2_mac joined sum", bound * (SQRT2 + 1) + (1 << SQRT2_FRAC_BITS))
        if self.overflow == "none" or self._fits(bound):
            acc: Codes = np.empty((*codes.shape[:2], weights.shape[-1]), kind)
            check_ends("log2_mac accumulator", self._join_sums(codes, weights, acc, ROOT), self.acc_format)
        else:
            sums = (
                self._wrapped(codes, weights)
                if self.overflow == "wrap"
                else self._saturated(codes, weights)[0]
            )
            acc = settled(self._joined(sums), self.acc_format, self.overflow)
        return acc.reshape(*a.shape[:-1], acc.shape[-1]).astype(kind, copy=False)

    def overflows(self, *, a: Codes, w: Codes | Weights) -> int:
        """Of how many accumulators of `compute` a sum in the order of k or the joined value leaves `acc_bits`."""
        codes, weights = self._operands(a, w)
        if self._fits(codes.shape[2] * weights.reach):
            return 0
        # Until the first overflow all modes agree, and only whether there is one counts.
        sums, over = self._saturated(codes, weights)
        joined = self._joined(sums)
        return int(np.count_nonzero(over | (joined != settled(joined, self.acc_format, "saturate"))))

    def _operands(self, a: Codes, w: Codes | Weights) -> tuple[Codes, Weights]:
        """Codes `[G, M, K]` and the weights, checked."""
        held = w if isinstance(w, Weights) else self._weights(w)
        shared = len(held.shape) == 2  # all of `a` are then the rows of one product
        if not shared and held.shape[:-2] != a.shape[:-2]:
            raise InvariantError(
                f"log2_mac operands a {a.shape} and w {held.shape} differ in their leading axes"
            )
        check_length("the rows of log2_mac operand w", held.shape[-2], a.shape[-1])
        check_range("log2_mac operand a", a, self.code_format)
        return a.reshape((1, -1, a.shape[-1]) if shared else (-1, *a.shape[-2:])), held

    def _weights(self, w: Codes) -> Weights:
        """`w` less its zero point, checked."""
        ends = check_range("log2_mac operand w", w, self.w_format)
        return weights(w, ends, self.w_zero_point, self.frac_bits)

    def _fits(self, bound: int) -> bool:
        """Whether `bound` on every partial sum proves that sums and joined value stay within `acc_bits`."""
        joined = bound if self.steps_per_octave == 1 else (bound * SQRT2 >> SQRT2_FRAC_BITS) + 1
        return joined <= self.acc_format.max_code

    def _join_sums(self, a: Codes, w: Weights, acc: Codes, root: tuple[int, int]) -> tuple[int, int]:
        """`joined_sums` of this unit's codes."""
        factor, frac_bits = root
        return joined_sums(
            a, w, acc, none=self.zero_code, steps=self.steps_per_octave, root=factor, root_frac_bits=frac_bits
        )

    def _joined(self, sums: Codes) -> Codes:
        """The even sums, with base √2 and the odd ones times √2."""
        if self.steps_per_octave == 1:
            even: Codes = sums[0]
            return even
        high, low = sums[1] >> SQRT2_FRAC_BITS, sums[1] & ((1 << SQRT2_FRAC_BITS) - 1)
        # The product may exceed 64 bits, its high and low part do not: one has 47 bits, the root 16.
        joined: Codes = (
            sums[0] + high * SQRT2 + ((low * SQRT2 + (1 << SQRT2_FRAC_BITS >> 1)) >> SQRT2_FRAC_BITS)
        )
        return joined

    def _wrapped(self, a: Codes, w: Weights) -> Codes:
        """The sums modulo 2^acc_bits."""
        sums = np.zeros((self.steps_per_octave, *a.shape[:2], w.shape[-1]), np.int64)
        part = np.empty(sums.shape[1:], np.int64)
        for depths in stretches(a.shape[2], w.reach):
            for parity, total in enumerate(sums):
                codes = a[:, :, depths]
                # Those of one parity alone, and no root: what they join to is their sum.
                codes = np.where(codes % self.steps_per_octave == parity, codes, self.zero_code)
                self._join_sums(codes, w.part(depths), part, (1, 0))
                total[:] = settled(total + part, self.acc_format, "wrap")
        return sums

    def _saturated(self, a: Codes, w: Weights) -> tuple[Codes, NDArray[np.bool_]]:
        """The sums, saturated at each term, and where one was."""
        shifts = np.array(self.shifts)
        parities = np.arange(len(shifts)) % self.steps_per_octave
        of_parity = [np.where(parities == parity, shifts, -1) for parity in range(self.steps_per_octave)]
        return saturated_shifts(a, np.stack(of_parity), w.terms(), self.acc_format)

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

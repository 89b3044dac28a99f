"""Log2 multiply-accumulate hardware: centre, shift by the code, accumulate; base √2 joins two accumulators."""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value

from rtl.dot_product import DotProduct
from rtl.element import Element, centred
from rtl.stream import shape
from sim.units.log2_mac import SQRT2, SQRT2_FRAC_BITS
from sim.units.log2_mac import Log2Mac as Spec


class Log2Element(Element):
    """Shifts instead of a multiplier; base √2 has an accumulator of even and one of odd codes, and one adder."""

    spec: Spec

    @property
    def accumulators(self) -> int:
        """One per parity of the exponent."""
        return self.spec.steps_per_octave

    @property
    def finish_cycles(self) -> int:
        """Those of the join."""
        return self.spec.latency - 2

    @property
    def _shift_bits(self) -> int:
        """Width of a shift: one by all of a term's bits leaves its sign alone, as any longer one does."""
        return min(max(self.spec.shifts), self.spec.term_format.bits).bit_length()

    def left(self, code: Value) -> Value:
        """What a code means: its shift, then whether it is 0, then whether it is odd."""
        spec, bits = self.spec, self._shift_bits
        top = (
            1 << bits
        ) - 1  # any shift does for the zero code; with this one base 2's are the codes themselves
        shifts = Array(Const(top if shift < 0 else min(shift, top), bits) for shift in spec.shifts)
        return Cat(shifts[code], code == spec.zero_code, code[0])

    def right(self, code: Value) -> Value:
        """Less its zero point."""
        return centred(code, self.spec.w_format, self.spec.w_zero_point)

    def term(self, m: Module, left: Value, right: Value) -> Sequence[Value]:
        """(w − zero point) · 2^F shifted right by what the code means, 0 for the top code; the parity."""
        bits = self._shift_bits
        term, odd = Signal(shape(self.spec.term_format), reset_less=True), Signal(reset_less=True)
        shifted = (right << self.spec.frac_bits) >> left[:bits]
        m.d.sync += [term.eq(Mux(left[bits], 0, shifted)), odd.eq(left[bits + 1])]
        return term, odd

    def add(self, m: Module, term: Sequence[Value], before: Sequence[Value], sums: Sequence[Signal]) -> None:
        """One adder: a term belongs to one accumulator alone."""
        value, odd = term
        if len(sums) == 1:
            m.d.sync += sums[0].eq(self.kept(before[0] + value))
            return
        total = self.kept(Mux(odd, before[1], before[0]) + value)
        with m.If(odd):
            m.d.sync += sums[1].eq(total)
        with m.Else():
            m.d.sync += sums[0].eq(total)

    def finish(self, m: Module, move: Value, sums: Sequence[Value]) -> Value:
        """E + round_shift(O · 46341, 15) in `join_cycles`; 46341 = 5 · 257 + (11 << 12) takes four adders."""
        if len(sums) == 1:
            return sums[0]
        if SQRT2 != 5 * 257 + (11 << 12):
            raise ValueError(f"the adders below multiply by 46341, not {SQRT2}")
        evens, odds = sums
        five = odds + (odds << 2)
        low, high = five + (five << 8), (five << 1) + odds
        low_part, high_part = Signal(low.shape()), Signal(high.shape())
        even, joined = Signal(evens.shape()), Signal(shape(self.spec.acc_format))
        total = low_part + (high_part << 12)
        # round_shift(x, s) is (x >> s) plus the highest bit shifted out.
        rounded = (total >> SQRT2_FRAC_BITS) + total[SQRT2_FRAC_BITS - 1]
        with m.If(move):
            m.d.sync += [low_part.eq(low), high_part.eq(high), even.eq(evens)]
            m.d.sync += joined.eq(self.kept(even + rounded))
        return joined


class Log2Mac(DotProduct):
    """Sums of an integer times a log2 code, without a multiplier, one term per cycle.

    Ports: in `a: u(code_bits), last`, `w: w_format`; out `o: s(acc_bits)`.
    Latency: `n + 2 * steps_per_octave - 1` cycles from the first of a row's n beats to its sum.
    Interval: `n` cycles from a row to the next, one for each of its beats.
    Rounding: FLOOR in each term, HALF_UP where base √2 joins its sums; a sum beyond `acc_bits` wraps or saturates, as
        `overflow` says.
    Paper: base 2, FQ-ViT (IJCAI 2022, arXiv 2111.13824); base √2, RepQ-ViT (ICCV 2023, arXiv 2212.08254).
    """

    spec: Spec
    element = Log2Element

"""Log2 multiply-accumulate hardware: centre, shift by the code, accumulate; base √2 joins two accumulators."""

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value

from rtl.fixed import saturate
from rtl.stream import StreamUnit, shape
from sim.units.log2_mac import SQRT2, SQRT2_FRAC_BITS
from sim.units.log2_mac import Log2Mac as Spec


class Log2Mac(StreamUnit):
    """Sums of an integer times a log2 code, without a multiplier.

    Members: `a` (with `last`) and `w`, taken together, and `o`; one term per cycle, a sum `spec.latency` cycles
    after its last beat. A sum, E, O or join too wide for an accumulator saturates if the spec says so; else it loses
    its high bits, which is `wrap`.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """Everything moves on one strobe, so that a waiting sum stops the row behind it."""
        m = Module()
        move = self.o.ready | ~self.o.valid
        taken = self.join(m, move)
        code, term = self.a.payload.code[0], Signal(shape(self.spec.term_format))
        present, last, odd, first = Signal(), Signal(), Signal(), Signal(init=1)
        with m.If(move):
            m.d.sync += [
                *(present.eq(taken), last.eq(self.a.payload.last)),
                *(term.eq(self._term(code)), odd.eq(code[0])),
            ]
            with m.If(present):
                m.d.sync += first.eq(last)
        ends = present & last
        if self.spec.steps_per_octave == 1:
            with m.If(move):
                m.d.sync += self.o.valid.eq(ends)
                with m.If(present):
                    before = Mux(first, 0, self.o.payload.code[0])
                    m.d.sync += self.o.payload.code[0].eq(self._kept(before + term))
        else:
            evens, odds = Signal(shape(self.spec.acc_format)), Signal(shape(self.spec.acc_format))
            with m.If(move & present):
                m.d.sync += [
                    evens.eq(self._kept(Mux(first, 0, evens) + Mux(odd, 0, term))),
                    odds.eq(self._kept(Mux(first, 0, odds) + Mux(odd, term, 0))),
                ]
            self._join_parities(m, move, ends, evens, odds)
        return m

    def _term(self, code: Value) -> Value:
        """(w − zero point) · 2^F shifted right by what the code means; 0 for the top code."""
        spec = self.spec
        shifts = Array(Const(max(shift, 0), 6) for shift in spec.shifts)
        whole = (self.w.payload.code[0] - spec.w_zero_point) << spec.frac_bits
        return Mux(code == spec.zero_code, 0, whole >> shifts[code])

    def _kept(self, total: Value) -> Value:
        """What an accumulator takes of `total`, whose high bits it lacks."""
        return saturate(total, self.spec.acc_format) if self.spec.overflow == "saturate" else total

    def _join_parities(self, m: Module, move: Value, ends: Value, evens: Signal, odds: Signal) -> None:
        """E + round_shift(O · 46341, 15) in `join_cycles`; 46341 = 5 · 257 + (11 << 12) takes four adders."""
        if SQRT2 != 5 * 257 + (11 << 12):
            raise ValueError(f"the adders below multiply by 46341, not {SQRT2}")
        five = odds + (odds << 2)
        low, high = five + (five << 8), (five << 1) + odds
        low_part, high_part = Signal(low.shape()), Signal(high.shape())
        summed, joining, even = Signal(), Signal(), Signal.like(evens)
        total = low_part + (high_part << 12)
        # round_shift(x, s) is (x >> s) plus the highest bit shifted out.
        rounded = (total >> SQRT2_FRAC_BITS) + total[SQRT2_FRAC_BITS - 1]
        with m.If(move):
            m.d.sync += [
                summed.eq(ends),
                *(joining.eq(summed), low_part.eq(low), high_part.eq(high), even.eq(evens)),
                *(self.o.valid.eq(joining), self.o.payload.code[0].eq(self._kept(even + rounded))),
            ]

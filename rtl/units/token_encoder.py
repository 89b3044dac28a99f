"""Token encoder hardware: part the outliers, multiply, add the offset, shift right (FLOOR), saturate or take the 0."""

from functools import reduce
from operator import and_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed

from rtl.fixed import saturate
from rtl.outliers import is_far
from rtl.stream import StreamUnit, shape
from sim.units.requantizer import MULTIPLIER
from sim.units.token_encoder import TokenEncoder as Spec


class TokenEncoder(StreamUnit):
    """Codes of rows with constants of their own.

    Members: `x` and `o` with `last`; `multiplier`, `offset`, `shift` and `zero_code`, taken together with a row's
    first beat. One code per cycle, `spec.latency` later.

    Ports: in `x: u(in_bits), last`, `multiplier: s(18)`, `offset: offset_format`, `shift: u(6)`, `zero_code:
        u(code_bits)`; out `o: u(code_bits), last`.
    Latency: `4` cycles from a value to its code.
    Interval: `n` cycles from a row of n values to the next.
    Rounding: FLOOR, which is HALF_UP once the offset holds the half; then saturation.
    Paper: ADFQ-ViT (Neural Networks 186, 2025, arXiv 2407.02763).
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """A row's constants stay in registers; those used late follow its beats: the next row may be right behind."""
        m = Module()
        spec, x, o = self.spec, self.x, self.o
        move, row_starts = o.ready | ~o.valid, Signal(init=1)
        taken = self._take(m, move, row_starts)
        self.stages(m, move, taken, spec.latency)
        is_outlier = self._count(m, move & taken, row_starts)
        row = {name: Signal(shape(format), name=f"row_{name}") for name, format in spec.constants.items()}
        multiplier = Mux(row_starts, self.multiplier.payload.code[0], row["multiplier"])
        outlier, last = Signal(), Signal()
        product = Signal(signed(spec.value_format.bits + MULTIPLIER.bits))
        total, scaled = Signal(signed(spec.sum_bits)), Signal(signed(spec.sum_bits))
        shift = self._follow(m, move, row["shift"], 1)
        beside = self._follow(m, move, Cat(last, outlier, row["zero_code"]), 2)
        with m.If(move):
            m.d.sync += [
                product.eq((x.payload.code[0] - spec.in_zero_point) * multiplier),
                *(outlier.eq(is_outlier), last.eq(x.payload.last)),
                *(total.eq(product + row["offset"]), scaled.eq(total >> shift)),
                o.payload.code[0].eq(Mux(beside[1], beside[2:], saturate(scaled, spec.code_format))),
                o.payload.last.eq(beside[0]),
            ]
            with m.If(row_starts):
                m.d.sync += [row[name].eq(getattr(self, name).payload.code[0]) for name in row]
        return m

    def _take(self, m: Module, move: Value, row_starts: Signal) -> Value:
        """Handshakes: x moves alone but for a row's first beat, which moves with the constants."""
        constants = [getattr(self, name) for name in self.spec.constants]
        present = reduce(and_, (one.valid for one in constants))
        m.d.comb += self.x.ready.eq(move & (present | ~row_starts))
        for one in constants:
            m.d.comb += one.ready.eq(move & self.x.valid & present & row_starts)
        taken = self.x.valid & (present | ~row_starts)
        with m.If(move & taken):
            m.d.sync += row_starts.eq(self.x.payload.last)
        return taken

    def _count(self, m: Module, take: Value, row_starts: Signal) -> Value:
        """Whether x is an outlier; counts those of the row."""
        capacity = self.spec.capacity
        found, before = Signal(capacity.bit_length()), Signal(capacity.bit_length())
        outlier = is_far(self.x.payload.code[0], self.spec) & (before != capacity)
        m.d.comb += before.eq(Mux(row_starts, 0, found))
        with m.If(take):
            m.d.sync += found.eq(before + outlier)
        return outlier

    @staticmethod
    def _follow(m: Module, move: Value, value: Value, registers: int) -> Value:
        """`value` so many registers later."""
        for _ in range(registers):
            after = Signal.like(value)
            with m.If(move):
                m.d.sync += after.eq(value)
            value = after
        return value

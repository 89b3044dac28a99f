"""Residual adder hardware: one adder, one saturation, one register."""

from amaranth.hdl import Module

from rtl.fixed import saturate
from rtl.stream import StreamUnit
from sim.units.residual_adder import ResidualAdder as Spec


class ResidualAdder(StreamUnit):
    """Saturating sum. Members: `a` and `b`, taken together, and `o`; one sum per cycle, `spec.latency` later.

    Ports: in `a: s(bits)`, `b: s(bits)`; out `o: s(bits)`.
    Latency: `1` cycle from both operands to their sum.
    Interval: `1` cycle from a sum to the next.
    Rounding: none; the sum saturates.
    Paper: none of its own; one scale for the whole residual stream leaves nothing to align.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """The sum is one bit wider than its operands until it saturates."""
        m = Module()
        move = self.o.ready | ~self.o.valid
        self.stages(m, move, self.join(m, move), self.spec.latency)
        total = self.a.payload.code[0] + self.b.payload.code[0]
        with m.If(move):
            m.d.sync += self.o.payload.code[0].eq(saturate(total, self.spec.format))
        return m

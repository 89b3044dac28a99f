"""Requantizer hardware: multiply, add the offset, shift right (FLOOR), saturate; a register after each."""

from amaranth.hdl import Module, Signal, signed

from rtl.fixed import saturate
from rtl.stream import StreamUnit, shape
from sim.units.requantizer import MULTIPLIER, SHIFT
from sim.units.requantizer import Requantizer as Spec


class Requantizer(StreamUnit):
    """Accumulator to code.

    Members: `acc`, `multiplier`, `offset` and `shift`, taken together, and `o`; one code per cycle, `spec.latency`
    later.

    Ports: in `acc: acc_format`, `multiplier: s(18)`, `offset: offset_format`, `shift: u(6)`; out `o: out_format`.
    Latency: `4` cycles from an accumulator to its code.
    Interval: `1` cycle from an accumulator to the next.
    Rounding: FLOOR, which is HALF_UP once the offset holds the half; then saturation.
    Paper: multiplier and shift for a scale, as I-ViT (ICCV 2023, arXiv 2207.01405) has it.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """Products and sums have the width the spec derives, so neither can wrap."""
        m = Module()
        move = self.o.ready | ~self.o.valid
        self.stages(m, move, self.join(m, move), self.spec.latency)
        product = Signal(
            signed(self.spec.acc_format.bits + (not self.spec.acc_format.signed) + MULTIPLIER.bits)
        )
        total, scaled = Signal(signed(self.spec.sum_bits)), Signal(signed(self.spec.sum_bits))
        offset = Signal(shape(self.spec.offset_format))
        shift_1, shift_2 = Signal(shape(SHIFT)), Signal(shape(SHIFT))
        with m.If(move):
            m.d.sync += [
                product.eq(self.acc.payload.code[0] * self.multiplier.payload.code[0]),
                *(offset.eq(self.offset.payload.code[0]), shift_1.eq(self.shift.payload.code[0])),
                *(total.eq(product + offset), shift_2.eq(shift_1)),
                scaled.eq(total >> shift_2),
                self.o.payload.code[0].eq(saturate(scaled, self.spec.out_format)),
            ]
        return m

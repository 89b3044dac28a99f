"""Sums of terms, with or without a bias: the streams and the control of every multiply-accumulator."""

from typing import ClassVar

from amaranth.hdl import Module, Mux, Signal, Value

from rtl.element import Element
from rtl.stream import StreamUnit
from sim.decoded_mac import DecodedMac
from sim.units.log2_mac import Log2Mac
from sim.units.mac import Mac
from sim.units.outlier_mac import OutlierMac


class DotProduct(StreamUnit):
    """Sums of one term per cycle; a unit of this kind only names its `element`.

    Members: `a` (with `last`) and `w`, taken together, `bias`, where there is one, taken with a row's first beat,
    and `o`, which shows the accumulators or what the element makes of them: they hold while a sum waits to be taken.
    """

    spec: Mac | DecodedMac | OutlierMac | Log2Mac
    element: ClassVar[type[Element]]
    """Its arithmetic."""

    def elaborate(self, platform: object) -> Module:
        """Everything moves on one strobe, so that a waiting sum stops the row behind it."""
        m = Module()
        a, w, o, element = self.a, self.w, self.o, self.element(self.spec)
        row_starts, present, first, last = Signal(init=1), Signal(), Signal(), Signal()
        move, sums = o.ready | ~o.valid, element.sums()
        start = Signal(sums[0].shape())
        taken = self._take(m, move, row_starts, start)
        with m.If(move):
            m.d.sync += [present.eq(taken), first.eq(row_starts), last.eq(a.payload.last)]
            term = element.term(m, element.left(a.payload.code[0]), element.right(w.payload.code[0]))
            with m.If(taken):
                m.d.sync += row_starts.eq(a.payload.last)
            with m.If(present):
                with m.If(first):
                    m.d.sync += [one.eq(0) for one in sums]
                element.add(m, term, [Mux(first, start, one) for one in sums], sums)
        self.stages(m, move, present & last, 1 + element.finish_cycles)
        m.d.comb += o.payload.code[0].eq(element.finish(m, move, sums))
        return m

    def _take(self, m: Module, move: Value, row_starts: Value, start: Signal) -> Value:
        """Takes a beat of `a` and `w`, and with a row's first one its bias, into `start`; whether they are there."""
        a, w = self.a, self.w
        if "bias" not in self.spec.inputs:
            m.d.comb += [a.ready.eq(move & w.valid), w.ready.eq(move & a.valid)]
            return a.valid & w.valid  # and `start` stays at 0
        bias = self.bias
        with_bias = bias.valid | ~row_starts
        m.d.comb += [
            *(a.ready.eq(move & w.valid & with_bias), w.ready.eq(move & a.valid & with_bias)),
            bias.ready.eq(move & a.valid & w.valid & row_starts),
        ]
        with m.If(move):
            m.d.sync += start.eq(bias.payload.code[0])
        return a.valid & w.valid & with_bias

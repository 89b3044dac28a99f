"""Multiply-accumulate hardware: centre both operands, multiply, register; add to the accumulator, register."""

from amaranth.hdl import Module, Mux, Signal, Value

from golden.formats import Integer
from rtl.stream import StreamUnit, shape
from sim.units.mac import Mac as Spec


class Mac(StreamUnit):
    """Dot products onto a bias.

    Members: `a` (with `last`) and `w`, taken together, `bias`, taken with a row's first beat, and `o`, which is
    the accumulator itself: it holds while a sum waits to be taken. One product per cycle.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """Everything moves on one strobe, so that a waiting sum stops the row behind it."""
        m = Module()
        a, w, bias, o = self.a, self.w, self.bias, self.o
        acc = o.payload.code[0]
        row_starts, started, product = (
            Signal(init=1),
            Signal(shape(self.spec.acc_format)),
            self._product_signal(),
        )
        present, first, last = Signal(), Signal(), Signal()
        move, taken = o.ready | ~o.valid, Signal()
        with_bias = bias.valid | ~row_starts
        m.d.comb += [
            *(a.ready.eq(move & w.valid & with_bias), w.ready.eq(move & a.valid & with_bias)),
            bias.ready.eq(move & a.valid & w.valid & row_starts),
            taken.eq(a.valid & w.valid & with_bias),
        ]
        with m.If(move):
            m.d.sync += [
                *(present.eq(taken), first.eq(row_starts), last.eq(a.payload.last)),
                *(product.eq(self._centred_a * self._centred_w), started.eq(bias.payload.code[0])),
                o.valid.eq(present & last),
            ]
            with m.If(taken):
                m.d.sync += row_starts.eq(a.payload.last)
            with m.If(present):
                m.d.sync += acc.eq(Mux(first, started, acc) + product)
        return m

    @property
    def _centred_a(self) -> Value:
        return self.a.payload.code[0] - self.spec.a_zero_point

    @property
    def _centred_w(self) -> Value:
        return self.w.payload.code[0] - self.spec.w_zero_point

    def _product_signal(self) -> Signal:
        """Register of a product; the extremes are products of the operands' extremes."""
        spec = self.spec
        a = [code - spec.a_zero_point for code in (spec.a_format.min_code, spec.a_format.max_code)]
        w = [code - spec.w_zero_point for code in (spec.w_format.min_code, spec.w_format.max_code)]
        products = [x * y for x in a for y in w]
        return Signal(shape(Integer.holding(min(products), max(products))), name="product")

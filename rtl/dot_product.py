"""Sums of terms onto a bias: the handshakes and the accumulator of every multiply-accumulator that has a bias."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value

from golden.formats import Integer
from rtl.fixed import saturate
from rtl.stream import StreamUnit, shape
from sim.decoded_mac import DecodedMac
from sim.units.mac import Mac
from sim.units.outlier_mac import OutlierMac


class DotProduct(StreamUnit):
    """Dot products onto a bias; a unit of this kind only states its `total`.

    Members: `a` (with `last`) and `w`, taken together, `bias`, taken with a row's first beat, and `o`, which is
    the accumulator itself: it holds while a sum waits to be taken. One term per cycle. A sum too wide for the
    accumulator saturates if the spec says so; else it loses its high bits, which is `wrap`.
    """

    spec: Mac | DecodedMac | OutlierMac

    def total(self, m: Module, move: Value, before: Value) -> Value:
        """Sum of `before` and the term of the operands taken at the last `move`, which waits in a register; exact."""
        raise NotImplementedError(f"{type(self).__name__} states no total")

    def elaborate(self, platform: object) -> Module:
        """Everything moves on one strobe, so that a waiting sum stops the row behind it."""
        m = Module()
        a, w, bias, o = self.a, self.w, self.bias, self.o
        acc = o.payload.code[0]
        row_starts, started = Signal(init=1), Signal(acc.shape())
        present, first, last = Signal(), Signal(), Signal()
        move, taken = o.ready | ~o.valid, Signal()
        with_bias = bias.valid | ~row_starts
        m.d.comb += [
            *(a.ready.eq(move & w.valid & with_bias), w.ready.eq(move & a.valid & with_bias)),
            bias.ready.eq(move & a.valid & w.valid & row_starts),
            taken.eq(a.valid & w.valid & with_bias),
        ]
        total = self.total(m, move, Mux(first, started, acc))
        if self.spec.overflow == "saturate":
            total = saturate(total, self.spec.acc_format)
        with m.If(move):
            m.d.sync += [
                *(present.eq(taken), first.eq(row_starts), last.eq(a.payload.last)),
                started.eq(bias.payload.code[0]),
                o.valid.eq(present & last),
            ]
            with m.If(taken):
                m.d.sync += row_starts.eq(a.payload.last)
            with m.If(present):
                m.d.sync += acc.eq(total)
        return m


def product_shape(a: Integer, a_zero_point: int, w: Integer, w_zero_point: int) -> Shape:
    """Shape of a product of two codes less their zero points, whose extremes are products of the operands' extremes."""
    left = (a.min_code - a_zero_point, a.max_code - a_zero_point)
    right = (w.min_code - w_zero_point, w.max_code - w_zero_point)
    products = [x * y for x in left for y in right]
    return shape(Integer.holding(min(products), max(products)))

"""Two-scale multiply-accumulate hardware: multiply the payload, register; shift or negate, accumulate, register."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from golden.formats import Integer
from rtl.dot_product import DotProduct, product_shape
from sim.units.two_scale_mac import TwoScaleMac as Spec


class TwoScaleMac(DotProduct):
    """Dot products of two-scale or sign-scale codes and an integer onto a bias, one product per cycle."""

    spec: Spec

    def total(self, m: Module, move: Value, before: Value) -> Value:
        """The multiplier takes only the payload; the flag chooses between two wirings of the product."""
        spec = self.spec
        code, w = self.a.payload.code[0], self.w.payload.code[0] - spec.w_zero_point
        payload = Integer(bits=spec.payload_bits, signed=False)
        product = Signal(product_shape(payload, 0, spec.w_format, spec.w_zero_point))
        coarse = Signal()
        with m.If(move):
            m.d.sync += [product.eq(code[: spec.payload_bits] * w), coarse.eq(code[-1])]
        if not spec.signed_regions:
            return before + Mux(coarse, product << spec.shift, product)
        # −p = ~p + 1. A place below the lowest, where 1 + 1 carries, adds that 1 in the accumulator's own adder.
        term = Mux(coarse, product << spec.shift, ~product)
        return (Cat(Const(1), before).as_signed() + Cat(~coarse, term).as_signed()) >> 1

"""Two-scale multiply-accumulate hardware: multiply the payload, register; shift or negate, accumulate, register."""

from amaranth.hdl import Module, Mux, Signal, Value

from golden.formats import Integer
from rtl.dot_product import DotProduct, product_shape
from sim.units.two_scale_mac import TwoScaleMac as Spec


class TwoScaleMac(DotProduct):
    """Dot products of two-scale or sign-scale codes and an integer onto a bias, one product per cycle."""

    spec: Spec

    def term(self, m: Module, move: Value) -> Value:
        """The multiplier takes only the payload; the flag chooses between two wirings of the product."""
        spec = self.spec
        code, w = self.a.payload.code[0], self.w.payload.code[0] - spec.w_zero_point
        payload = Integer(bits=spec.payload_bits, signed=False)
        product = Signal(product_shape(payload, 0, spec.w_format, spec.w_zero_point))
        coarse = Signal()
        with m.If(move):
            m.d.sync += [product.eq(code[: spec.payload_bits] * w), coarse.eq(code[-1])]
        return Mux(coarse, product << spec.shift, -product if spec.signed_regions else product)

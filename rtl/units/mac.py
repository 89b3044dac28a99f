"""Multiply-accumulate hardware: centre both operands, multiply, register; add to the accumulator, register."""

from amaranth.hdl import Module, Signal, Value

from rtl.dot_product import DotProduct, product_shape
from sim.units.mac import Mac as Spec


class Mac(DotProduct):
    """Dot products of two integer operands onto a bias, one product per cycle."""

    spec: Spec

    def total(self, m: Module, move: Value, before: Value) -> Value:
        """Adds the product of both operands less their zero points."""
        spec = self.spec
        a, w = self.a.payload.code[0] - spec.a_zero_point, self.w.payload.code[0] - spec.w_zero_point
        product = Signal(product_shape(spec.a_format, spec.a_zero_point, spec.w_format, spec.w_zero_point))
        with m.If(move):
            m.d.sync += product.eq(a * w)
        return before + product

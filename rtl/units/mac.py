"""Multiply-accumulate hardware: centre both operands, multiply, register; add to the accumulator, register."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value

from rtl.dot_product import DotProduct
from rtl.element import Element, centred, product_shape
from sim.units.mac import Mac as Spec


class MacElement(Element):
    """The product of both operands less their zero points."""

    spec: Spec

    def left(self, code: Value) -> Value:
        """Less its zero point."""
        return centred(code, self.spec.a_format, self.spec.a_zero_point)

    def right(self, code: Value) -> Value:
        """Less its zero point."""
        return centred(code, self.spec.w_format, self.spec.w_zero_point)

    def term(self, m: Module, left: Value, right: Value) -> Sequence[Value]:
        """The product."""
        spec = self.spec
        ends = product_shape(spec.a_format, spec.a_zero_point, spec.w_format, spec.w_zero_point)
        product = Signal(ends, reset_less=True)
        m.d.sync += product.eq(left * right)
        return (product,)


class Mac(DotProduct):
    """Dot products of two integer operands onto a bias, one product per cycle."""

    spec: Spec
    element = MacElement

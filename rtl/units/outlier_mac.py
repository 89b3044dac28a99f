"""Outlier multiply-accumulate hardware: multiply a word's value and its weight, register; accumulate, register."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value

from rtl.dot_product import DotProduct
from rtl.element import Element, product_shape
from sim.units.outlier_mac import OutlierMac as Spec


class OutlierElement(Element):
    """The product of a word's value and the weight fetched at its index."""

    spec: Spec

    def left(self, code: Value) -> Value:
        """The word's value; its index has done its work when the word comes: it addressed the weight buffer."""
        return code[: self.spec.value_bits].as_signed()

    def right(self, code: Value) -> Value:
        """The weight as it is."""
        return code

    def term(self, m: Module, left: Value, right: Value) -> Sequence[Value]:
        """The product."""
        ends = product_shape(self.spec.value_format, 0, self.spec.w_format, 0)
        product = Signal(ends, reset_less=True)
        m.d.sync += product.eq(left * right)
        return (product,)


class OutlierMac(DotProduct):
    """Dot products of listed outliers and the weights fetched at their indices onto a bias, one word per cycle."""

    spec: Spec
    element = OutlierElement

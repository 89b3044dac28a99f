"""Outlier multiply-accumulate hardware: multiply a word's value and its weight, register; accumulate, register."""

from amaranth.hdl import Module, Signal, Value

from rtl.dot_product import DotProduct, product_shape
from sim.units.outlier_mac import OutlierMac as Spec


class OutlierMac(DotProduct):
    """Dot products of listed outliers and the weights fetched at their indices onto a bias, one word per cycle.

    The index has done its work when the word comes: it addressed the weight buffer.
    """

    spec: Spec

    def total(self, m: Module, move: Value, before: Value) -> Value:
        """Adds the product of the value and the weight."""
        spec = self.spec
        value = self.a.payload.code[0][: spec.value_bits].as_signed()
        product = Signal(product_shape(spec.value_format, 0, spec.w_format, 0))
        with m.If(move):
            m.d.sync += product.eq(value * self.w.payload.code[0])
        return before + product

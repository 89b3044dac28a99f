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
    """Dot products of listed outliers and the weights fetched at their indices onto a bias, one word per cycle.

    Ports: in `a: u(value_bits + index_bits), last`, `w: w_format`, `bias: s(acc_bits)`; out `o: s(acc_bits)`.
    Latency: `n + 1` cycles from the first of a row's n beats to its sum.
    Interval: `n` cycles from a row to the next, one for each of its beats.
    Rounding: none in the sum; what does not fit `acc_bits` wraps or saturates, as `overflow` says.
    Paper: ADFQ-ViT (Neural Networks 186, 2025, arXiv 2407.02763).
    """

    spec: Spec
    element = OutlierElement

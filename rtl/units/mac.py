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
    """Dot products of two integer operands onto a bias, one product per cycle.

    Ports: in `a: a_format, last`, `w: w_format`, `bias: s(acc_bits)`; out `o: s(acc_bits)`.
    Latency: `n + 1` cycles from the first of a row's n beats to its sum.
    Interval: `n` cycles from a row to the next, one for each of its beats.
    Rounding: none in the sum; what does not fit `acc_bits` wraps or saturates, as `overflow` says.
    Paper: none of its own; the product of integers that RepQ-ViT (ICCV 2023, arXiv 2212.08254) and its like end in.
    """

    spec: Spec
    element = MacElement

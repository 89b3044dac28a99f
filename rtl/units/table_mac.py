"""Table multiply-accumulate hardware: look up, centre, multiply, register; accumulate, register."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value

from rtl.dot_product import DotProduct
from rtl.element import Element, centred, product_shape
from rtl.fixed import table
from sim.units.table_mac import TableMac as Spec


class TableElement(Element):
    """The product of a code's entry and the other operand less its zero point."""

    spec: Spec

    def left(self, code: Value) -> Value:
        """The code's entry."""
        return table(self.spec.table, code)

    def right(self, code: Value) -> Value:
        """Less its zero point."""
        return centred(code, self.spec.w_format, self.spec.w_zero_point)

    def term(self, m: Module, left: Value, right: Value) -> Sequence[Value]:
        """The product."""
        spec = self.spec
        ends = product_shape(spec.value_format, 0, spec.w_format, spec.w_zero_point)
        product = Signal(ends, reset_less=True)
        m.d.sync += product.eq(left * right)
        return (product,)


class TableMac(DotProduct):
    """Dot products of decoded codes and an integer onto a bias, one product per cycle.

    Ports: in `a: u(code_bits), last`, `w: w_format`, `bias: s(acc_bits)`; out `o: s(acc_bits)`.
    Latency: `n + 1` cycles from the first of a row's n beats to its sum.
    Interval: `n` cycles from a row to the next, one for each of its beats.
    Rounding: none in the sum; what does not fit `acc_bits` wraps or saturates, as `overflow` says.
    Paper: TanQ of DopQ-ViT (2024, arXiv 2408.03291), reconstructed here from its summary.
    """

    spec: Spec
    element = TableElement

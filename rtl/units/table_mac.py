"""Table multiply-accumulate hardware: look up, centre, multiply, register; accumulate, register."""

from amaranth.hdl import Module, Signal, Value

from rtl.dot_product import DotProduct, product_shape
from rtl.fixed import table
from sim.units.table_mac import TableMac as Spec


class TableMac(DotProduct):
    """Dot products of decoded codes and an integer onto a bias, one product per cycle."""

    spec: Spec

    def total(self, m: Module, move: Value, before: Value) -> Value:
        """Adds the product of the code's entry and the other operand less its zero point."""
        spec = self.spec
        entry = table(spec.table, self.a.payload.code[0])
        w = self.w.payload.code[0] - spec.w_zero_point
        product = Signal(product_shape(spec.value_format, 0, spec.w_format, spec.w_zero_point))
        with m.If(move):
            m.d.sync += product.eq(entry * w)
        return before + product

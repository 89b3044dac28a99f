"""What a table MAC gives: the bias and the products of w with the entries of the codes."""

from collections.abc import Mapping

from amaranth.hdl import Array, Const, Value, signed

from golden.formats import Integer
from rtl.proof.intervals import product, span
from rtl.proof.sums import SumHarness
from rtl.units.table_mac import TableMac

COMPONENT = TableMac


class Specification(SumHarness):
    """`table[a] · (w − w_zero_point)` a beat."""

    def term(self, given: Mapping[str, Value]) -> Value:
        """The entry that the code names, times w."""
        spec, w = self.spec, given["w"] - self.spec.w_zero_point
        word = Integer.holding(min(spec.table), max(spec.table))
        entries = Array(Const(entry, signed(word.bits)) for entry in spec.table)
        return product(entries[given["a"]], span(word), w, span(spec.w_format, spec.w_zero_point))

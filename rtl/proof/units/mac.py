"""What a MAC gives: the bias and the products of both operands less their zero points."""

from collections.abc import Mapping

from amaranth.hdl import Value

from rtl.proof.intervals import product, span
from rtl.proof.sums import SumHarness
from rtl.units.mac import Mac

COMPONENT = Mac


class Specification(SumHarness):
    """`(a − a_zero_point) · (w − w_zero_point)` a beat."""

    def term(self, given: Mapping[str, Value]) -> Value:
        """The exact product."""
        spec, a, w = self.spec, given["a"] - self.spec.a_zero_point, given["w"] - self.spec.w_zero_point
        return product(a, span(spec.a_format, spec.a_zero_point), w, span(spec.w_format, spec.w_zero_point))

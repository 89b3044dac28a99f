"""What a residual adder gives: the sum, or the end of the format that the sum is beyond."""

from collections.abc import Mapping

from amaranth.hdl import Value

from rtl.proof.harness import ElementHarness
from rtl.proof.intervals import clamped
from rtl.units.residual_adder import ResidualAdder

COMPONENT = ResidualAdder


class Specification(ElementHarness):
    """The exact sum, limited by comparison."""

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """Equality."""
        return code == clamped(facts["a"] + facts["b"], self.spec.format)

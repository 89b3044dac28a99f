"""What a requantizer gives: the code whose interval holds the sum, or the end of the codes that the sum is beyond."""

from collections.abc import Mapping

from amaranth.hdl import Value

from rtl.proof.harness import ElementHarness
from rtl.proof.intervals import is_floor, limited
from rtl.units.requantizer import Requantizer

COMPONENT = Requantizer


class Specification(ElementHarness):
    """`code · 2^shift ≤ acc · multiplier + offset < (code + 1) · 2^shift`, one side left out at either end.

    For every multiplier and shift that the ports can carry, more than a program may hold.
    """

    def carried(self, given: Mapping[str, Value]) -> Mapping[str, Value]:
        """The sum, as wide as Amaranth makes it, which is wide enough for any."""
        return {"sum": given["acc"] * given["multiplier"] + given["offset"]}

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """FLOOR, saturated."""
        out = self.spec.out_format
        return limited(code, is_floor(code, facts["sum"], facts["shift"]), out.min_code, out.max_code)

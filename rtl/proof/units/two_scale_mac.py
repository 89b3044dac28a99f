"""What a two-scale MAC gives: the bias and the products of w with the integers that two-scale codes stand for."""

from collections.abc import Mapping

from amaranth.hdl import Mux, Value

from rtl.proof.intervals import product, span
from rtl.proof.sums import SumHarness
from rtl.units.two_scale_mac import TwoScaleMac

COMPONENT = TwoScaleMac


class Specification(SumHarness):
    """`payload · (w − w_zero_point)` a beat, 2^m times as much in the coarse region, negative in a signed fine one."""

    def term(self, given: Mapping[str, Value]) -> Value:
        """The flag is the top bit."""
        spec, payload_bits = self.spec, self.spec.code_bits - 1
        w, payload = given["w"] - spec.w_zero_point, given["a"][:payload_bits]
        ends = (0, (1 << payload_bits) - 1)
        p = product(payload, ends, w, span(spec.w_format, spec.w_zero_point))
        return Mux(given["a"][payload_bits], p << spec.shift, -p if spec.signed_regions else p)

"""What a two-scale encoder gives: the input itself while a payload holds it, else the nearest coarse step."""

from collections.abc import Mapping

from amaranth.hdl import Mux, Value

from rtl.proof.harness import ElementHarness
from rtl.proof.intervals import is_nearest, limited
from rtl.units.two_scale_encoder import TwoScaleEncoder

COMPONENT = TwoScaleEncoder


class Specification(ElementHarness):
    """`code = x` below 2^k; else code − 2^k is the nearest to x / 2^m (HALF_UP), at most 2^k − 1; k = code_bits − 1."""

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """One of the two."""
        x, coarse = facts["x"], 1 << (self.spec.code_bits - 1)
        steps = code - coarse
        nearest = limited(steps, is_nearest(steps, x, self.spec.shift), 0, coarse - 1)
        return Mux(x < coarse, code == x, nearest)

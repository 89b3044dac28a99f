"""What a sign-scale encoder gives: the magnitude of a negative input, or the nearest coarse step of another."""

from collections.abc import Mapping

from amaranth.hdl import Mux, Value

from rtl.proof.harness import ElementHarness
from rtl.proof.intervals import is_nearest, limited
from rtl.units.sign_scale_encoder import SignScaleEncoder

COMPONENT = SignScaleEncoder


class Specification(ElementHarness):
    """Below 0 `code = −x`, at most 2^k − 1; else code − 2^k is the nearest to x / 2^m (HALF_UP), at most 2^k − 1."""

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """k = code_bits − 1."""
        x, coarse = facts["x"], 1 << (self.spec.code_bits - 1)
        steps = code - coarse
        nearest = limited(steps, is_nearest(steps, x, self.spec.shift), 0, coarse - 1)
        negated = (code == -x) | ((code == coarse - 1) & (-x > coarse - 1))
        return Mux(x < 0, (code < coarse) & negated, nearest)

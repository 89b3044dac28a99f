"""What a threshold encoder gives: the code between whose threshold and the next the input lies."""

from collections.abc import Mapping
from functools import reduce
from operator import or_

from amaranth.hdl import Value

from rtl.proof.harness import ElementHarness
from rtl.units.threshold_encoder import ThresholdEncoder

COMPONENT = ThresholdEncoder


class Specification(ElementHarness):
    """Code c of n thresholds: threshold c (the first is 1) is at most x, threshold c + 1 above it, where they exist."""

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """One of the codes from 0 to the number of thresholds; equal thresholds leave no x to a code between them."""
        starts = self.spec.thresholds
        reached = [facts["x"] >= start for start in starts]
        cases = [code == c for c in range(len(starts) + 1)]
        cases = [case & reached[c - 1] if c else case for c, case in enumerate(cases)]
        cases = [case & ~reached[c] if c < len(starts) else case for c, case in enumerate(cases)]
        return reduce(or_, cases)

"""What a log2 encoder gives: a code for each octave and each interval between the mantissa's thresholds."""

from collections.abc import Mapping
from functools import reduce
from operator import or_

from amaranth.hdl import Mux, Value

from rtl.proof.harness import ElementHarness
from rtl.units.log2_encoder import Log2Encoder

COMPONENT = Log2Encoder


class Specification(ElementHarness):
    """By octave 2^p ≤ x < 2^(p+1), n thresholds reached by x · 2^(B−1−p): level m · (P − p) − n, its code."""

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """One case per octave and number of thresholds; the top code for 0."""
        x, spec = facts["x"], self.spec
        zero = (1 << spec.code_bits) - 1
        cases = []
        for p in range(spec.in_bits):
            octave = (x >= 1 << p) & (x < 2 << p)
            mantissa = x << (spec.in_bits - 1 - p)
            for n in range(spec.steps_per_octave + 1):
                below = [mantissa >= t for t in spec.thresholds[:n]]
                above = [mantissa < t for t in spec.thresholds[n:]]
                level = spec.steps_per_octave * (spec.unity - p) - n
                right = code == (zero if level > spec.max_level else max(level, 0))
                cases.append(reduce(lambda a, b: a & b, [octave, right, *below, *above]))
        return Mux(x == 0, code == zero, reduce(or_, cases))

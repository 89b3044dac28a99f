"""What a log2 MAC gives: the sum of the shifted terms; with base √2 of two sums, that of odd codes times √2."""

from collections.abc import Mapping

from amaranth.hdl import Const, Module, Mux, Value

from rtl.proof.harness import Harness, kept
from rtl.proof.intervals import fitted, span
from rtl.proof.sums import settled
from rtl.stream import StreamUnit, shape
from rtl.units.log2_mac import Log2Mac

COMPONENT = Log2Mac

ROOT, ROOT_FRAC_BITS = 46341, 15
"""√2 with so many fraction bits."""


class Specification(Harness):
    """`((w − w_zero_point) · 2^F) >> ceil(c / steps)` a beat (FLOOR), nothing for the top code."""

    def __init__(self, dut: StreamUnit) -> None:
        super().__init__(dut)
        self.begins, acc = kept("begins", init=1), shape(self.spec.acc_format)
        self.evens, self.odds = kept("evens", acc), kept("odds", acc)

    def term(self, given: Mapping[str, Value]) -> Value:
        """In as many bits as the longest takes, which is one that no code shifts, or 0."""
        spec, code, steps = self.spec, given["a"], self.spec.steps_per_octave
        low, high = span(spec.w_format, spec.w_zero_point)
        whole = (given["w"] - spec.w_zero_point) << spec.frac_bits
        shifted = whole >> ((code + (steps - 1)) >> (steps - 1))  # code / steps, rounded up
        term = Mux(code == (1 << spec.code_bits) - 1, 0, shifted)
        return fitted(term, (min(low, 0) << spec.frac_bits, max(high, 0) << spec.frac_bits))

    def born(self, m: Module, taken: Value) -> tuple[Value, dict[str, Value]]:
        """A sum per row, with its last beat; all codes are even with base 2."""
        given, last, spec = self.given(), self.dut.a.payload.last, self.spec
        term = self.named(m, "term", self.term(given))
        odd = given["a"][0] if spec.steps_per_octave == 2 else Const(0, 1)
        facts: dict[str, Value] = {"a": given["a"], "w": given["w"]}
        for name, sum_, mine in (("E", self.evens, ~odd), ("O", self.odds, odd)):
            exact = Mux(self.begins, 0, sum_) + Mux(mine, term, 0)
            facts[name] = self.named(
                m, f"{name}_after", settled(self, m, taken, exact, spec.acc_format, spec.overflow)
            )
            with m.If(self.move & taken):
                m.d.sync += sum_.eq(facts[name])
        with m.If(self.move & taken):
            m.d.sync += self.begins.eq(last)
        self.state(m, term=term, begins=self.begins, evens=self.evens, odds=self.odds)
        joined = facts["E"]
        if spec.steps_per_octave == 2:
            # HALF_UP, in full width: (2 · O · √2 + 1) / 2 rounded down.
            root = (2 * facts["O"] * ROOT + (1 << ROOT_FRAC_BITS)) >> (ROOT_FRAC_BITS + 1)
            joined = settled(self, m, taken & last, facts["E"] + root, spec.acc_format, spec.overflow)
        facts["sum"] = joined
        return taken & last, facts

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """Equality."""
        return code == facts["sum"]

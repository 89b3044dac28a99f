"""What a log2 MAC gives: the sum of the shifted terms; with base √2 of two sums, that of odd codes times √2."""

from collections.abc import Mapping

from amaranth.hdl import Const, Module, Mux, Value

from rtl.proof.harness import DUE, Harness, kept
from rtl.proof.intervals import fitted, span
from rtl.proof.sums import settled
from rtl.stream import StreamUnit, shape
from rtl.units.log2_mac import Log2Mac

COMPONENT = Log2Mac

ROOT, ROOT_FRAC_BITS = 46341, 15
"""√2 with so many fraction bits."""
CUT = 12
"""The constant's digits are cut in two here."""


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
        if spec.steps_per_octave == 1:
            self.state(m, term=term, begins=self.begins, evens=self.evens)
            self.sum = self._due(m, facts["E"], spec.latency)
        else:
            self.state(m, term=term, begins=self.begins)
            self.sum = self._due(m, self._joined(m, taken & last), 1)
        return taken & last, facts

    def _due(self, m: Module, value: Value, places: int) -> Value:
        """`value` so many moves later, shown as what is due."""
        return self.named(m, f"sum{DUE}", self.delayed(m, value, places, "sum"), shown=True)

    def _joined(self, m: Module, born: Value) -> Value:
        """Three moves after the last beat, E + O · √2 (HALF_UP).

        The product is that by the low and that by the high digits of √2, each a sum of one shifted copy per bit of
        them, a move before the sum of both: no solver finds the whole of it to be what the unit's adders make of O, but
        each of them is soon found, and registers of the unit to hold just these.
        """
        spec = self.spec
        low, high = (
            self.delayed(m, _copies(self.odds, digits), 2, name)
            for name, digits in (("low", ROOT & ((1 << CUT) - 1)), ("high", ROOT >> CUT))
        )
        self.delayed(m, self.odds, 1, "odds")  # where the unit's own is found
        evens = self.delayed(m, self.evens, 2, "evens")
        root = (2 * (low + (high << CUT)) + (1 << ROOT_FRAC_BITS)) >> (ROOT_FRAC_BITS + 1)
        there = self.delayed(m, born, 3, "there")
        return settled(self, m, there, evens + root, spec.acc_format, spec.overflow)

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """Equality."""
        return code == self.sum


def _copies(value: Value, factor: int) -> Value:
    """`value · factor`, for which no multiplier is needed."""
    return sum((value << place for place in range(factor.bit_length()) if factor >> place & 1), Const(0, 1))

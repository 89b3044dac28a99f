"""Specification of the units that sum terms row by row onto a bias, exactly, and then do what `overflow` says."""

from collections.abc import Mapping

from amaranth.hdl import Module, Mux, Value

from golden.formats import Integer
from rtl.proof.harness import Harness, kept
from rtl.proof.intervals import clamped, within
from rtl.stream import StreamUnit, shape


def settled(harness: Harness, m: Module, taken: Value, exact: Value, format: Integer, overflow: str) -> Value:
    """What an accumulator keeps of the exact sum; with overflow `none`, sums beyond it are assumed not to be."""
    if overflow == "saturate":
        return clamped(exact, format)[: format.bits].as_signed()
    if overflow == "none":
        harness.assume(m, ~taken | within(exact, format))
    return exact[: format.bits].as_signed()  # modulo 2^bits, in two's complement


class SumHarness(Harness):
    """A unit with one sum per row; its specification states the exact `term` of a beat.

    The sum is worked out as each beat is taken, so that Yosys finds its product to be the unit's (see
    `ElementHarness.carried`), and enters the line with the row's last beat.
    """

    def __init__(self, dut: StreamUnit) -> None:
        super().__init__(dut)
        self.begins = kept("begins", init=1)
        """The next beat is a row's first."""
        self.sum = kept("sum_before", shape(self.spec.acc_format))
        """Sum of the row's beats so far."""

    def term(self, given: Mapping[str, Value]) -> Value:
        """What a beat adds, in full width."""
        raise NotImplementedError(f"{type(self).__name__} states no term")

    def asked(self, m: Module) -> Mapping[str, Value]:
        """The bias moves with a row's first beat."""
        return {"bias": self.begins}

    def born(self, m: Module, taken: Value) -> tuple[Value, dict[str, Value]]:
        """A sum per row, with its last beat."""
        given, last = self.given(), self.dut.a.payload.last
        before = Mux(self.begins, given["bias"], self.sum)
        after = settled(self, m, taken, before + self.term(given), self.spec.acc_format, self.spec.overflow)
        with m.If(self.move & taken):
            m.d.sync += [self.sum.eq(after), self.begins.eq(last)]
        self.state(m, begins=self.begins, sum_before=self.sum)
        return taken & last, {"before": before, "a": given["a"], "w": given["w"], "sum": after}

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """Equality."""
        return code == facts["sum"]

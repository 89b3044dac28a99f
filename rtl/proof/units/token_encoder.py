"""What a token encoder gives: the row's code of 0 for an outlier, else the code whose interval the value is in."""

from collections.abc import Mapping

from amaranth.hdl import Module, Mux, Value

from rtl.proof.harness import DUE, Harness, kept
from rtl.proof.intervals import is_floor, limited
from rtl.stream import StreamUnit, shape
from rtl.units.token_encoder import TokenEncoder

COMPONENT = TokenEncoder


class Specification(Harness):
    """`code · 2^shift ≤ d · multiplier + offset < (code + 1) · 2^shift`, one side left out at either end of the codes.

    With d = x − in_zero_point; the row's `zero_code` where |d| is beyond the threshold and the row has had fewer than
    `capacity` such. For every multiplier and shift that the ports can carry, more than a program may hold.
    """

    def __init__(self, dut: StreamUnit) -> None:
        super().__init__(dut)
        self.begins = kept("begins", init=1)
        """The next beat is a row's first."""
        self.outliers = kept("outliers", range(self.spec.capacity + 1))
        """Those of the row so far."""
        self.row = {name: kept(f"row_{name}", shape(format)) for name, format in self.spec.constants.items()}
        """The constants of the row in work."""

    def asked(self, m: Module) -> Mapping[str, Value]:
        """The constants move with a row's first beat."""
        return dict.fromkeys(self.spec.constants, self.begins)

    def born(self, m: Module, taken: Value) -> tuple[Value, dict[str, Value]]:
        """A code with every beat; what it is scaled to is added up a cycle later (see `ElementHarness.carried`)."""
        given, spec, last = self.given(), self.spec, self.dut.x.payload.last
        before = Mux(self.begins, 0, self.outliers)
        d = given["x"] - spec.in_zero_point
        outlier = self.named(
            m, "outlier", ((d > spec.threshold) | (-d > spec.threshold)) & (before != spec.capacity)
        )
        with m.If(self.move & taken):
            m.d.sync += [self.begins.eq(last), self.outliers.eq(before + outlier)]
        with m.If(self.move & self.begins):  # what they hold before a row is taken counts for nothing
            m.d.sync += [held.eq(given[name]) for name, held in self.row.items()]
        product = d * Mux(self.begins, given["multiplier"], self.row["multiplier"])
        total = self.delayed(m, product, 1, "product") + self.row["offset"]
        later = {"total": total, "shift": self.row["shift"], "zero_code": self.row["zero_code"]}
        self.later = {
            name: self.named(m, name + DUE, self.delayed(m, value, spec.latency - 1, name), shown=True)
            for name, value in later.items()
        }
        self.state(m, begins=self.begins, outliers=self.outliers)
        return taken, {"x": given["x"], "outlier": outlier, "last": last}

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """The row's code of 0, or FLOOR, saturated."""
        out, later = self.spec.code_format, self.later
        bounds = is_floor(code, later["total"], later["shift"])
        inside = limited(code, bounds, out.min_code, out.max_code)
        return Mux(facts["outlier"], code == later["zero_code"], inside)

    def more_rules(self, facts: Mapping[str, Value]) -> Mapping[str, Value]:
        """`last` comes out with the code of the beat that had it."""
        return {"o.last where x had none, or none where it had": self.dut.o.payload.last != facts["last"]}

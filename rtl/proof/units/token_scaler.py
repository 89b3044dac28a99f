"""What a token scaler gives: the integer nearest to the scaled, centred sum plus the outliers' share."""

from collections.abc import Mapping

from amaranth.hdl import Module, Value

from rtl.proof.harness import DUE, ElementHarness
from rtl.proof.intervals import is_nearest
from rtl.units.token_scaler import TokenScaler

COMPONENT = TokenScaler


class Specification(ElementHarness):
    """`code` is nearest to `((acc − zero_point · column_sum) · multiplier + outlier · 2^outlier_shift) / 2^shift`.

    Ties upwards (HALF_UP). Totals whose nearest integer takes more than `out_bits` are left out, as lowering does. All
    other operands are in: any multiplier, 0 included.

    The total is worked out over three cycles, in full width: each product of operands that a line has carried as far as
    the unit's own may be found to be the unit's (see `ElementHarness.carried`), and one rests upon the other.
    """

    def born(self, m: Module, taken: Value) -> tuple[Value, dict[str, Value]]:
        """A total with every beat; `fits` knows it from the line that `total` leaves."""
        given, spec = self.given(), self.spec
        acc, offset = (
            self.delayed(m, value, 1, name)
            for name, value in (
                ("held_acc", given["acc"]),
                ("zero", given["zero_point"] * given["column_sum"]),
            )
        )
        centred = self.delayed(m, acc - offset, 1, "centred")
        multiplier, outlier = (
            self.delayed(m, given[name], 2, f"held_{name}") for name in ("multiplier", "outlier")
        )
        total = self.named(m, "total", centred * multiplier + (outlier << spec.outlier_shift))
        least, beyond = (
            (2 * code + side) << spec.shift
            for code, side in ((spec.out_format.min_code, -1), (spec.out_format.max_code, 1))
        )
        there = self.delayed(m, taken, 2, "there")
        self.assume(m, ~there | ((2 * total >= least) & (2 * total < beyond)))
        self.total = self.named(
            m, f"total{DUE}", self.delayed(m, total, spec.latency - 2, "total"), shown=True
        )
        return taken, dict(given)

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """Two inequalities."""
        lower, upper = is_nearest(code, self.total, self.spec.shift)
        return lower & upper

"""Arithmetic of one multiply-accumulator without streams or control: its unit and every place of an array have it."""

from collections.abc import Sequence

from amaranth.hdl import Module, Shape, Signal, Value

from golden.formats import Integer
from rtl.fixed import saturate
from rtl.stream import shape
from sim.decoded_mac import DecodedMac
from sim.units.log2_mac import Log2Mac
from sim.units.mac import Mac
from sim.units.outlier_mac import OutlierMac


class Element:
    """From two operands to their sum, in the steps that control may put registers and stalls between.

    `left` and `right` prepare an operand, once, where it enters. `term` registers the term of a prepared pair and
    `add` takes it into the accumulators, one cycle each: both are called where the caller lets registers move.
    `finish` makes the result of the accumulators, `finish_cycles` later. A sum too wide for its accumulator
    saturates if the spec says so; else it loses its high bits, which is `wrap`.
    """

    def __init__(self, spec: Mac | DecodedMac | OutlierMac | Log2Mac) -> None:
        self.spec = spec

    @property
    def accumulators(self) -> int:
        """How many sums there are, each of the spec's accumulator format."""
        return 1

    @property
    def finish_cycles(self) -> int:
        """Registers from the accumulators to the result."""
        return 0

    def left(self, code: Value) -> Value:
        """What a term takes of a code of the first operand."""
        raise NotImplementedError(f"{type(self).__name__} states no left operand")

    def right(self, code: Value) -> Value:
        """What a term takes of a code of the second operand."""
        raise NotImplementedError(f"{type(self).__name__} states no right operand")

    def term(self, m: Module, left: Value, right: Value) -> Sequence[Value]:
        """Registers the term of two prepared operands, in as many signals as `total` takes."""
        raise NotImplementedError(f"{type(self).__name__} states no term")

    def total(self, before: Value, *term: Value) -> Value:
        """Sum of `before` and a registered term, exact."""
        return before + term[0]

    def add(self, m: Module, term: Sequence[Value], before: Sequence[Value], sums: Sequence[Signal]) -> None:
        """The accumulators become those of `before` and the term; one that it does not belong to stays as it is."""
        m.d.sync += sums[0].eq(self.kept(self.total(before[0], *term)))

    def finish(self, m: Module, move: Value, sums: Sequence[Value]) -> Value:
        """The result of the accumulators; what it registers moves on `move`."""
        return sums[0]

    def kept(self, total: Value) -> Value:
        """What an accumulator takes of `total`, whose high bits it lacks."""
        return saturate(total, self.spec.acc_format) if self.spec.overflow == "saturate" else total

    def sums(self) -> list[Signal]:
        """The accumulators."""
        return [Signal(shape(self.spec.acc_format), name=f"sum_{n}") for n in range(self.accumulators)]


def centred(code: Value, format: Integer, zero_point: int) -> Value:
    """A code of `format` less its zero point, no wider than it needs to be."""
    if zero_point == 0:
        return code
    exact = Integer.holding(format.min_code - zero_point, format.max_code - zero_point)
    return (code - zero_point)[: exact.bits].as_signed()


def product_shape(a: Integer, a_zero_point: int, w: Integer, w_zero_point: int) -> Shape:
    """Shape of a product of two codes less their zero points, whose extremes are products of the operands' extremes."""
    left = (a.min_code - a_zero_point, a.max_code - a_zero_point)
    right = (w.min_code - w_zero_point, w.max_code - w_zero_point)
    products = [x * y for x in left for y in right]
    return shape(Integer.holding(min(products), max(products)))

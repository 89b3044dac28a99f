"""rtl.fixed against integers, exhaustively over small formats, in Amaranth's own simulator."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import pytest
from amaranth.hdl import Module, Shape, Signal, Value
from amaranth.sim import Simulator

from golden.formats import Integer, Rounding, round_value
from rtl.fixed import (
    constant_product,
    leading_one,
    product_parts,
    round_shift,
    saturate,
    signed_digits,
    table,
)


def evaluate(bits: int, signed: bool, expression: Callable[[Signal], Value]) -> dict[int, int]:
    """The expression for every integer of the format."""
    m, x = Module(), Signal(Shape(bits, signed))
    value = expression(x)
    y = Signal(value.shape())
    m.d.comb += y.eq(value)
    format, found = Integer(bits=bits, signed=signed), {}

    async def bench(ctx: object) -> None:
        for code in range(format.min_code, format.max_code + 1):
            ctx.set(x, code)  # type: ignore[attr-defined]
            found[code] = int(ctx.get(y))  # type: ignore[attr-defined]

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    "out", [Integer(bits=b, signed=s) for b in (1, 3, 7, 9) for s in (True, False)], ids=str
)
def test_saturate(signed: bool, out: Integer) -> None:
    for x, y in evaluate(7, signed, lambda x: saturate(x, out)).items():
        assert y == min(max(x, out.min_code), out.max_code), x


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("shift", [0, 1, 3, 8])
def test_round_shift(signed: bool, shift: int) -> None:
    for x, y in evaluate(7, signed, lambda x: round_shift(x, shift)).items():
        assert y == round_value(Fraction(x, 1 << shift), Rounding.HALF_UP), x


@pytest.mark.parametrize("factor", [0, 1, -1, 3, 7, 192, 384, 768, 45, -23])
def test_constant_product(factor: int) -> None:
    for signed in (True, False):
        assert all(
            y == x * factor for x, y in evaluate(6, signed, lambda x: constant_product(x, factor)).items()
        )


def test_signed_digits_are_the_fewest() -> None:
    for number in range(-300, 300):
        digits = signed_digits(number)
        assert sum(digit << place for place, digit in digits) == number
        # Canonical: no two digits side by side are non-zero, which is the fewest there can be.
        places = [place for place, _ in digits]
        assert all(after - before >= 2 for before, after in pairwise(places))


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8, 9])
def test_leading_one(bits: int) -> None:
    for x, y in evaluate(bits, False, leading_one).items():
        assert y == max(x.bit_length() - 1, 0), x


@pytest.mark.parametrize("group", [1, 2, 3])
def test_product_parts(group: int) -> None:
    def product(x: Signal) -> Value:
        parts = product_parts(x[:4], x[4:], group)
        return sum((part << (group * n) for n, part in enumerate(parts[1:], 1)), parts[0])

    for x, y in evaluate(9, False, product).items():
        assert y == (x & 15) * (x >> 4), x


def test_table() -> None:
    entries = [5, -3, 0, 100]
    assert list(evaluate(2, False, lambda x: table(entries, x)).values()) == entries

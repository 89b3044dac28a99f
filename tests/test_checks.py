"""Checks before a kernel: both ends of any array, and bounds from both sides."""

from collections.abc import Callable

import numpy as np
import pytest

from golden.errors import InvariantError
from golden.formats import Integer
from sim.checks import check_bound, check_codes, check_length, check_range, extremes, magnitude
from sim.unit import Codes

S4 = Integer(bits=4, signed=True)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 300])
@pytest.mark.parametrize(
    "turn", [lambda x: x, lambda x: x[::-1], lambda x: x[:, None], lambda x: np.stack((x, x)).T]
)
def test_ends_wherever_they_are(size: int, turn: Callable[[Codes], Codes]) -> None:
    for place in {0, size // 2, size - 1}:
        for end in (-9, 9):
            codes = np.zeros(size, np.int64)
            codes[place] = end
            low, high = (0, 0) if size > 1 else (end, end)
            assert extremes(turn(codes)) == (min(low, end), max(high, end))
            assert magnitude(turn(codes)) == 9
    assert extremes(turn(np.full(size, 5, np.int8))) == (5, 5)


def test_nothing_has_no_ends() -> None:
    assert extremes(np.zeros((3, 0), np.int64)) == (0, 0)


def test_the_magnitude_of_the_lowest_code_does_not_wrap() -> None:
    assert magnitude(np.array([-128], np.int8)) == 128
    assert magnitude(np.array([-(1 << 63)])) == 1 << 63
    assert magnitude(np.array([-2, -7])) == 7
    assert magnitude(np.array([2, 7])) == 7


@pytest.mark.parametrize(("inside", "outside"), [(-8, -9), (7, 8)])
def test_a_code_outside_its_format_is_refused(inside: int, outside: int) -> None:
    assert check_range("x", np.array([0, inside]), S4) == (min(0, inside), max(0, inside))
    assert check_codes("x", np.array([inside], np.int8), S4).dtype == np.int64
    for check in (check_range, check_codes):
        with pytest.raises(InvariantError, match=r"x spans \[.*\], outside s4 = \[-8, 7\]"):
            check("x", np.array([0, outside]), S4)
        with pytest.raises(InvariantError, match="x must hold integers, not float64"):
            check("x", np.array([0.0]), S4)


def test_a_bound_is_what_64_bits_hold() -> None:
    check_bound("x", (1 << 63) - 1)
    with pytest.raises(InvariantError, match="x may reach ±9223372036854775808, beyond ±9223372036854775807"):
        check_bound("x", 1 << 63)
    check_bound("x", 9, 9)
    with pytest.raises(InvariantError, match="x may reach ±10, beyond ±9"):
        check_bound("x", 10, 9)


def test_a_length_is_the_expected_one() -> None:
    check_length("x", 4, 4)
    with pytest.raises(InvariantError, match="x has length 5, not 4"):
        check_length("x", 5, 4)

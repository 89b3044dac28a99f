"""Number formats against brute force over words, and against the definitions of their rounding."""

from fractions import Fraction
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.formats import MAX_BITS, Integer, Log2, Rounding, Uniform, round_value

ZERO_POINTS = (-300, -1, 0, 7, 255, 900)
integers = st.integers(-(1 << 61), (1 << 61) - 1)


@pytest.mark.parametrize("bits", range(1, 11))
def test_integer_range_is_that_of_all_words(bits: int) -> None:
    words = range(1 << bits)
    signed = [word - (1 << bits) if word >> (bits - 1) else word for word in words]
    two, plain = Integer(bits=bits, signed=True), Integer(bits=bits, signed=False)
    assert (two.min_code, two.max_code) == (min(signed), max(signed))
    assert (plain.min_code, plain.max_code) == (0, max(words))
    assert (str(two), str(plain)) == (f"s{bits}", f"u{bits}")


def test_holding_is_the_narrowest_exhaustively() -> None:
    for low in range(-40, 41):
        for high in range(low, 41):
            narrowest = next(n for n in range(1, 9) if -(1 << (n - 1)) <= low and high < 1 << (n - 1))
            assert Integer.holding(low, high) == Integer(bits=narrowest, signed=True)


@given(integers, integers)
def test_holding_holds_and_one_bit_less_does_not(a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    found = Integer.holding(low, high)
    assert found.signed
    assert found.min_code <= low
    assert high <= found.max_code
    if found.bits > 1:
        less = Integer(bits=found.bits - 1, signed=True)
        assert low < less.min_code or high > less.max_code


@given(st.fractions(-1000, 1000) | st.integers(-4000, 4000).map(lambda n: Fraction(n, 4)))
def test_rounding_is_what_its_name_says(value: Fraction) -> None:
    floor, up, even = (round_value(value, how) for how in Rounding)
    assert list(Rounding) == [Rounding.FLOOR, Rounding.HALF_UP, Rounding.HALF_EVEN]
    assert floor <= value < floor + 1
    assert up - Fraction(1, 2) <= value < up + Fraction(1, 2)
    assert abs(value - even) <= Fraction(1, 2)
    if abs(value - even) == Fraction(1, 2):
        assert even % 2 == 0


@pytest.mark.parametrize("shift", range(1, 6))
def test_half_up_is_add_half_and_shift(shift: int) -> None:
    for n in range(-200, 200):
        assert round_value(Fraction(n, 1 << shift), Rounding.HALF_UP) == (n + (1 << (shift - 1))) >> shift
        assert round_value(Fraction(n, 1 << shift), Rounding.FLOOR) == n >> shift


@pytest.mark.parametrize("bits", range(1, 9))
def test_uniform_codes_round_trip_and_saturate(bits: int) -> None:
    for zero_point in ZERO_POINTS:
        spec = Uniform(bits=bits, zero_point=zero_point)
        for rounding in Rounding:
            codes = range(spec.max_code + 1)
            assert [spec.encode(Fraction(spec.decode(code)), rounding) for code in codes] == list(codes)
            assert spec.encode(Fraction(spec.decode(0) - 1), rounding) == 0
            assert spec.encode(Fraction(spec.decode(spec.max_code) + 1), rounding) == spec.max_code
        if 0 <= zero_point <= spec.max_code:
            assert spec.decode(zero_point) == 0


@given(st.integers(1, 16), st.integers(-70000, 70000), st.fractions(-100000, 100000))
def test_uniform_encodes_to_the_nearest_value_in_range(bits: int, zero_point: int, steps: Fraction) -> None:
    spec = Uniform(bits=bits, zero_point=zero_point)
    code = spec.encode(steps, Rounding.HALF_EVEN)
    assert 0 <= code <= spec.max_code
    inside = min(max(steps, Fraction(spec.decode(0))), Fraction(spec.decode(spec.max_code)))
    assert abs(spec.decode(code) - inside) <= Fraction(1, 2)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("bits", range(2, 9))
def test_log2_decodes_by_shift_and_parity(bits: int, steps: int) -> None:
    spec = Log2(bits=bits, steps_per_octave=steps)
    assert spec.zero_code == (1 << bits) - 1
    assert spec.decode(spec.zero_code) == 0.0
    base = 2.0 if steps == 1 else sqrt(2)
    for code in range(spec.zero_code):
        factor = sqrt(2) if spec.is_odd(code) else 1.0
        assert spec.decode(code) == pytest.approx(base**-code, rel=1e-14)
        assert spec.decode(code) == pytest.approx(factor * 2.0 ** -spec.shift(code), rel=1e-14)
    assert any(spec.is_odd(code) for code in range(spec.zero_code)) == (steps == 2)


@pytest.mark.parametrize("bits", [0, -1, MAX_BITS + 1])
def test_integer_refuses_other_widths(bits: int) -> None:
    with pytest.raises(ValueError, match=rf"bits must be in \[1, 62\], not {bits}"):
        Integer(bits=bits, signed=True)


def test_errors_name_the_value() -> None:
    with pytest.raises(ValueError, match="low must not exceed high, but 3 > 2"):
        Integer.holding(3, 2)
    with pytest.raises(ValueError, match=r"bits must be in \[1, 62\], not 63"):
        Integer.holding(0, 1 << 61)
    for bits in (0, 17):
        with pytest.raises(ValueError, match=rf"bits must be in \[1, 16\], not {bits}"):
            Uniform(bits=bits, zero_point=0)
    for bits in (1, 9):
        with pytest.raises(ValueError, match=rf"bits must be in \[2, 8\], not {bits}"):
            Log2(bits=bits, steps_per_octave=1)
    for steps in (0, 3):
        with pytest.raises(ValueError, match=rf"steps_per_octave must be 1 .* or 2 .*, not {steps}"):
            Log2(bits=4, steps_per_octave=steps)


def test_formats_are_values() -> None:
    assert (
        len({Integer(bits=4, signed=True), Integer(bits=4, signed=True), Integer(bits=4, signed=False)}) == 2
    )
    assert Uniform(bits=4, zero_point=1) == Uniform(bits=4, zero_point=1) != Uniform(bits=4, zero_point=2)
    with pytest.raises(AttributeError):
        Uniform(bits=4, zero_point=1).bits = 5  # type: ignore[misc]

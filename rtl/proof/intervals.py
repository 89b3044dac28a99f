"""Roundings and limits as statements about a result, in full width: nothing is shifted out, added in or cut off."""

from amaranth.hdl import Mux, Value, ValueLike

from golden.formats import Integer


def is_floor(code: Value, total: Value, shift: ValueLike) -> tuple[Value, Value]:
    """`code` is `total / 2^shift` rounded down, as two inequalities: not above it, and not a whole step below."""
    return (code << shift) <= total, total < ((code + 1) << shift)


def is_nearest(code: Value, total: Value, shift: ValueLike) -> tuple[Value, Value]:
    """`code` is the integer nearest to `total / 2^shift`, ties upwards (HALF_UP), as two inequalities."""
    return ((2 * code - 1) << shift) <= 2 * total, 2 * total < ((2 * code + 1) << shift)


def limited(code: Value, bounds: tuple[Value, Value], low: int, high: int) -> Value:
    """`code` keeps both `bounds` but for the lower one at `low` and the upper one at `high`: it saturates there."""
    lower, upper = bounds
    return (code >= low) & (code <= high) & ((code == low) | lower) & ((code == high) | upper)


Range = tuple[int, int]
"""Least and largest of some integers."""


def span(format: Integer, zero_point: int = 0) -> Range:
    """Ends of the codes of `format` less `zero_point`."""
    return format.min_code - zero_point, format.max_code - zero_point


def fitted(exact: Value, ends: Range) -> Value:
    """`exact`, which lies within `ends`, in the fewest bits that hold them: nothing but sign bits is left out."""
    bits = Integer.holding(*ends).bits
    return exact[:bits].as_signed() if len(exact) >= bits else exact


def product(a: Value, a_ends: Range, b: Value, b_ends: Range) -> Value:
    """`a · b` of integers within these ends: a product is greatest and least where both are at an end."""
    corners = [x * y for x in a_ends for y in b_ends]
    return fitted(fitted(a, a_ends) * fitted(b, b_ends), (min(corners), max(corners)))


def clamped(exact: Value, format: Integer) -> Value:
    """`exact` or the end of `format` that it is beyond, by comparison."""
    over, under = exact > format.max_code, exact < format.min_code
    return Mux(over, format.max_code, Mux(under, format.min_code, exact))


def within(exact: Value, format: Integer) -> Value:
    """Whether `format` holds `exact`."""
    return (exact >= format.min_code) & (exact <= format.max_code)

"""Integer arithmetic as Amaranth expressions: `round_shift`, `saturate`, tables, products without DSPs."""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Mux, Shape, Value

from golden.formats import Integer


def round_shift(value: Value, shift: int) -> Value:
    """HALF_UP: `(value + half) >> shift`, one bit wider inside so that adding the half cannot wrap."""
    return (value + (1 << (shift - 1))) >> shift if shift else value


def saturate(value: Value, format: Integer) -> Value:
    """`value` limited to the range of `format`.

    Looks only at the bits that `format` lacks, without a comparator: an unsigned result overflows when one of
    them is set, a signed one when they and its own sign bit are not all equal.
    """
    whole = Value.cast(value)
    if not whole.shape().signed:
        whole = whole + Const(0, Shape(1, signed=True))  # a sign bit that is 0
    negative, magnitude = whole[-1], whole[:-1]
    if not format.signed:
        top = Mux(magnitude[format.bits :].any(), format.max_code, magnitude[: format.bits])
        return Mux(negative, 0, top)
    if len(whole) <= format.bits:
        return whole
    beyond = whole[format.bits - 1 :]
    limit = Mux(negative, Const(format.min_code, Shape(format.bits, signed=True)), format.max_code)
    return Mux(beyond.any() & ~beyond.all(), limit, whole[: format.bits].as_signed())


def table(entries: Sequence[int], index: Value) -> Value:
    """Entry `index` of a table of constants: one LUT per bit up to 16 entries."""
    width = Integer.holding(min(entries), max(entries)).bits
    return Array(Const(entry, Shape(width, signed=True)) for entry in entries)[index]


def product_parts(a: Value, b: Value, bits: int) -> list[Value]:
    """Products of unsigned `a` with each group of `bits` bits of unsigned `b`, lowest first, not yet shifted.

    Sums of masked copies, as `*` would cost a DSP. a · b is the sum of part n << n · bits.
    """
    parts = []
    for low in range(0, len(b), bits):
        copies = [Mux(b[n], a, 0) << (n - low) for n in range(low, min(low + bits, len(b)))]
        parts.append(sum(copies[1:], copies[0]))
    return parts


def constant_product(value: Value, factor: int) -> Value:
    """`value · factor` as shifts, sums and differences: one adder per non-zero digit of `factor` but the first.

    The digits are the signed ones with the fewest non-zero (canonical signed digit form).

    >>> signed_digits(192), signed_digits(7), signed_digits(-3)
    ([(6, -1), (8, 1)], [(0, -1), (3, 1)], [(0, 1), (2, -1)])
    """
    terms = [(value << place) if digit > 0 else -(value << place) for place, digit in signed_digits(factor)]
    return Value.cast(sum(terms[1:], *terms[:1]))


def signed_digits(number: int) -> list[tuple[int, int]]:
    """Non-zero digits (place, ±1) of `number` in canonical signed digit form, lowest first."""
    digits, place = [], 0
    while number:
        if number & 1:
            digit = 2 - (number & 3)  # 1 when the next bit is 0, −1 when it is 1
            digits.append((place, digit))
            number -= digit
        number >>= 1
        place += 1
    return digits


def leading_one(value: Value) -> Value:
    """Index of the highest set bit of unsigned `value`, 0 when none is; halves chosen top down, log depth."""
    if len(value) <= 1:
        return Const(0, 0)
    half = 1 << ((len(value) - 1).bit_length() - 1)
    high, low = value[half:], value[:half]
    inner = Mux(high.any(), leading_one(high), leading_one(low))
    return Cat(inner[: (half - 1).bit_length()], high.any())

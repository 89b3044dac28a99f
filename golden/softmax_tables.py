"""Tables of the softmax unit: 2^−f and log2(1 + u) as straight segments with centred errors.

Each segment's line is the integer one with the smallest largest error over every argument the unit can
present, so the error is about half of a chord's and changes sign. For the defaults the largest error of
2^−f is 5.0e-4 of the value (a chord's: 9.4e-4) and of log2(1 + u) 6.8e-4 octaves, of which 1.8e-4 is the
unit's truncation of u to 12 bits and 1.2e-4 that of the result; a code is at least half an octave.
For scores of few fraction bits there are tables without slopes as well, a stair of exact values.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from math import isqrt

LOG_INDEX_BITS = 12
"""Bits of the sum after its leading one that the unit looks at (docs/datapath.md, softmax step 4)."""
DIGITS = 40
"""Decimal digits of the intermediate values: far beyond any table entry, so rounding never decides one."""


def softmax_tables(
    exp_bits: int,
    log_frac_bits: int,
    exp_segments: int = 8,
    log_segments: int = 16,
    *,
    score_frac_bits: int = 9,
) -> dict[str, tuple[int, ...]]:
    """Tables `exp_base`, `exp_slope`, `log_base`, `log_slope` of the unit with these parameters.

    Segments are powers of two, at most 2^score_frac_bits and 2^12 of them. Deterministic on every platform.
    """
    for name, segments, most in (
        ("exp_segments", exp_segments, score_frac_bits),
        ("log_segments", log_segments, LOG_INDEX_BITS),
    ):
        if segments < 1 or segments & (segments - 1) or segments > 1 << most:
            raise ValueError(f"{name} must be a power of two up to 2^{most}, not {segments}")
    with localcontext() as context:
        context.prec = DIGITS
        exp = [_exp_segment(n, exp_bits, exp_segments, score_frac_bits) for n in range(exp_segments)]
        log = [_log_segment(n, log_frac_bits, log_segments) for n in range(log_segments)]
    return {
        "exp_base": tuple(base for base, _ in exp),
        "exp_slope": tuple(slope for _, slope in exp),
        "log_base": tuple(base for base, _ in log),
        "log_slope": tuple(slope for _, slope in log),
    }


def stair_tables(exp_bits: int, frac_bits: int, index_bits: int) -> dict[str, tuple[int, ...]]:
    """Tables without slopes, for scores and logarithms of the same few fraction bits f: nothing to interpolate.

    2^−r for each of the 2^f fractions r, rounded, 2^0 one step short so that it takes `exp_bits` bits; and
    floor(2^f · log2(1 + u)) in the middle of each of 2^index_bits cells of u: FLOOR, as a code needs of log2 of the
    sum only how many steps of a distance fit. Exact: by integer roots and powers.
    """
    steps = 1 << frac_bits
    exp_base = []
    for n in range(steps):
        twice = 1 << (steps * (exp_bits + 1) - n)  # (2 · 2^(exp_bits − n / steps)) to the power of `steps`
        for _ in range(frac_bits):
            twice = isqrt(twice)
        exp_base.append(min((twice + 1) >> 1, (1 << exp_bits) - 1))
    middles = [(2 << index_bits) + 2 * n + 1 for n in range(1 << index_bits)]  # of 1 + u in [1, 2)
    log_base = [(middle**steps).bit_length() - 1 - steps * (index_bits + 1) for middle in middles]
    tables = {"exp_base": exp_base, "exp_slope": [0] * steps}
    tables |= {"log_base": log_base, "log_slope": [0] * len(log_base)}
    return {name: tuple(entries) for name, entries in tables.items()}


def _exp_segment(n: int, exp_bits: int, segments: int, frac_bits: int) -> tuple[int, int]:
    """Base and slope of `base − slope · low` against 2^(exp_bits − r / 2^frac_bits), by relative error."""
    width = (1 << frac_bits) // segments
    steps = [Decimal(n * width + low) / (1 << frac_bits) for low in range(width)]
    values = [Decimal(2) ** (exp_bits - step) for step in steps]
    chord = (values[0] - values[-1]) / max(width - 1, 1)
    lines = []
    for slope in _around(chord):
        line = [-slope * low for low in range(width)]
        lines.append((*_best_base(line, values, values, values), slope))
    _, base, slope = min(lines)
    return base, slope


def _log_segment(n: int, frac_bits: int, segments: int) -> tuple[int, int]:
    """Base and slope of `base + ((slope · low) >> bits)` against 2^frac_bits · log2(1 + u / 2^12).

    The sum lies anywhere in [u, u + 1) steps, so the line is centred between the two ends.
    """
    width = (1 << LOG_INDEX_BITS) // segments
    edges = [1 + Decimal(n * width + low) / (1 << LOG_INDEX_BITS) for low in range(width + 1)]
    values = [(1 << frac_bits) * edge.ln() / Decimal(2).ln() for edge in edges]
    lines = []
    for slope in _around(values[-1] - values[0]):
        line = [slope * low // width for low in range(width)]
        lines.append((*_best_base(line, values[:-1], values[1:], [Decimal(1)] * width), slope))
    _, base, slope = min(lines)
    return base, slope


def _around(slope: Decimal) -> range:
    nearest = int(slope.to_integral_value())
    return range(max(nearest - 2, 0), nearest + 3)


def _best_base(
    line: Sequence[int], low: Sequence[Decimal], high: Sequence[Decimal], unit: Sequence[Decimal]
) -> tuple[Decimal, int]:
    """(error, base) of the least largest distance of base + line[i] from [low[i], high[i]], in unit[i].

    The largest distance is convex in the base, so a bisection on its slope finds the integer minimum.
    """

    def error(base: int) -> Decimal:
        over = max((base + x - y) / u for x, y, u in zip(line, low, unit, strict=True))
        under = max((y - base - x) / u for x, y, u in zip(line, high, unit, strict=True))
        return max(over, under)

    return _convex_minimum(error, int(min(low)) - 1, int(max(high)) + max(abs(x) for x in line) + 1)


def _convex_minimum(error: Callable[[int], Decimal], left: int, right: int) -> tuple[Decimal, int]:
    while left < right:
        middle = (left + right) // 2
        if error(middle) <= error(middle + 1):
            right = middle
        else:
            left = middle + 1
    return error(left), left

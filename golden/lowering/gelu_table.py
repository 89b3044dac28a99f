"""The bump table of the GELU unit, and the input width that it needs."""

import math
from dataclasses import dataclass

TABLE_FRAC_BITS = 2
"""Fraction bits of a table entry below the input's, so that its rounding stays under the input's."""
_MOST_FRAC_BITS, _WIDEST_STEPS = 10, 24
"""Fraction bits of the unit's input in output codes: rounding to 2^-10 of a code moves less than 0.05 % of the codes.
Wide outputs, from which other formats are made, get fewer, so that no input is wider than 25 bits with its sign."""
_ENTRIES, _ENTRIES_OF_FINE_CODES = 257, 1025
"""256 segments of width w <= 5.2 / 128: their mean error, below g'' w^2 / 32 with g'' <= 0.8 (entries centred, see
`_centred`), is at most 4e-5, half a hundredth of an 8-bit code of a range of 2. Codes of more than 8 bits have steps
below 1e-3 and take four times the segments, a sixteenth of the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeluTable:
    """Parameters of the GELU unit that depend on the output scale."""

    in_bits: int
    frac_bits: int
    """Of the input, in output codes."""
    table: list[int]
    table_step: int


def gelu_table(scale: float, out_bits: int) -> GeluTable:
    """Table of g(u) = u Φ(-u), u >= 0, for output codes of `scale`.

    Entry i is g, centred, at u = i * 2^table_step input steps, an input step being scale / 2^frac_bits; it stops
    where g has fallen for good below half a table unit, and ends in a 0.
    """
    frac_bits = min(_MOST_FRAC_BITS, max(_WIDEST_STEPS - out_bits, 0))
    entries = _ENTRIES if out_bits <= 8 else _ENTRIES_OF_FINE_CODES
    step = scale / (1 << frac_bits)
    unit = step / (1 << TABLE_FRAC_BITS)
    end = math.ceil(_vanishing(unit / 2) / step)
    table_step = max(0, math.ceil(math.log2(max(end, 1) / (entries - 1))))
    count = max(1, -(-end // (1 << table_step)))
    width = step * (1 << table_step)
    table = [round(_centred(i * width, width) / unit) for i in range(count)] + [0]
    # Both the largest output code and the end of the bump must be representable, or a saturated negative
    # input would stop inside the bump instead of at 0.
    magnitude_bits = max(out_bits + frac_bits, (count << table_step).bit_length())
    return GeluTable(in_bits=magnitude_bits + 1, frac_bits=frac_bits, table=table, table_step=table_step)


def _bump(u: float) -> float:
    """Compute u Φ(-u)."""
    return 0.5 * u * math.erfc(u / math.sqrt(2))


def _centred(u: float, width: float) -> float:
    """Knot at u of a piecewise linear g whose mean error is 0: a chord misses by g'' width^2 / 12 on average."""
    second_derivative = (u * u - 2) * math.exp(-u * u / 2) / math.sqrt(2 * math.pi)
    return max(0.0, _bump(u) - second_derivative * width * width / 12)


def _vanishing(threshold: float) -> float:
    """Smallest u beyond the peak (0.7518) from which g stays below `threshold`; 0 when g never reaches it."""
    low, high = 0.7518, 40.0
    if _bump(low) < threshold:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _bump(middle) >= threshold else (low, middle)
    return high

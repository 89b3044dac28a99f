"""Number formats: pure Python, exact, torch-free; the specification that tensors, kernels and RTL follow.

A *code* is a stored integer, a *value* a real number, a *scale* the value of one code step.
"""

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Literal

MAX_BITS = 62
"""Widest integer anywhere in a program: one bit of head room below int64, so a sum of two never wraps."""


class Rounding(Enum):
    """How a real or a longer integer becomes an integer; always named, never a default."""

    FLOOR = "towards minus infinity; a plain arithmetic right shift"
    HALF_UP = "nearest, ties towards plus infinity; (x + half) >> n in hardware"
    HALF_EVEN = "nearest, ties to even; torch.round, the papers' fake quantisers"


def round_value(value: Fraction, rounding: Rounding) -> int:
    """Integer nearest to `value` under `rounding`.

    >>> [round_value(Fraction(n, 2), Rounding.HALF_UP) for n in (1, 3, 5, -1)]
    [1, 2, 3, 0]
    >>> [round_value(Fraction(n, 2), Rounding.HALF_EVEN) for n in (1, 3, 5, -1)]
    [0, 2, 2, 0]
    """
    if rounding is Rounding.FLOOR:
        return value.__floor__()
    if rounding is Rounding.HALF_UP:
        return (value + Fraction(1, 2)).__floor__()
    return round(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """A plain two's complement or unsigned integer of `bits` bits: what a wire or a memory word holds."""

    bits: int
    """Width in bits, 1 to 62."""
    signed: bool

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise ValueError(f"bits must be in [1, {MAX_BITS}], not {self.bits}")

    @property
    def min_code(self) -> int:
        """Smallest integer it holds."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max_code(self) -> int:
        """Largest integer it holds."""
        return (1 << (self.bits - self.signed)) - 1

    def __str__(self) -> str:
        """Format `s16` or `u4`."""
        return f"{'s' if self.signed else 'u'}{self.bits}"

    @classmethod
    def holding(cls, low: int, high: int) -> "Integer":
        """Smallest signed integer format that holds every integer from `low` to `high`.

        >>> str(Integer.holding(-8, 7)), str(Integer.holding(-8, 8)), str(Integer.holding(-8, -8))
        ('s4', 's5', 's4')
        """
        if low > high:
            raise ValueError(f"low must not exceed high, but {low} > {high}")
        # n bits hold [-2^(n-1), 2^(n-1) - 1]: x >= 0 needs the bits of x, x < 0 those of ~x = -x - 1, and the sign.
        magnitude = max((x if x >= 0 else ~x).bit_length() for x in (low, high))
        return cls(bits=magnitude + 1, signed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulators:
    """Widest accumulators that the hardware has, and what happens to a sum that does not fit one."""

    bits: int
    """Width in bits, 1 to 62."""
    overflow: Literal["wrap", "saturate"]

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise ValueError(f"bits must be in [1, {MAX_BITS}], not {self.bits}")
        if self.overflow not in ("wrap", "saturate"):
            raise ValueError(f"overflow must be wrap or saturate, not {self.overflow!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Unsigned code k of `bits` bits, value `scale * (k - zero_point)`.

    The zero point is an integer but may lie outside the codes: RepQ-ViT does not force the range to
    include 0, so one-sided data get a zero point beyond one end (papers: RepQ-ViT, arXiv 2212.08254).
    """

    bits: int
    """Width of a code in bits, 1 to 16."""
    zero_point: int
    """Code of the value 0, any integer."""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise ValueError(f"bits must be in [1, 16], not {self.bits}")

    @property
    def max_code(self) -> int:
        """Largest code; the smallest is 0."""
        return (1 << self.bits) - 1

    def encode(self, steps: Fraction, rounding: Rounding) -> int:
        """Code of the value `steps * scale`: round, add the zero point, saturate."""
        return min(max(round_value(steps, rounding) + self.zero_point, 0), self.max_code)

    def decode(self, code: int) -> int:
        """Value of `code` in units of the scale."""
        return code - self.zero_point


@dataclass(frozen=True, slots=True, kw_only=True)
class Log2:
    """Unsigned code k of `bits` bits, value `scale * base^-k`; base 2 (1 step per octave) or √2 (2 steps).

    The top code is the value 0 (*hardware* zero). The papers' fake quantisers instead let 2^bits non-zero
    levels plus a hidden zero through, which is 2^bits + 1 values and fits no `bits`-bit code (*paper* zero);
    that form exists only in `golden.codecs.log2`, to reproduce published numbers.
    """

    bits: int
    """Width of a code in bits, 2 to 8."""
    steps_per_octave: int
    """1 for base 2, 2 for base √2."""

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be in [2, 8], not {self.bits}")
        if self.steps_per_octave not in (1, 2):
            raise ValueError(
                f"steps_per_octave must be 1 (base 2) or 2 (base √2), not {self.steps_per_octave}"
            )

    @property
    def zero_code(self) -> int:
        """The code that means exactly 0: the top one."""
        return (1 << self.bits) - 1

    def shift(self, code: int) -> int:
        """Right shift of `code`'s value: ceil(code / steps_per_octave)."""
        return -(-code // self.steps_per_octave)

    def is_odd(self, code: int) -> bool:
        """True when the value carries a factor √2 beside the shift (base √2, odd code)."""
        return self.steps_per_octave == 2 and code % 2 == 1

    def decode(self, code: int) -> float:
        """Value of `code` in units of the scale, to float precision.

        >>> [Log2(bits=2, steps_per_octave=1).decode(k) for k in range(4)]
        [1.0, 0.5, 0.25, 0.0]
        """
        return 0.0 if code == self.zero_code else float(2.0 ** (-code / self.steps_per_octave))

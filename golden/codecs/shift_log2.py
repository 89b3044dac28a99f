"""Log codes of shifted values, for post-GELU: ADFQ-ViT's Shift-Log2.

arXiv 2407.02763: shift everything positive, then take logarithms. The released code is base √2 whatever the name says,
and shifts by the minimum of the tensor that is just there, which no fixed datapath can; here the shift is a constant,
minus GELU's minimum, as in AdaLog (arXiv 2407.12951), and folds into the next layer's bias.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from golden.codecs.base import Evidence, SiteFormat, Zero
from golden.observer import positive_quantiles

GELU_MINIMUM = -0.16997124
"""x Φ(x) at x = -0.7518."""
UNITY_BITS = 18
"""The integer encoder sees shifted values in units of 2^-UNITY_BITS of the scale."""
MAX_OCTAVES = 12
"""Levels lie at most so far below the scale. One there is 64 units, and the nearest boundary of base √2 lies a sixth
of it away: 10 units, more than a rounding and a table's error; a few octaves lower neighbours could not be told apart.
For a scale of 4 that level is 0.001 above GELU's minimum, far below the distance of most levels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShiftLog2Codec:
    """y = x + offset; k = saturate(round(-steps * log2(y / scale))); value scale * 2^(-k / steps) - offset.

    `zero` says what happens beyond the last level, as in Log2Codec. "paper": all 2^bits codes are levels and y past
    them is 0, a hidden 2^bits + 1st value. "hardware": the top code is y = 0, and so is what lies more than
    MAX_OCTAVES below the scale.
    """

    bits: int
    steps_per_octave: int
    scale: Tensor
    zero: Zero

    @property
    def kind(self) -> str:
        """Name of the format."""
        return "shift_log2"

    @property
    def ordered(self) -> bool:
        """Codes are in the reverse order of their values; codes that never occur may lie before the one of zero."""
        return self.max_level + 1 == self.zero_code

    @property
    def unit(self) -> float:
        """Value of one unit of what the integer encoder sees."""
        return float(self.scale) / (1 << UNITY_BITS)

    @property
    def offset_units(self) -> int:
        """The shift in such units: a whole number, the zero point of GELU's integer output."""
        return round(-GELU_MINIMUM / self.unit)

    @property
    def offset(self) -> float:
        """The shift."""
        return self.offset_units * self.unit

    @property
    def zero_code(self) -> int:
        """The code that means y = 0; of paper zero one that no hardware holds."""
        return (1 << self.bits) if self.zero == "paper" else (1 << self.bits) - 1

    @property
    def max_level(self) -> int:
        """The last code that is a level."""
        last = self.zero_code - 1
        return last if self.zero == "paper" else min(last, self.steps_per_octave * MAX_OCTAVES)

    def with_zero(self, zero: Zero) -> "ShiftLog2Codec":
        """The same scale with the other treatment of zero."""
        return replace(self, zero=zero)

    def encode(self, values: Tensor) -> Tensor:
        """Codes int64 of `values`; with paper zero the code 2^bits occurs."""
        # A float GELU may lie a rounding below its minimum; the logarithm of 0 is beyond every level.
        shifted = (values + self.offset).clamp(min=0)
        levels = torch.round(-self.steps_per_octave * torch.log2(shifted / self.scale.to(values.dtype)))
        codes = levels.clamp(0, self.max_level + 1).to(torch.int64)
        return torch.where(codes > self.max_level, self.zero_code, codes)

    def decode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Values of `codes`."""
        levels = torch.exp2(-codes.to(dtype) / self.steps_per_octave) * self.scale.to(dtype)
        return torch.where(codes > self.max_level, 0.0, levels) - self.offset

    def fake(self, values: Tensor) -> Tensor:
        """Values after encode and decode."""
        return self.decode(self.encode(values), values.dtype)

    def notes(self) -> dict[str, str | int]:
        """Scale, shift and steps per octave."""
        return {
            "kind": self.kind,
            "scale": float(self.scale).hex(),
            "offset": self.offset.hex(),
            "steps_per_octave": self.steps_per_octave,
        }


class ShiftLog2Site(SiteFormat):
    """Shifted log codes at GELU outputs."""

    sites: ClassVar[tuple[str, ...]] = ("gelu",)
    format: Literal["shift_log2"]
    base: Literal["2", "sqrt2"]

    @property
    def steps_per_octave(self) -> int:
        """1 for base 2, 2 for base √2."""
        return 1 if self.base == "2" else 2

    def fit(self, x: Tensor, bits: int, evidence: Evidence) -> ShiftLog2Codec:
        """Scale: the percentile of shifted data with the least error, with the papers' hidden zero."""
        candidates = (
            ShiftLog2Codec(bits=bits, steps_per_octave=self.steps_per_octave, scale=top, zero="paper")
            for top in positive_quantiles(x - GELU_MINIMUM, evidence.percentiles)
        )
        return min(candidates, key=lambda codec: evidence.error(x, codec.fake(x)))

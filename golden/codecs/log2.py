"""Log codes: powers of 2 or √2, for values in (0, 1]."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from golden.codecs.base import Evidence, SiteFormat, Zero
from golden.formats import Log2
from golden.observer import positive_quantiles


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Log2Codec:
    """k = saturate(round(-steps * log2(x / scale)), 0, ...); value scale * 2^(-k / steps) (RepQ-ViT §3, FQ-ViT LIS).

    `zero` says what happens beyond the last level. "paper": all 2^bits codes are levels and everything past
    them is exactly 0, a hidden 2^bits + 1st value that no hardware code holds. "hardware": the top code is 0.
    """

    bits: int
    steps_per_octave: int
    scale: Tensor
    zero: Zero

    @property
    def kind(self) -> str:
        """Name of the format."""
        return "log2"

    @property
    def ordered(self) -> bool:
        """Codes are in the reverse order of their values."""
        return True

    @property
    def format(self) -> Log2:
        """The hardware format."""
        return Log2(bits=self.bits, steps_per_octave=self.steps_per_octave)

    def with_zero(self, zero: Zero) -> "Log2Codec":
        """The same scale with the other treatment of zero."""
        return replace(self, zero=zero)

    @property
    def _zero_code(self) -> int:
        return (1 << self.bits) if self.zero == "paper" else (1 << self.bits) - 1

    def encode(self, values: Tensor) -> Tensor:
        """Codes int64 of `values`; with paper zero the code 2^bits occurs and means 0."""
        codes = torch.round(-self.steps_per_octave * torch.log2(values / self.scale.to(values.dtype)))
        return codes.clamp(0, self._zero_code).to(torch.int64)

    def decode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Values of `codes`."""
        levels = torch.exp2(-codes.to(dtype) / self.steps_per_octave) * self.scale.to(dtype)
        return torch.where(codes == self._zero_code, 0.0, levels)

    def fake(self, values: Tensor) -> Tensor:
        """Values after encode and decode."""
        return self.decode(self.encode(values), values.dtype)

    def notes(self) -> dict[str, str | int]:
        """Scale and steps per octave."""
        return {
            "kind": self.kind,
            "scale": float(self.scale).hex(),
            "steps_per_octave": self.steps_per_octave,
        }


class Log2Site(SiteFormat):
    """Log codes at a site of values in (0, 1]."""

    sites: ClassVar[tuple[str, ...]] = ("softmax",)
    format: Literal["log2"]
    base: Literal["2", "sqrt2"]

    @property
    def steps_per_octave(self) -> int:
        """1 for base 2, 2 for base √2."""
        return 1 if self.base == "2" else 2

    def fit(self, x: Tensor, bits: int, evidence: Evidence) -> Log2Codec:
        """Scale: the percentile with the least squared error, with the papers' hidden zero."""
        return fit_log2(x, bits, self.steps_per_octave, evidence.percentiles, "paper")


def fit_log2(
    x: Tensor, bits: int, steps_per_octave: int, percentiles: tuple[float, ...], zero: Zero
) -> Log2Codec:
    """Per-tensor log codec of positive `x`: the scale is the quantile with the least squared error."""
    best, chosen = torch.inf, None
    for top in positive_quantiles(x, percentiles):
        codec = Log2Codec(bits=bits, steps_per_octave=steps_per_octave, scale=top, zero=zero)
        error = float((codec.fake(x) - x).square().mean(dtype=torch.float64))
        if error < best:
            best, chosen = error, codec
    if chosen is None:
        raise ValueError("no percentile gives a finite error: the tensor holds NaN or a value below 0")
    return chosen

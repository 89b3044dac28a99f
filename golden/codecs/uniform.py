"""Uniform codes: one scale and one integer zero point, per tensor or per channel.

Ranges as RepQ-ViT's released code finds them: for each percentile p the range [quantile(1 - p), quantile(p)] is
tried, and the one with the least squared error kept. Quantiles interpolate linearly. The zero point is rounded
HALF_EVEN; the range is not forced to include 0.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from golden.codecs.base import ACTIVATION_SITES, Evidence, SiteFormat, Zero
from golden.observer import quantiles


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UniformCodec:
    """q = saturate(round(x / scale) + zero_point, 0, 2^bits - 1); value scale * (q - zero_point).

    `scale` and `zero_point` are 0-d (per tensor) or broadcast against the values (per channel).
    """

    bits: int
    scale: Tensor
    zero_point: Tensor
    """int64; may lie outside the codes (RepQ-ViT does not force 0 into the range)."""

    @property
    def kind(self) -> str:
        """Name of the format."""
        return "uniform"

    @property
    def ordered(self) -> bool:
        """Codes are in the order of their values."""
        return True

    def encode(self, values: Tensor) -> Tensor:
        """Codes int64 of `values`."""
        # Saturate before the integer conversion: a float beyond int64 has no defined conversion.
        codes = torch.round(values / self.scale.to(values.dtype)) + self.zero_point
        return codes.clamp(0, (1 << self.bits) - 1).to(torch.int64)

    def decode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Values of `codes`."""
        return (codes - self.zero_point).to(dtype) * self.scale.to(dtype)

    def fake(self, values: Tensor) -> Tensor:
        """Values after encode and decode."""
        scale = self.scale.to(values.dtype)
        codes = (torch.round(values / scale) + self.zero_point).clamp(0, (1 << self.bits) - 1)
        return (codes - self.zero_point) * scale

    def with_zero(self, zero: Zero) -> "UniformCodec":
        """Itself: zero is the code `zero_point`."""
        return self

    def notes(self) -> dict[str, str | int]:
        """Scale and zero point of a per-tensor codec."""
        return {"kind": self.kind, "scale": float(self.scale).hex(), "zero_point": int(self.zero_point)}


class UniformSite(SiteFormat):
    """Uniform codes at a site."""

    sites: ClassVar[tuple[str, ...]] = ACTIVATION_SITES
    format: Literal["uniform"]
    granularity: Literal["tensor", "channel_to_tensor"] = "tensor"
    """`channel_to_tensor`: calibrated per channel, then folded into the LayerNorm and the next weights (RepQ-ViT)."""
    target: Literal["mean", "median"] = "mean"
    """Layer-wise scale that channel scales are folded to: RepQ-ViT's mean or DopQ-ViT's median (MOSF).

    With the defaults of the next two it changes no code of any tensor (golden.reparameterize).
    """
    ratio: Literal["exact", "power_of_two"] = "exact"
    """What LayerNorm's gamma is divided by: channel scale over layer-wise scale, or the nearest power of two."""
    gamma_bits: Annotated[int, Field(ge=2, le=18)] | None = None
    """Width of the folded gamma and beta in fixed point, one binary point each per layer; None keeps them exact."""

    def fit(self, x: Tensor, bits: int, evidence: Evidence) -> UniformCodec:
        """Range by percentile and least squared error; per channel where asked for."""
        if self.granularity == "channel_to_tensor":
            return fit_uniform_rows(x.flatten(0, -2).T.contiguous(), bits, evidence.percentiles)
        return fit_uniform(x, bits, evidence.percentiles)


def fit_uniform(x: Tensor, bits: int, percentiles: tuple[float, ...]) -> UniformCodec:
    """Per-tensor codec of `x`."""
    codec = fit_uniform_rows(x.reshape(1, -1), bits, percentiles)
    return UniformCodec(bits=bits, scale=codec.scale[0], zero_point=codec.zero_point[0])


def fit_uniform_rows(x: Tensor, bits: int, percentiles: tuple[float, ...]) -> UniformCodec:
    """One scale and zero point per row of `x` [rows, samples]; the result's tensors have shape [rows]."""
    high = quantiles(x, percentiles)
    low = quantiles(x, tuple(1.0 - p for p in percentiles))
    best = torch.full((len(x),), torch.inf, dtype=torch.float64)
    found = torch.zeros(len(x), dtype=torch.bool)
    scale = torch.ones(len(x), dtype=x.dtype)
    zero_point = torch.zeros(len(x), dtype=torch.int64)
    # The whole range stands in where every percentile cuts a nearly constant row down to one value.
    narrow = torch.stack(high).amax(0) <= torch.stack(low).amin(0)
    if narrow.any():
        high.append(torch.where(narrow, x.amax(-1), -torch.inf))
        low.append(torch.where(narrow, x.amin(-1), torch.inf))
    for top, bottom in zip(high, low, strict=True):
        step = (top - bottom) / ((1 << bits) - 1)
        usable = step > 0
        step = torch.where(usable, step, 1.0)
        zero = torch.round(-bottom / step).to(torch.int64)
        candidate = UniformCodec(bits=bits, scale=step[:, None], zero_point=zero[:, None])
        error = (candidate.fake(x) - x).square().mean(-1, dtype=torch.float64)
        # The first range counts even where the squared error is too large for a float.
        better = usable & ((error < best) | ~found)
        found |= usable
        best = torch.where(better, error, best)
        scale = torch.where(better, step, scale)
        zero_point = torch.where(better, zero, zero_point)
    return _with_constants_exact(x, UniformCodec(bits=bits, scale=scale, zero_point=zero_point), ~found)


def _with_constants_exact(x: Tensor, codec: UniformCodec, constant: Tensor) -> UniformCodec:
    """Rows without a usable range hold one constant c (LayerNorm channels whose gamma is 0): represent it exactly.

    Scale |c| (1 for c = 0) and zero point 1 for c < 0, else 0: c is then code 0 or 1. RepQ-ViT's code fails there.
    """
    value = x[:, 0]
    scale = torch.where(constant, torch.where(value == 0, 1.0, value.abs()), codec.scale)
    zero_point = torch.where(constant, (value < 0).to(torch.int64), codec.zero_point)
    return UniformCodec(bits=codec.bits, scale=scale, zero_point=zero_point)

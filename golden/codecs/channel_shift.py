"""Uniform codes with a power of two per channel, for LayerNorm inputs: FQ-ViT's PTF and TSPTQ-ViT's O-2SF.

PTF (arXiv 2111.13824): exponent 0 to 3 per channel on a base scale of an eighth of the whole range's. O-2SF (arXiv
2305.12901, reconstructed): a mask of outlier channels, all with one exponent m, so one bit per channel.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from golden.codecs.base import Evidence, SiteFormat, Zero

PTF_EXPONENTS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelShiftCodec:
    """q = saturate(round(x / (scale * 2^shift_c)) + zero_point, 0, 2^bits - 1); value scale * (q - z) * 2^shift_c."""

    bits: int
    scale: Tensor
    zero_point: Tensor
    shifts: Tensor
    """int64[C], at least 0."""

    @property
    def kind(self) -> str:
        """Name of the format."""
        return "channel_shift"

    @property
    def ordered(self) -> bool:
        """Codes of a channel are in the order of their values."""
        return True

    def _steps(self, dtype: torch.dtype) -> Tensor:
        return self.scale.to(dtype) * torch.exp2(self.shifts.to(dtype))

    def encode(self, values: Tensor) -> Tensor:
        """Codes int64 of `values` [.., C]."""
        codes = torch.round(values / self._steps(values.dtype)) + self.zero_point
        return codes.clamp(0, (1 << self.bits) - 1).to(torch.int64)

    def decode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Values of `codes` [.., C]."""
        return (codes - self.zero_point).to(dtype) * self._steps(dtype)

    def fake(self, values: Tensor) -> Tensor:
        """Values after encode and decode."""
        return self.decode(self.encode(values), values.dtype)

    def with_zero(self, zero: Zero) -> "ChannelShiftCodec":
        """Itself: zero is the code `zero_point`."""
        return self

    def notes(self) -> dict[str, str | int]:
        """Base scale, zero point and the channels' shifts."""
        shifts = ",".join(str(shift) for shift in self.shifts.tolist())
        return {
            "kind": self.kind,
            "scale": float(self.scale).hex(),
            "zero_point": int(self.zero_point),
            "shifts": shifts,
        }


class ChannelShiftSite(SiteFormat):
    """Channel shifts on the residual stream."""

    sites: ClassVar[tuple[str, ...]] = ("residual",)
    format: Literal["channel_shift"]
    rule: Literal["ptf", "outlier"]
    """`ptf`: an exponent 0 to 3 for every channel; `outlier`: one exponent for the channels far above the median."""
    threshold: Annotated[float, Field(gt=1)] = 4.0
    """`outlier`: a channel is one when its amplitude exceeds this many medians."""

    def fit(self, x: Tensor, bits: int, evidence: Evidence) -> ChannelShiftCodec:
        """Range of the whole tensor (min-max); exponents per channel by least squared error, or by amplitude."""
        rows = x.flatten(0, -2)
        return self._fit_ptf(rows, bits) if self.rule == "ptf" else self._fit_outliers(rows, bits)

    def _fit_ptf(self, rows: Tensor, bits: int) -> ChannelShiftCodec:
        high, low = rows.max(), rows.min()
        if high == low:
            return _of_constant(high, bits, rows.shape[-1])
        whole = (high - low) / ((1 << bits) - 1)
        zero_point = torch.round(-low / whole).to(torch.int64)
        base = whole / (1 << (PTF_EXPONENTS - 1))
        errors = []
        for exponent in range(PTF_EXPONENTS):
            shifts = torch.full((rows.shape[-1],), exponent)
            codec = ChannelShiftCodec(bits=bits, scale=base, zero_point=zero_point, shifts=shifts)
            errors.append((codec.fake(rows) - rows).square().sum(0))
        return ChannelShiftCodec(
            bits=bits, scale=base, zero_point=zero_point, shifts=torch.stack(errors).argmin(0)
        )

    def _fit_outliers(self, rows: Tensor, bits: int) -> ChannelShiftCodec:
        amplitude = rows.abs().amax(0)
        live = amplitude[amplitude > 0]  # dead channels say nothing of the others' scale
        if live.numel() == 0:
            return _of_constant(amplitude[0], bits, rows.shape[-1])
        outlier = amplitude > self.threshold * live.median()
        ordinary = amplitude[~outlier].max()
        # The shift that brings the largest outlier into the range of the others.
        shift = max(0, int(torch.ceil(torch.log2(amplitude.max() / ordinary))))
        half = 1 << (bits - 1)
        return ChannelShiftCodec(
            bits=bits,
            scale=ordinary / (half - 1),
            zero_point=torch.tensor(half),
            shifts=outlier.to(torch.int64) * shift,
        )


def _of_constant(value: Tensor, bits: int, channels: int) -> ChannelShiftCodec:
    """Codec in which the only value there is, is exact: code 0 or 1, as in golden.codecs.uniform."""
    return ChannelShiftCodec(
        bits=bits,
        scale=torch.where(value == 0, 1.0, value.abs()),
        zero_point=(value < 0).to(torch.int64),
        shifts=torch.zeros(channels, dtype=torch.int64),
    )

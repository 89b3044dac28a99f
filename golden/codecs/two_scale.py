"""Two-scale codes for non-negative values: small ones keep their LSBs, large ones their MSBs (TSPTQ-ViT's V-2SF).

Reconstructed (arXiv 2305.12901; the paper's body was not available): a flag chooses between steps D and 2^m D.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from golden.codecs.base import Evidence, SiteFormat, Zero
from golden.observer import positive_quantiles

SEARCH_IMAGES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TwoScaleCodec:
    """X = saturate(round(x / scale), 0, 2^(k + shift) - 1), k = bits - 1; X itself below 2^k, else its upper k bits.

    The upper bits are rounded HALF_UP and saturated; value scale * (payload << (flag ? shift : 0)). Beyond
    shift = k + 1 there is a hole: X from 2^k to 2^(shift - 1) is too large for the small region and rounds to 0 in
    the large one.
    """

    bits: int
    shift: int
    scale: Tensor
    """Step of the small region."""

    @property
    def kind(self) -> str:
        """Name of the format."""
        return "two_scale"

    @property
    def ordered(self) -> bool:
        """The flag puts codes of neighbouring values far apart."""
        return False

    @property
    def in_bits(self) -> int:
        """Width of X."""
        return self.bits - 1 + self.shift

    def encode(self, values: Tensor) -> Tensor:
        """Codes int64 of `values`, the flag on top."""
        end = 1 << (self.bits - 1)
        x = (
            torch.round(values / self.scale.to(values.dtype))
            .clamp(0, (1 << self.in_bits) - 1)
            .to(torch.int64)
        )
        upper = ((x + (1 << (self.shift - 1))) >> self.shift).clamp(max=end - 1)
        return torch.where(x < end, x, end + upper)

    def decode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Values of `codes`."""
        end = 1 << (self.bits - 1)
        steps = torch.where(codes < end, codes, (codes - end) << self.shift)
        return steps.to(dtype) * self.scale.to(dtype)

    def fake(self, values: Tensor) -> Tensor:
        """Values after encode and decode."""
        return self.decode(self.encode(values), values.dtype)

    def with_zero(self, zero: Zero) -> "TwoScaleCodec":
        """Itself: code 0 is exactly 0."""
        return self

    def notes(self) -> dict[str, str | int]:
        """Small step and shift."""
        return {"kind": self.kind, "scale": float(self.scale).hex(), "shift": self.shift}


class TwoScaleSite(SiteFormat):
    """Two-scale codes at a site of values in [0, 1]."""

    sites: ClassVar[tuple[str, ...]] = ("softmax",)
    format: Literal["two_scale"]

    def fit(self, x: Tensor, bits: int, evidence: Evidence) -> TwoScaleCodec:
        """Range and shift with the least error, weighted by importance where the scheme asks for it."""
        few = x[:SEARCH_IMAGES]
        judge = Evidence(
            percentiles=evidence.percentiles,
            importance=None if evidence.importance is None else evidence.importance[:SEARCH_IMAGES],
        )
        top_payload = (1 << (bits - 1)) - 1
        return min(
            (
                TwoScaleCodec(bits=bits, shift=shift, scale=top / (top_payload << shift))
                for top in positive_quantiles(x, evidence.percentiles)
                for shift in range(1, bits + 1)  # up to k + 1: without a hole
            ),
            key=lambda codec: judge.error(few, codec.fake(few)),
        )

"""Sign-scale codes for post-GELU: one step for negative values, 2^m of it for the others (PTQ4ViT's twin uniform).

arXiv 2111.12293. The paper ties the two steps by a power of two, as a shift in hardware needs; its code does not.
The same layout serves TSPTQ-ViT's V-2SF after GELU, where the sign's place is not known (reconstructed).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from golden.codecs.base import Evidence, SiteFormat, Zero

SHIFTS = range(13)
RANGES = tuple(i / 20 for i in range(8, 25))
"""Candidate ranges of the positive side, relative to its largest value (PTQ4ViT searches up to 1.2)."""
SEARCH_IMAGES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignScaleCodec:
    """X = round(x / scale); flag 0: payload min(-X, 2^k - 1); flag 1: payload min((X + half) >> shift, 2^k - 1).

    k = bits - 1; value -scale * payload or scale * (payload << shift).
    """

    bits: int
    shift: int
    scale: Tensor
    """Step of the negative region."""

    @property
    def kind(self) -> str:
        """Name of the format."""
        return "sign_scale"

    @property
    def ordered(self) -> bool:
        """The flag puts codes of neighbouring values far apart."""
        return False

    @property
    def in_bits(self) -> int:
        """Width of X, signed."""
        return self.bits + self.shift

    def encode(self, values: Tensor) -> Tensor:
        """Codes int64 of `values`, the flag on top."""
        end, reach = 1 << (self.bits - 1), 1 << (self.in_bits - 1)
        x = torch.round(values / self.scale.to(values.dtype)).clamp(-reach, reach - 1).to(torch.int64)
        half = (1 << self.shift) >> 1
        return torch.where(
            x < 0, (-x).clamp(max=end - 1), end + ((x + half) >> self.shift).clamp(max=end - 1)
        )

    def decode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Values of `codes`."""
        end = 1 << (self.bits - 1)
        steps = torch.where(codes < end, -codes, (codes - end) << self.shift)
        return steps.to(dtype) * self.scale.to(dtype)

    def fake(self, values: Tensor) -> Tensor:
        """Values after encode and decode."""
        return self.decode(self.encode(values), values.dtype)

    def with_zero(self, zero: Zero) -> "SignScaleCodec":
        """Itself: zero is exact."""
        return self

    def notes(self) -> dict[str, str | int]:
        """Negative step and shift."""
        return {"kind": self.kind, "scale": float(self.scale).hex(), "shift": self.shift}


class SignScaleSite(SiteFormat):
    """Sign-scale codes at a site whose negative values are small."""

    sites: ClassVar[tuple[str, ...]] = ("gelu",)
    format: Literal["sign_scale"]

    def fit(self, x: Tensor, bits: int, evidence: Evidence) -> SignScaleCodec:
        """Positive range and shift with the least error, weighted by importance where the scheme asks for it."""
        few = x[:SEARCH_IMAGES]
        judge = Evidence(
            percentiles=evidence.percentiles,
            importance=None if evidence.importance is None else evidence.importance[:SEARCH_IMAGES],
        )
        levels = (1 << (bits - 1)) - 1
        peak = x.max()
        if peak <= 0:  # no positive side to search: the negative side's range, 1 where all is 0
            reach = -x.min()
            return SignScaleCodec(bits=bits, shift=0, scale=torch.where(reach > 0, reach / levels, 1.0))
        # The range first, at the shift that makes the negative side reach -0.17, then the shift.
        first = min(
            (SignScaleCodec(bits=bits, shift=0, scale=peak * r / levels) for r in RANGES),
            key=lambda codec: judge.error(few.clamp(min=0), codec.fake(few.clamp(min=0))),
        )
        return min(
            (SignScaleCodec(bits=bits, shift=m, scale=first.scale / (1 << m)) for m in SHIFTS),
            key=lambda codec: judge.error(few, codec.fake(few)),
        )

"""Number formats on float tensors: encode, decode, and their composition, the papers' fake quantisation.

Rounding is HALF_EVEN (torch.round), as in the released code of RepQ-ViT and FQ-ViT.
"""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from golden.formats import Log2

Zero = Literal["paper", "hardware"]


class Codec(Protocol):
    """Encodes values of one site and decodes their codes."""

    bits: int

    def encode(self, values: Tensor) -> Tensor:
        """Codes int64 of `values`."""
        ...

    def decode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Values of `codes`."""
        ...

    def fake(self, values: Tensor) -> Tensor:
        """Values after encode and decode: what the quantised network sees."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UniformCodec:
    """q = saturate(round(x / scale) + zero_point, 0, 2^bits - 1); value scale * (q - zero_point).

    `scale` and `zero_point` are 0-d (per tensor) or broadcast against the values (per channel).
    """

    bits: int
    scale: Tensor
    zero_point: Tensor
    """int64; may lie outside the codes (RepQ-ViT does not force 0 into the range)."""

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

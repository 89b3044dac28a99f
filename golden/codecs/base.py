"""What every format offers: a codec for tensors, and the entry of a scheme that fits one to calibration data."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

ACTIVATION_SITES = (
    "patch_input",
    "post_layernorm",
    "q",
    "k",
    "v",
    "softmax",
    "proj_input",
    "gelu",
    "head_input",
)
"""Kinds of activation site that need a format (`patch_input`, `head_input`: once a model)."""

Zero = Literal["paper", "hardware"]
"""Beyond the last level of a log format: a hidden extra level, as in the papers' code, or a code of its own."""


class Codec(Protocol):
    """Encodes values of one site and decodes their codes."""

    @property
    def bits(self) -> int:
        """Width of a code."""
        ...

    @property
    def kind(self) -> str:
        """Name of the format: its file's name here and in golden/lowering/formats."""
        ...

    @property
    def ordered(self) -> bool:
        """True when neighbouring codes hold neighbouring values."""
        ...

    def encode(self, values: Tensor) -> Tensor:
        """Codes int64 of `values`."""
        ...

    def decode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Values of `codes`."""
        ...

    def fake(self, values: Tensor) -> Tensor:
        """Values after encode and decode: what the quantised network sees."""
        ...

    def with_zero(self, zero: Zero) -> "Codec":
        """The codec with that treatment of zero; itself where the format has no choice."""
        ...

    def notes(self) -> dict[str, str | int]:
        """How a reader outside decodes the codes: `kind`, and real numbers as hexadecimal floats."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What calibration knows about a site besides its tensor."""

    percentiles: tuple[float, ...]
    """Candidate ranges."""
    importance: Tensor | None = None
    """Squared gradient of the loss, shaped as the tensor: weight of each squared error (Hessian-guided search)."""
    partner: Tensor | None = None
    """For post-softmax: V, so that the error of the attention output can be measured."""

    def error(self, x: Tensor, quantised: Tensor) -> float:
        """Error of `quantised` for `x`: of the product with the partner, or weighted by importance, or plain."""
        difference = quantised - x
        if self.partner is not None:
            return float((difference @ self.partner).square().mean(dtype=torch.float64))
        weighted = difference.square()
        if self.importance is not None:
            weighted = weighted * self.importance
        return float(weighted.mean(dtype=torch.float64))


class SiteFormat(BaseModel):
    """Entry of a scheme: one format at one site."""

    sites: ClassVar[tuple[str, ...]]
    """Kinds of site where the units around can make and consume the format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: Annotated[int, Field(ge=2, le=8)] | None = None
    """Fixed width; without it the run's activation bits."""

    def fit(self, x: Tensor, bits: int, evidence: Evidence) -> Codec:
        """Codec of `bits` bits for `x`."""
        raise NotImplementedError(f"{type(self).__name__} states no calibration")

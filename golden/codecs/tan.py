"""Tangent codes: fine steps near 0 and near 1, for post-softmax (DopQ-ViT's TanQ, arXiv 2408.03291).

Reconstructed: the paper's formula was not available. The encoder is the tangent, steep at both ends of its interval,
and the decoder the arctangent, a table of fixed-point entries; angles alpha (density near 0) and beta (near 1).
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from golden.codecs.base import Evidence, SiteFormat, Zero
from golden.observer import positive_quantiles

ALPHAS = (0.9, 1.1, 1.2, 1.3, 1.4, 1.45, 1.5)
BETAS = (0.2, 0.6, 0.9, 1.2, 1.4)
"""Search grid of the angles in radians."""
SEARCH_IMAGES = 8
"""Calibration images that the angle search looks at; the tensor is large and the grid has 105 points."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TanCodec:
    """k = number of thresholds at most x / scale; value scale * table[k] / (2^entry_bits - 1).

    The table holds round((2^entry_bits - 1) * level(k / n)), the thresholds are level((k + 1/2) / n), n = 2^bits - 1,
    level(u) = (atan(u (tan alpha + tan beta) - tan alpha) + alpha) / (alpha + beta).
    """

    bits: int
    entry_bits: int
    alpha: float
    beta: float
    scale: Tensor

    @property
    def kind(self) -> str:
        """Name of the format."""
        return "tan"

    @property
    def ordered(self) -> bool:
        """Codes are in the order of their values."""
        return True

    @property
    def table(self) -> list[int]:
        """Decoded entries, unsigned fixed point with all ones for 1."""
        n = (1 << self.bits) - 1
        return [round(self._level(k / n) * self.entry_max) for k in range(n + 1)]

    @property
    def thresholds(self) -> list[float]:
        """x / scale from which each code but 0 starts."""
        n = (1 << self.bits) - 1
        return [self._level((k + 0.5) / n) for k in range(n)]

    @property
    def entry_max(self) -> int:
        """The entry that stands for 1."""
        return (1 << self.entry_bits) - 1

    def _level(self, u: float) -> float:
        low, high = math.tan(self.alpha), math.tan(self.beta)
        return (math.atan(u * (low + high) - low) + self.alpha) / (self.alpha + self.beta)

    def encode(self, values: Tensor) -> Tensor:
        """Codes int64 of `values`."""
        thresholds = torch.tensor(self.thresholds, dtype=values.dtype)
        # right=True counts thresholds <= x: a value on a threshold belongs to the upper code.
        return torch.bucketize((values / self.scale.to(values.dtype)).contiguous(), thresholds, right=True)

    def decode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Values of `codes`."""
        levels = torch.tensor(self.table, dtype=dtype) / self.entry_max * self.scale.to(dtype)
        return levels[codes]

    def fake(self, values: Tensor) -> Tensor:
        """Values after encode and decode."""
        return self.decode(self.encode(values), values.dtype)

    def fake_sorted(self, ascending: Tensor) -> Tensor:
        """`fake` of values [n] in ascending order: a search per threshold instead of one per value."""
        thresholds = torch.tensor(self.thresholds, dtype=ascending.dtype)
        starts = torch.searchsorted(ascending / self.scale.to(ascending.dtype), thresholds)
        edges = torch.cat([torch.zeros(1, dtype=torch.int64), starts, torch.tensor([len(ascending)])])
        codes = torch.arange(len(self.table))
        return self.decode(codes, ascending.dtype).repeat_interleave(edges.diff())

    def with_zero(self, zero: Zero) -> "TanCodec":
        """Itself: code 0 is exactly 0."""
        return self

    def notes(self) -> dict[str, str | int]:
        """Scale of one table unit, and the table."""
        unit = float(self.scale) / self.entry_max
        return {"kind": self.kind, "scale": unit.hex(), "table": ",".join(map(str, self.table))}


class TanSite(SiteFormat):
    """Tangent codes at a site of values in [0, 1]."""

    sites: ClassVar[tuple[str, ...]] = ("softmax",)
    format: Literal["tan"]
    entry_bits: Annotated[int, Field(ge=4, le=16)] = 12
    """Width of a table entry; at 12 bits the finest step of alpha = 1.5 at 4 bits is 15 units."""

    def fit(self, x: Tensor, bits: int, evidence: Evidence) -> TanCodec:
        """Angles and scale with the least error of the attention output, over a grid."""
        few = x[:SEARCH_IMAGES]
        partner = None if evidence.partner is None else evidence.partner[:SEARCH_IMAGES]
        judge = Evidence(percentiles=evidence.percentiles, partner=partner)
        # Every candidate encodes the same values: sorted once, its codes are a few runs.
        ascending, order = torch.unique(few, return_inverse=True)
        candidates = (
            TanCodec(bits=bits, entry_bits=self.entry_bits, alpha=alpha, beta=beta, scale=scale)
            for scale, alpha, beta in product(positive_quantiles(x, evidence.percentiles), ALPHAS, BETAS)
        )
        return min(
            candidates,
            key=lambda codec: judge.error(
                few, codec.fake_sorted(ascending).index_select(0, order.flatten()).reshape(few.shape)
            ),
        )

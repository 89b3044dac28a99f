"""Uniform codes with one scale per token and the outliers left out, for LayerNorm outputs: ADFQ-ViT.

The form of ADFQ-ViT's released code (arXiv 2407.02763): values whose magnitude exceeds a threshold keep their
precision, the others get a static scale and zero point per token position. The thresholds are absolute LayerNorm
outputs: 5 in front of qkv, and in front of fc1 an option that defaults to 5 and is 10 in the README; a scheme says so
in a rule for `*norm2`.

Departures, all of them for hardware: a row lists at most `capacity` outliers, found at calibration; integers hold them
in 16 bits where the released code keeps floats; and a zero point is one of the codes, so that an outlier, which takes
the code of 0 among the others, adds nothing there.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from golden.codecs.base import Evidence, SiteFormat, Zero
from golden.codecs.uniform import UniformCodec, fit_uniform_rows

FINE_BITS = 16
"""Width of the codes that hold every value before the outliers are parted from the others."""
FINE_ZERO = 1 << (FINE_BITS - 1)
"""Their zero point."""
VALUE_BITS = FINE_BITS + 1
"""An outlier's share of its word: a fine code less its zero point, signed."""
HEAD_ROOM = 1.5
"""Fine codes hold one and a half times the calibration's peak; beyond they saturate."""
MOST_OUTLIERS = 64
"""Longest list of a row: units outlier_list and outlier_mac take no longer one."""
SPARE = 1.25
"""Places of a list per outlier of the fullest row of the calibration data."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenUniformCodec:
    """q = saturate(round(x / scale_t) + z_t, 0, 2^bits - 1) at token t, value scale_t * (q - z_t); outliers stay x.

    Outliers are the first `capacity` values of a token, in the order of the channels, with |x| > threshold; their
    code is z_t. The codes alone do not decode them: `overlay` adds what the program lists beside.
    """

    bits: int
    scale: Tensor
    """[T, 1]."""
    zero_point: Tensor
    """int64[T, 1], in 0 .. 2^bits - 1."""
    threshold: float
    capacity: int
    peak: float
    """Largest magnitude of the calibration data."""

    @property
    def kind(self) -> str:
        """Name of the format."""
        return "token_uniform"

    @property
    def ordered(self) -> bool:
        """An outlier's code says nothing of its value."""
        return False

    @property
    def fine_scale(self) -> float:
        """Value of one unit of a fine code, and so of a listed outlier."""
        return HEAD_ROOM * self.peak / FINE_ZERO

    def outliers(self, values: Tensor) -> Tensor:
        """True for the outliers of each row of `values` [.., T, C]."""
        large = values.abs() > self.threshold
        return large & (large.cumsum(-1) <= self.capacity)

    def positions(self, values: Tensor) -> Tensor:
        """Codes int64 that `values` [.., T, C] have where none is an outlier: in the order of the values."""
        return self._dense.encode(values)

    def encode(self, values: Tensor) -> Tensor:
        """Codes int64 of `values` [.., T, C]."""
        return torch.where(self.outliers(values), self.zero_point, self.positions(values))

    def decode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Values of `codes` [.., T, C]; 0 for outliers."""
        return self._dense.decode(codes, dtype)

    def overlay(self, values: Tensor, words: Tensor) -> Tensor:
        """Decoded `values` [.., T, C] with the outliers in them that `words` [.., T, capacity] list.

        The words are those of unit outlier_list; a place left over is channel 0 with value 0.
        """
        unsigned = words & ((1 << VALUE_BITS) - 1)
        listed = torch.where(unsigned >> FINE_BITS == 1, unsigned - (1 << VALUE_BITS), unsigned)
        # An outlier decodes to 0, so adding it writes it; and a place left over adds 0.
        return values.scatter_add(-1, words >> VALUE_BITS, listed.to(values.dtype) * self.fine_scale)

    def fake(self, values: Tensor) -> Tensor:
        """Values after encode and decode; outliers as they are."""
        return torch.where(self.outliers(values), values, self._dense.fake(values))

    def with_zero(self, zero: Zero) -> "TokenUniformCodec":
        """Itself: zero is the code `zero_point`."""
        return self

    def notes(self) -> dict[str, str | int]:
        """Scale and zero point of every token; the unit of a listed outlier's value, and that value's width."""
        return {
            "kind": self.kind,
            "scales": ",".join(scale.hex() for scale in self.scale[:, 0].tolist()),
            "zero_points": ",".join(str(zero) for zero in self.zero_point[:, 0].tolist()),
            "outlier_scale": self.fine_scale.hex(),
            "outlier_value_bits": VALUE_BITS,
        }

    @property
    def _dense(self) -> UniformCodec:
        return UniformCodec(bits=self.bits, scale=self.scale, zero_point=self.zero_point)


class TokenUniformSite(SiteFormat):
    """Token-wise codes with listed outliers at LayerNorm outputs."""

    sites: ClassVar[tuple[str, ...]] = ("post_layernorm",)
    format: Literal["token_uniform"]
    outlier_threshold: Annotated[float, Field(gt=0)] = 5.0
    """Larger magnitudes are outliers."""

    def fit(self, x: Tensor, bits: int, evidence: Evidence) -> TokenUniformCodec:
        """Per token the percentile range with the least squared error, outliers being 0; room for the fullest row.

        The threshold rises to the least one that suffices where a row would need more than MOST_OUTLIERS places.
        """
        threshold = self._threshold(x)
        large = x.abs() > threshold
        rows = torch.where(large, 0.0, x).movedim(-2, 0).flatten(1)
        dense = _with_zero_inside(fit_uniform_rows(rows, bits, evidence.percentiles))
        return TokenUniformCodec(
            bits=bits,
            scale=dense.scale[:, None],
            zero_point=dense.zero_point[:, None],
            threshold=threshold,
            capacity=max(1, math.ceil(SPARE * int(large.sum(-1).max()))),
            # All zeros have no peak; any unit holds them.
            peak=float(x.abs().max()) or 1.0,
        )

    def _threshold(self, x: Tensor) -> float:
        most = int(MOST_OUTLIERS / SPARE)
        if x.shape[-1] <= most:
            return self.outlier_threshold
        # Beyond a row's (most + 1)-th largest magnitude lie at most `most` values.
        least = float(x.abs().kthvalue(x.shape[-1] - most, dim=-1).values.max())
        return max(self.outlier_threshold, least)


def _with_zero_inside(codec: UniformCodec) -> UniformCodec:
    """Ranges that exclude 0 extended to it, so that every zero point is a code; the others as they are."""
    top = (1 << codec.bits) - 1
    low, high = -codec.zero_point.clamp(min=0), (top - codec.zero_point).clamp(min=0)
    scale = codec.scale * (high - low) / top
    inside = (codec.zero_point >= 0) & (codec.zero_point <= top)
    return UniformCodec(
        bits=codec.bits,
        scale=torch.where(inside, codec.scale, scale),
        zero_point=codec.zero_point.clamp(0, top),
    )

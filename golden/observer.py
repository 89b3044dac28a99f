"""Ranges by percentile and mean squared error, as RepQ-ViT's released code finds them (arXiv 2212.08254).

For each percentile p: range [quantile(1 - p), quantile(p)], fake-quantise, keep the range with the least squared
error. Quantiles interpolate linearly. The zero point is rounded HALF_EVEN; the range is not forced to include 0.
"""

import numpy as np
import torch
from torch import Tensor

from golden.codec import Log2Codec, UniformCodec, Zero


def fit_uniform(x: Tensor, bits: int, percentiles: tuple[float, ...]) -> UniformCodec:
    """Per-tensor codec of `x`."""
    codec = fit_uniform_rows(x.reshape(1, -1), bits, percentiles)
    return UniformCodec(bits=bits, scale=codec.scale[0], zero_point=codec.zero_point[0])


def fit_uniform_rows(x: Tensor, bits: int, percentiles: tuple[float, ...]) -> UniformCodec:
    """One scale and zero point per row of `x` [rows, samples]; the result's tensors have shape [rows]."""
    high = _quantiles(x, percentiles)
    low = _quantiles(x, tuple(1.0 - p for p in percentiles))
    best = torch.full((len(x),), torch.inf, dtype=torch.float64)
    scale = torch.ones(len(x), dtype=x.dtype)
    zero_point = torch.zeros(len(x), dtype=torch.int64)
    for top, bottom in zip(high, low, strict=True):
        usable = top > bottom
        step = torch.where(usable, (top - bottom) / ((1 << bits) - 1), 1.0)
        zero = torch.round(-bottom / step).to(torch.int64)
        candidate = UniformCodec(bits=bits, scale=step[:, None], zero_point=zero[:, None])
        error = (candidate.fake(x) - x).square().mean(-1, dtype=torch.float64)
        better = usable & (error < best)
        best = torch.where(better, error, best)
        scale = torch.where(better, step, scale)
        zero_point = torch.where(better, zero, zero_point)
    return _with_constants_exact(x, UniformCodec(bits=bits, scale=scale, zero_point=zero_point), best)


def _with_constants_exact(x: Tensor, codec: UniformCodec, best: Tensor) -> UniformCodec:
    """Rows without a usable range hold one constant c (LayerNorm channels whose gamma is 0): represent it exactly.

    Scale |c| (1 for c = 0) and zero point 1 for c < 0, else 0: c is then code 0 or 1. RepQ-ViT's code fails there.
    """
    constant = best.isinf()
    value = x[:, 0]
    scale = torch.where(constant, torch.where(value == 0, 1.0, value.abs()), codec.scale)
    zero_point = torch.where(constant, (value < 0).to(torch.int64), codec.zero_point)
    return UniformCodec(bits=codec.bits, scale=scale, zero_point=zero_point)


def fit_log2(
    x: Tensor, bits: int, steps_per_octave: int, percentiles: tuple[float, ...], zero: Zero
) -> Log2Codec:
    """Per-tensor log codec of positive `x`: the scale is the quantile with the least squared error."""
    best, chosen = torch.inf, None
    for row in _quantiles(x.reshape(1, -1), percentiles):
        codec = Log2Codec(bits=bits, steps_per_octave=steps_per_octave, scale=row[0], zero=zero)
        error = float((codec.fake(x) - x).square().mean(dtype=torch.float64))
        if error < best:
            best, chosen = error, codec
    if chosen is None:
        raise ValueError("no percentile gives a finite error: the tensor holds NaN or is all 0")
    return chosen


def _quantiles(x: Tensor, fractions: tuple[float, ...]) -> list[Tensor]:
    """Linear-interpolation quantiles of each row, one tensor [rows] per fraction."""
    # numpy partitions instead of sorting and takes any size; torch.quantile stops at 16 M elements.
    values = np.quantile(x.numpy(), fractions, axis=-1)
    return [torch.from_numpy(np.ascontiguousarray(v)).to(x.dtype) for v in values]

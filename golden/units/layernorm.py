"""LayerNorm: exact integer mean and variance, integer inverse square root, affine, round (HALF_UP), saturate."""

import math

import torch
from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range, saturate


def golden(
    x: Tensor,
    gain: Tensor,
    offset: Tensor,
    *,
    channels: int,
    epsilon: int,
    norm_frac_bits: int,
    shift: int,
    in_bits: int,
    out_bits: int,
) -> Tensor:
    """Unsigned codes of rows x int64[.., channels], signed `in_bits` wide; the scale of x cancels."""
    check_range(x, Integer(bits=in_bits, signed=True), "layernorm input")
    total = x.sum(-1)
    variance = channels * (x * x).sum(-1) - total * total + epsilon
    # 1 / sqrt(variance) as r * 2^-(31 + j), r rounded down.
    halves, roots = [], []
    for v in variance.flatten().tolist():
        j = (v.bit_length() - 1) // 2 - 15
        mantissa = v >> 2 * j if j >= 0 else v << -2 * j
        halves.append(j)
        roots.append(math.isqrt((1 << 62) // mantissa))
    j_row = torch.tensor(halves, dtype=torch.int64).reshape(*total.shape, 1)
    r_row = torch.tensor(roots, dtype=torch.int64).reshape(*total.shape, 1)
    right = 31 + j_row - norm_frac_bits
    half = torch.where(right > 0, 1 << (right - 1).clamp(min=0), 0)
    normalised = ((channels * x - total.unsqueeze(-1)) * r_row + half) >> right
    return saturate((normalised * gain + offset) >> shift, Integer(bits=out_bits, signed=False))

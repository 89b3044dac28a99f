"""GELU on codes: ReLU minus a tabulated bump (interpolated, HALF_UP), round to output codes, add zero point, saturate.

GELU(x) = max(x, 0) - g(|x|) with g(u) = u Φ(-u), exactly: for x >= 0, x - x Φ(-x) = x Φ(x); for x < 0, -u Φ(-u).
"""

import torch
from torch import Tensor

from golden.formats import Integer
from golden.integers import round_shift, saturate


def golden(
    h: Tensor,
    *,
    in_bits: int,
    frac_bits: int,
    table_frac_bits: int,
    table: list[int],
    table_step: int,
    zero_point: int,
    out_bits: int,
) -> Tensor:
    """Unsigned codes of signed `h`, which counts 2^-frac_bits output codes."""
    entries = torch.tensor(table, dtype=torch.int64)
    magnitude = saturate(h, Integer(bits=in_bits, signed=True)).abs()
    index = magnitude >> table_step
    low = magnitude & ((1 << table_step) - 1)
    inside = index + 1 < len(table)
    left = entries[torch.where(inside, index, 0)]
    right = entries[torch.where(inside, index + 1, 0)]
    bump = torch.where(inside, left + round_shift((right - left) * low, table_step), 0)
    steps = (h.clamp(min=0) << table_frac_bits) - bump
    codes = round_shift(steps, frac_bits + table_frac_bits) + zero_point
    return saturate(codes, Integer(bits=out_bits, signed=False))

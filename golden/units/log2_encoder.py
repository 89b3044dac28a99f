"""Log2 codes of integers: leading one for the octave, mantissa thresholds for the rounding to the nearest code.

Rounds the logarithm to nearest; thresholds are irrational before their ceil, so no tie exists.
For Shift-Log2 after GELU under ADFQ-ViT (arXiv 2407.02763).
"""

import torch
from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range, leading_one


def golden(
    x: Tensor,
    *,
    in_bits: int,
    code_bits: int,
    steps_per_octave: int,
    unity: int,
    thresholds: list[int],
    max_level: int,
) -> Tensor:
    """Codes int64 of unsigned x; the top code means zero, also for what lies below max_level."""
    check_range(x, Integer(bits=in_bits, signed=False), "log2 encoder input")
    zero_code = (1 << code_bits) - 1
    # 0 has no leading one: 1 stands in for it until the last line.
    nonzero = x.clamp(min=1)
    top = leading_one(nonzero)
    mantissa = nonzero << (in_bits - 1 - top)
    reached = torch.zeros_like(x)
    for threshold in thresholds:
        reached = reached + (mantissa >= threshold)
    level = steps_per_octave * (unity - top) - reached
    return torch.where((x == 0) | (level > max_level), zero_code, level.clamp(min=0))

"""Uniform codes with one scale and zero point per token; outliers take the code of 0. FLOOR after adding the offset.

For LayerNorm outputs under ADFQ-ViT (arXiv 2407.02763), whose outliers travel beside as golden.units.outlier_list.
"""

import torch
from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range, saturate
from golden.units.outlier_list import outliers


def golden(
    x: Tensor,
    multiplier: Tensor,
    offset: Tensor,
    shift: Tensor,
    zero_code: Tensor,
    *,
    in_bits: int,
    in_zero_point: int,
    threshold: int,
    capacity: int,
    code_bits: int,
) -> Tensor:
    """Codes int64[.., T, C] of unsigned `x` int64[.., T, C]; the four constants are int64[T], one per row."""
    code = Integer(bits=code_bits, signed=False)
    check_range(x, Integer(bits=in_bits, signed=False), "token encoder input")
    check_range(zero_code, code, "token encoder zero code")
    distance = x - in_zero_point
    scaled = (distance * multiplier[:, None] + offset[:, None]) >> shift[:, None]
    return torch.where(outliers(distance, threshold, capacity), zero_code[:, None], saturate(scaled, code))

"""Sign-scale encoder: one step for negative values, 2^shift of it for the others (HALF_UP, saturated).

PTQ4ViT's twin uniform for post-GELU (arXiv 2111.12293): the flag is the region, the payload a magnitude.
"""

import torch
from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range, round_shift


def golden(x: Tensor, *, in_bits: int, code_bits: int, shift: int) -> Tensor:
    """Codes int64, flag (1: not negative) on top of a payload of code_bits - 1 bits, of signed x."""
    check_range(x, Integer(bits=in_bits, signed=True), "sign-scale input")
    payload_end = 1 << (code_bits - 1)
    positive = payload_end + round_shift(x, shift).clamp(max=payload_end - 1)
    return torch.where(x < 0, (-x).clamp(max=payload_end - 1), positive)

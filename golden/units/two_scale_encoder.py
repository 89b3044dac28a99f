"""Two-scale encoder: small values keep their low bits exactly, large ones their high bits (HALF_UP, saturated).

TSPTQ-ViT's V-2SF (arXiv 2305.12901), reconstructed: the paper's body was not available.
"""

import torch
from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range, round_shift


def golden(x: Tensor, *, in_bits: int, code_bits: int, shift: int) -> Tensor:
    """Codes int64, flag on top of a payload of code_bits - 1 bits, of unsigned x."""
    check_range(x, Integer(bits=in_bits, signed=False), "two-scale input")
    payload_end = 1 << (code_bits - 1)
    large = payload_end + round_shift(x, shift).clamp(max=payload_end - 1)
    return torch.where(x < payload_end, x, large)

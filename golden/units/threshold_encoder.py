"""Comparator encoder of any monotone format, such as DopQ-ViT's TanQ (arXiv 2408.03291): counts thresholds reached."""

import torch
from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range


def golden(x: Tensor, *, in_bits: int, code_bits: int, thresholds: list[int]) -> Tensor:
    """Codes int64 of unsigned x: the number of ascending thresholds that are at most x."""
    check_range(x, Integer(bits=in_bits, signed=False), "threshold encoder input")
    codes = torch.zeros_like(x)
    for threshold in thresholds:
        codes = codes + (x >= threshold)
    return check_range(codes, Integer(bits=code_bits, signed=False), "threshold encoder code")

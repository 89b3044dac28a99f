"""Multiply-accumulate with two-scale or sign-scale codes: multiply the payload, shift or negate by flag, sum; exact."""

import torch
from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range


def golden(
    a: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    code_bits: int,
    shift: int,
    signed_regions: bool,
    w_zero_point: int,
    acc_bits: int,
) -> Tensor:
    """Accumulators int64[.., M, N] of codes `a` int64[.., M, K] and integers `w` int64[.., N, K]."""
    flag = a >> (code_bits - 1)
    payload = a & ((1 << (code_bits - 1)) - 1)
    value = torch.where(flag == 1, payload << shift, -payload if signed_regions else payload)
    acc = value @ (w - w_zero_point).transpose(-1, -2)
    if bias is not None:
        acc = acc + bias
    return check_range(acc, Integer(bits=acc_bits, signed=True), "two_scale_mac accumulator")

"""Multiply-accumulate with two-scale or sign-scale codes: multiply the payload, shift or negate by flag, sum."""

import torch
from torch import Tensor

from golden.accumulate import Terms, accumulate, products


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
    overflow: str = "none",
) -> Tensor:
    """Accumulators int64[.., M, N] of codes `a` int64[.., M, K] and integers `w` int64[.., N, K].

    `overflow` is what happens to a sum wider than acc_bits: `none` (raises), `wrap` or `saturate`.
    """
    (found,) = terms(
        a, w, code_bits=code_bits, shift=shift, signed_regions=signed_regions, w_zero_point=w_zero_point
    )
    return accumulate(found, bias, acc_bits=acc_bits, overflow=overflow, what="two_scale_mac accumulator")


def terms(
    a: Tensor, w: Tensor, *, code_bits: int, shift: int, signed_regions: bool, w_zero_point: int
) -> tuple[Terms]:
    """Those of the one accumulator."""
    flag = a >> (code_bits - 1)
    payload = a & ((1 << (code_bits - 1)) - 1)
    value = torch.where(flag == 1, payload << shift, -payload if signed_regions else payload)
    return (products(value, w - w_zero_point),)

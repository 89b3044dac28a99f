"""Dot products with one operand in log2 codes: a shift instead of a multiplication, two accumulators for base √2."""

import torch
from torch import Tensor

from golden.formats import Integer, Log2
from golden.integers import check_range, round_shift

SQRT2_Q15 = 46341
"""√2 · 2^15 = 46340.95, rounded to nearest: joins the accumulator of odd codes to that of even codes."""


def golden(
    a: Tensor,
    w: Tensor,
    *,
    code_bits: int,
    steps_per_octave: int,
    frac_bits: int,
    w_zero_point: int,
    acc_bits: int,
) -> Tensor:
    """Accumulators int64[.., M, N] with `frac_bits` fraction bits of codes `a` [.., M, K] and integers `w` [.., K, N].

    For every code that occurs: shift all of w by what the code means (FLOOR), then sum over the places where
    the code stands. The top code contributes nothing.
    """
    log2 = Log2(bits=code_bits, steps_per_octave=steps_per_octave)
    shifted = (w - w_zero_point) << frac_bits
    even = torch.zeros(*a.shape[:-1], w.shape[-1], dtype=torch.int64)
    odd = even.clone()
    for code in sorted(set(a.flatten().tolist())):
        if code == log2.zero_code:
            continue
        term = (a == code).to(torch.int64) @ (shifted >> min(log2.shift(code), 62))
        if log2.is_odd(code):
            odd = odd + term
        else:
            even = even + term
    acc = even + round_shift(odd * SQRT2_Q15, 15)
    return check_range(acc, Integer(bits=acc_bits, signed=True), "log2_mac accumulator")

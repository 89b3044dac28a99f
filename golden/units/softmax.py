"""Shift-based softmax to log2 codes: max, 2^-d by segments and a shift, sum, log2 by leading one and segments,
subtract logarithms, round (HALF_UP), saturate. No division, no multiplier.

The log-domain form of RepQ-ViT's log√2 (arXiv 2212.08254) and FQ-ViT's log2 (arXiv 2111.13824) softmax codes.
"""

import torch
from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range, leading_one, round_shift, saturate

MANTISSA_BITS = 12
"""Bits of the sum that are looked at after its leading one."""


def golden(
    x: Tensor,
    *,
    score_bits: int,
    score_frac_bits: int,
    code_bits: int,
    steps_per_octave: int,
    max_length: int,
    log2_scale: int,
    exp_bits: int,
    log_frac_bits: int,
    exp_base: list[int],
    exp_slope: list[int],
    log_base: list[int],
    log_slope: list[int],
    lanes: int = 1,
) -> Tensor:
    """Codes int64[.., n] of rows of scores int64[.., n] in octaves; code k is scale * base^-k, the top is 0."""
    none = no_score(x, score_bits, max_length, lanes)
    distance = x.amax(-1, keepdim=True) - x

    mantissa, octaves = power_of_two(distance, score_frac_bits, exp_base, exp_slope)
    total = (mantissa >> octaves.clamp(max=62)).masked_fill(none, 0).sum(-1, keepdim=True)
    log2_sum = log2_of_sum(total, exp_bits, log_frac_bits, log_base, log_slope)

    minus_log2 = (distance << (log_frac_bits - score_frac_bits)) + log2_sum + log2_scale
    codes = round_shift(minus_log2, log_frac_bits - (steps_per_octave - 1))
    return saturate(codes, Integer(bits=code_bits, signed=False)).masked_fill(none, (1 << code_bits) - 1)


def no_score(x: Tensor, score_bits: int, max_length: int, lanes: int) -> Tensor:
    """Which of x are no scores: with several lanes the lowest code; ValueError for rows too long or without a score."""
    format = Integer(bits=score_bits, signed=True)
    check_range(x, format, "softmax score")
    none = (x == format.min_code) & (lanes > 1)
    lengths = (~none).sum(-1)
    if lengths.max() > max_length:
        raise ValueError(f"a row has {lengths.max()} scores, more than max_length {max_length}")
    if lengths.min() < 1:
        raise ValueError("a row has no score")
    return none


def power_of_two(
    distance: Tensor, frac_bits: int, base: list[int], slope: list[int]
) -> tuple[Tensor, Tensor]:
    """(mantissa, octaves) with 2^-distance = mantissa >> octaves: segments for the fraction, a shift for the rest."""
    fraction = distance & ((1 << frac_bits) - 1)
    return _segments(fraction, frac_bits, base, [-step for step in slope], 0), distance >> frac_bits


def log2_of_sum(total: Tensor, exp_bits: int, frac_bits: int, base: list[int], slope: list[int]) -> Tensor:
    """log2(total / 2^exp_bits) with frac_bits fraction bits: leading one, then segments for the bits after it."""
    top = leading_one(total)
    after = ((total << MANTISSA_BITS) >> top) & ((1 << MANTISSA_BITS) - 1)
    low_bits = MANTISSA_BITS - (len(base).bit_length() - 1)
    return ((top - exp_bits) << frac_bits) + _segments(after, MANTISSA_BITS, base, slope, low_bits)


def _segments(x: Tensor, bits: int, base: list[int], slope: list[int], shift: int) -> Tensor:
    """Piecewise linear function of `bits`-bit x: base + ((slope * low) >> shift), the top bits choose the segment."""
    low_bits = bits - (len(base).bit_length() - 1)
    segment = x >> low_bits
    low = x & ((1 << low_bits) - 1)
    bases = torch.tensor(base, dtype=torch.int64)[segment]
    slopes = torch.tensor(slope, dtype=torch.int64)[segment]
    return bases + ((slopes * low) >> shift)

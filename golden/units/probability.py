"""Normalised softmax in fixed point: logarithms subtracted as in softmax, then 2^-t by segments and a shift (FLOOR)."""

import torch
from torch import Tensor

from golden.integers import round_shift
from golden.units.softmax import log2_of_sum, no_score, power_of_two


def golden(
    x: Tensor,
    *,
    score_bits: int,
    score_frac_bits: int,
    max_length: int,
    exp_bits: int,
    log_frac_bits: int,
    prob_bits: int,
    exp_base: list[int],
    exp_slope: list[int],
    log_base: list[int],
    log_slope: list[int],
    lanes: int = 1,
) -> Tensor:
    """Probabilities int64[.., n] with prob_bits fraction bits of rows of scores int64[.., n] in octaves."""
    none = no_score(x, score_bits, max_length, lanes)
    distance = x.amax(-1, keepdim=True) - x
    mantissa, octaves = power_of_two(distance, score_frac_bits, exp_base, exp_slope)
    total = (mantissa >> octaves.clamp(max=62)).masked_fill(none, 0).sum(-1, keepdim=True)

    finer = log_frac_bits - score_frac_bits
    log2_sum = log2_of_sum(total, exp_bits, log_frac_bits, log_base, log_slope)
    minus_log2 = round_shift(((distance << finer) + log2_sum).clamp(min=0), finer)
    mantissa, octaves = power_of_two(minus_log2, score_frac_bits, exp_base, exp_slope)
    power = mantissa >> (octaves + exp_bits - prob_bits).clamp(max=62)
    return torch.minimum(power, torch.tensor(1 << prob_bits)).masked_fill(none, 0)

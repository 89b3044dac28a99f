"""Integer helpers on int64 tensors: rounding shift, saturation, range check. Slow and obvious on purpose."""

import torch
from torch import Tensor

from golden.errors import InvariantError
from golden.formats import Integer


def round_shift(x: Tensor, shift: int) -> Tensor:
    """Add half of the last place that stays, then shift right arithmetically (HALF_UP); identity for shift 0."""
    return (x + (1 << (shift - 1))) >> shift if shift else x


def saturate(x: Tensor, format: Integer) -> Tensor:
    """Limit to the range of `format`."""
    return x.clamp(format.min_code, format.max_code)


def check_range(x: Tensor, format: Integer, what: str) -> Tensor:
    """`x` unchanged when all of it fits `format`; InvariantError otherwise."""
    low, high = int(x.min()), int(x.max())
    if low < format.min_code or high > format.max_code:
        raise InvariantError(f"{what} spans [{low}, {high}], outside {format}")
    return x


def leading_one(x: Tensor) -> Tensor:
    """Index of the top set bit of each positive integer (floor of log2)."""
    flat = [value.bit_length() - 1 for value in x.flatten().tolist()]
    return torch.tensor(flat, dtype=torch.int64).reshape(x.shape)

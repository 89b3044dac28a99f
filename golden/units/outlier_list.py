"""List of a row's outliers: for each one its channel and its value, in the order of the channels; nothing rounds."""

import torch
from torch import Tensor

from golden.errors import InvariantError
from golden.formats import Integer
from golden.integers import check_range


def golden(
    x: Tensor, *, in_bits: int, in_zero_point: int, threshold: int, capacity: int, channels: int
) -> Tensor:
    """Words int64[.., capacity] of rows of unsigned `x` int64[.., channels]; places left over are 0."""
    if x.shape[-1] != channels:
        raise InvariantError(f"outlier list takes rows of {channels} channels, not {x.shape[-1]}")
    check_range(x, Integer(bits=in_bits, signed=False), "outlier list input")
    value_bits = in_bits + 1
    distance = x - in_zero_point
    found = outliers(distance, threshold, capacity)
    kept = torch.where(found, distance, 0)
    check_range(kept, Integer(bits=value_bits, signed=True), "outlier value")
    words = (torch.arange(channels) << value_bits) | (kept & ((1 << value_bits) - 1))
    place = found.cumsum(-1) - 1
    # At most one outlier of a row has a given place, so the sum over the row is that one's word, or 0.
    listed = [torch.where(found & (place == p), words, 0).sum(-1) for p in range(capacity)]
    return torch.stack(listed, dim=-1)


def outliers(distance: Tensor, threshold: int, capacity: int) -> Tensor:
    """True for the first `capacity` values of each row that lie more than `threshold` from 0."""
    if capacity < 1:
        raise InvariantError(f"capacity of the outlier list must be at least 1, not {capacity}")
    large = distance.abs() > threshold
    return large & (large.cumsum(-1) <= capacity)

"""From per-token units to one: zero point out, times the token's scale, plus the outliers' share, rounded HALF_UP."""

from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range, round_shift


def golden(
    acc: Tensor,
    outlier: Tensor,
    multiplier: Tensor,
    zero_point: Tensor,
    column_sum: Tensor,
    *,
    outlier_shift: int,
    shift: int,
    out_bits: int,
) -> Tensor:
    """Sums int64[.., T, N] of `acc` and `outlier` int64[.., T, N]; raises if wider than out_bits.

    `multiplier` and `zero_point` are int64[T], one per token; `column_sum` is int64[N], one per output channel.
    """
    dense = (acc - zero_point[:, None] * column_sum) * multiplier[:, None]
    total = round_shift(dense + (outlier << outlier_shift), shift)
    return check_range(total, Integer(bits=out_bits, signed=True), "token scaler output")

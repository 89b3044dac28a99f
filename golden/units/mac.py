"""Multiply-accumulate: subtract zero points, multiply, sum over K, add the bias; exact."""

from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range


def golden(
    a: Tensor, w: Tensor, bias: Tensor | None = None, *, a_zero_point: int, w_zero_point: int, acc_bits: int
) -> Tensor:
    """Accumulators int64[.., M, N] of `a` int64[.., M, K] and `w` int64[.., N, K]; raises if wider than acc_bits."""
    acc = (a - a_zero_point) @ (w - w_zero_point).transpose(-1, -2)
    if bias is not None:
        acc = acc + bias
    return check_range(acc, Integer(bits=acc_bits, signed=True), "mac accumulator")

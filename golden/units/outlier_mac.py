"""Sparse product of listed outliers: split each word into index and value, multiply, sum, add the bias; exact."""

import torch
from torch import Tensor

from golden.errors import InvariantError
from golden.formats import Integer
from golden.integers import check_range


def golden(
    a: Tensor, w: Tensor, bias: Tensor | None = None, *, value_bits: int, index_bits: int, acc_bits: int
) -> Tensor:
    """Accumulators int64[.., M, N] of outlier words `a` int64[.., M, P] and weights `w` int64[N, K].

    Puts every value back at its channel of a row that is 0 elsewhere, then takes the dense product.

    Raises:
        InvariantError: a word is wider than its two fields, an index is not a column of `w`, or a sum is too wide.
    """
    check_range(a, Integer(bits=index_bits + value_bits, signed=False), "outlier word")
    index = a >> value_bits
    if int(index.max()) >= w.shape[-1]:
        raise InvariantError(
            f"an outlier's index is {int(index.max())}, but the weights have {w.shape[-1]} columns"
        )
    value = a & ((1 << value_bits) - 1)
    value = torch.where(value >= 1 << (value_bits - 1), value - (1 << value_bits), value)
    rows = torch.zeros(*a.shape[:-1], w.shape[-1], dtype=torch.int64).scatter_add(-1, index, value)
    acc = rows @ w.transpose(-1, -2)
    if bias is not None:
        acc = acc + bias
    return check_range(acc, Integer(bits=acc_bits, signed=True), "outlier_mac accumulator")

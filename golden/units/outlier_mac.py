"""Sparse product of listed outliers: split each word into index and value, multiply, sum over the words."""

import torch
from torch import Tensor

from golden.accumulate import Terms, accumulate, magnitude
from golden.errors import InvariantError
from golden.formats import Integer
from golden.integers import check_range


def golden(
    a: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    value_bits: int,
    index_bits: int,
    acc_bits: int,
    overflow: str = "none",
) -> Tensor:
    """Accumulators int64[.., M, N] of outlier words `a` int64[.., M, P] and weights `w` int64[N, K].

    `overflow` is what happens to a sum wider than acc_bits: `none` (raises), `wrap` or `saturate`.

    Raises:
        InvariantError: a word is wider than its two fields, an index is not a column of `w`, or a sum is too wide.
    """
    (found,) = terms(a, w, value_bits=value_bits, index_bits=index_bits)
    return accumulate(found, bias, acc_bits=acc_bits, overflow=overflow, what="outlier_mac accumulator")


def terms(a: Tensor, w: Tensor, *, value_bits: int, index_bits: int) -> tuple[Terms]:
    """Those of the one accumulator, one per word.

    All at once: puts every value back at its channel of a row that is 0 elsewhere, then takes the dense product.
    """
    check_range(a, Integer(bits=index_bits + value_bits, signed=False), "outlier word")
    index = a >> value_bits
    if int(index.max()) >= w.shape[-1]:
        raise InvariantError(
            f"an outlier's index is {int(index.max())}, but the weights have {w.shape[-1]} columns"
        )
    value = a & ((1 << value_bits) - 1)
    value = torch.where(value >= 1 << (value_bits - 1), value - (1 << value_bits), value)

    def total() -> Tensor:
        rows = torch.zeros(*a.shape[:-1], w.shape[-1], dtype=torch.int64).scatter_add(-1, index, value)
        return rows @ w.transpose(-1, -2)

    columns = w.transpose(-1, -2)
    found = Terms(
        count=a.shape[-1],
        term=lambda p: value[..., p].unsqueeze(-1) * columns[index[..., p]],
        total=total,
        largest=magnitude(value) * magnitude(w),
    )
    return (found,)

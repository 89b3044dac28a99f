"""Multiply-accumulate with codes that decode through a table: look up, multiply, sum; exact."""

import torch
from torch import Tensor

from golden.formats import Integer
from golden.integers import check_range


def golden(
    a: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    code_bits: int,
    entry_bits: int,
    table: list[int],
    w_zero_point: int,
    acc_bits: int,
) -> Tensor:
    """Accumulators int64[.., M, N] of codes `a` int64[.., M, K] and integers `w` int64[.., N, K]."""
    check_range(a, Integer(bits=code_bits, signed=False), "table_mac code")
    entries = check_range(torch.tensor(table), Integer(bits=entry_bits, signed=False), "table_mac entry")
    acc = entries[a] @ (w - w_zero_point).transpose(-1, -2)
    if bias is not None:
        acc = acc + bias
    return check_range(acc, Integer(bits=acc_bits, signed=True), "table_mac accumulator")

"""Multiply-accumulate with codes that decode through a table: look up, multiply, sum."""

import torch
from torch import Tensor

from golden.accumulate import Terms, accumulate, products
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
    overflow: str = "none",
) -> Tensor:
    """Accumulators int64[.., M, N] of codes `a` int64[.., M, K] and integers `w` int64[.., N, K].

    `overflow` is what happens to a sum wider than acc_bits: `none` (raises), `wrap` or `saturate`.
    """
    (found,) = terms(a, w, code_bits=code_bits, entry_bits=entry_bits, table=table, w_zero_point=w_zero_point)
    return accumulate(found, bias, acc_bits=acc_bits, overflow=overflow, what="table_mac accumulator")


def terms(
    a: Tensor, w: Tensor, *, code_bits: int, entry_bits: int, table: list[int], w_zero_point: int
) -> tuple[Terms]:
    """Those of the one accumulator."""
    check_range(a, Integer(bits=code_bits, signed=False), "table_mac code")
    entries = check_range(torch.tensor(table), Integer(bits=entry_bits, signed=False), "table_mac entry")
    return (products(entries[a], w - w_zero_point),)

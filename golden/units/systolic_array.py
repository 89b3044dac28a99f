"""Output-stationary array: a matrix product tile by tile, each tile one product of the places' multiply-accumulator."""

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Accumulators int64[r, c] of a int64[r, K], w int64[K, c] and bias int64[c], by some unit's reference."""


def golden(
    a: Tensor, w: Tensor, bias: Tensor | None = None, *, pe: Product, rows: int, columns: int
) -> Tensor:
    """Accumulators int64[M, N] of `a` int64[M, K] and `w` int64[K, N], on an array of `rows` × `columns` places."""
    acc = torch.empty(a.shape[0], w.shape[1], dtype=torch.int64)
    for top in range(0, a.shape[0], rows):
        for left in range(0, w.shape[1], columns):
            tile = slice(top, top + rows), slice(left, left + columns)
            acc[tile] = pe(a[tile[0]], w[:, tile[1]], None if bias is None else bias[tile[1]])
    return acc

"""Candidate ranges by percentile, as RepQ-ViT's released code takes them (arXiv 2212.08254)."""

import numpy as np
import torch
from torch import Tensor


def quantiles(x: Tensor, fractions: tuple[float, ...]) -> list[Tensor]:
    """Linear-interpolation quantiles of each row, one tensor [rows] per fraction."""
    # numpy partitions instead of sorting and takes any size; torch.quantile stops at 16 M elements.
    values = np.quantile(x.numpy(), fractions, axis=-1)
    return [torch.from_numpy(np.ascontiguousarray(v)).to(x.dtype) for v in values]


def positive_quantiles(x: Tensor, fractions: tuple[float, ...]) -> list[Tensor]:
    """Those quantiles of the whole tensor, 0-d each, that can be the scale of positive values.

    Raises ValueError when there is none.
    """
    tops = [row[0] for row in quantiles(x.reshape(1, -1), fractions) if 0 < float(row[0]) < torch.inf]
    if not tops:
        raise ValueError(
            "no percentile gives a finite error: the tensor holds NaN, or hardly a value above 0"
        )
    return tops

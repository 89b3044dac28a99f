"""Candidate ranges by percentile, as RepQ-ViT's released code takes them (arXiv 2212.08254)."""

import numpy as np
import torch
from torch import Tensor


def quantiles(x: Tensor, fractions: tuple[float, ...]) -> list[Tensor]:
    """Linear-interpolation quantiles of each row, one tensor [rows] per fraction."""
    # numpy partitions instead of sorting and takes any size; torch.quantile stops at 16 M elements.
    values = np.quantile(x.numpy(), fractions, axis=-1)
    return [torch.from_numpy(np.ascontiguousarray(v)).to(x.dtype) for v in values]

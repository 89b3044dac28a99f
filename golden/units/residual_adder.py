"""Residual addition: add two codes of one scale, saturate."""

from torch import Tensor

from golden.formats import Integer
from golden.integers import saturate


def golden(a: Tensor, b: Tensor, *, bits: int) -> Tensor:
    """Saturated sum of two signed tensors of `bits` bits; `b` broadcasts over the batch."""
    return saturate(a + b, Integer(bits=bits, signed=True))

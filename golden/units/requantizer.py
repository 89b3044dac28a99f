"""Requantize: multiply, add the offset (bias, zero point and half), shift right (so HALF_UP), saturate."""

from torch import Tensor

from golden.formats import Integer
from golden.integers import saturate


def golden(
    acc: Tensor, multiplier: Tensor, offset: Tensor, shift: Tensor, *, out_bits: int, out_signed: bool
) -> Tensor:
    """Codes int64[.., N] of `acc` int64[.., N]; the three constants are int64[N], or [1] for all channels."""
    return saturate((acc * multiplier + offset) >> shift, Integer(bits=out_bits, signed=out_signed))

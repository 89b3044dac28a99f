"""Multiply-accumulate: subtract zero points, multiply, sum over K from the bias on."""

from torch import Tensor

from golden.accumulate import Terms, accumulate, products


def golden(
    a: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    a_zero_point: int,
    w_zero_point: int,
    acc_bits: int,
    overflow: str = "none",
) -> Tensor:
    """Accumulators int64[.., M, N] of `a` int64[.., M, K] and `w` int64[.., N, K].

    `overflow` is what happens to a sum wider than acc_bits: `none` (raises), `wrap` or `saturate`.
    """
    (found,) = terms(a, w, a_zero_point=a_zero_point, w_zero_point=w_zero_point)
    return accumulate(found, bias, acc_bits=acc_bits, overflow=overflow, what="mac accumulator")


def terms(a: Tensor, w: Tensor, *, a_zero_point: int, w_zero_point: int) -> tuple[Terms]:
    """Those of the one accumulator."""
    return (products(a - a_zero_point, w - w_zero_point),)

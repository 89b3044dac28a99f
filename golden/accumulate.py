"""Accumulators of the multiply-accumulate units: exact, wrapping or saturating sums (docs/datapath.md)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from golden.errors import InvariantError
from golden.formats import Integer
from golden.integers import check_range, saturate

ZERO = torch.tensor(0)
"""Where an accumulator without a bias starts."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Terms:
    """The K terms of every sum of one accumulator: one at a time in their order, and all at once."""

    count: int
    """K."""
    term: Callable[[int], Tensor]
    """k -> int64[.., M, N]."""
    total: Callable[[], Tensor]
    """Σ term(k) as int64[.., M, N], by a faster way."""
    largest: int
    """No term has a larger magnitude."""


def magnitude(x: Tensor) -> int:
    """Largest |x|."""
    return max(-int(x.min()), int(x.max()))


def products(x: Tensor, y: Tensor) -> Terms:
    """Terms x[.., M, k] · y[.., N, k]."""
    return Terms(
        count=x.shape[-1],
        term=lambda k: x[..., k].unsqueeze(-1) * y[..., k].unsqueeze(-2),
        total=lambda: x @ y.transpose(-1, -2),
        largest=magnitude(x) * magnitude(y),
    )


def wrap(x: Tensor, format: Integer) -> Tensor:
    """`x` modulo 2^bits, in two's complement."""
    return ((x - format.min_code) & ((1 << format.bits) - 1)) + format.min_code


def limit(x: Tensor, format: Integer, overflow: str, what: str) -> Tensor:
    """One sum as its accumulator holds it; `none` raises InvariantError where it does not fit."""
    match overflow:
        case "none":
            return check_range(x, format, what)
        case "wrap":
            return wrap(x, format)
        case "saturate":
            return saturate(x, format)
    raise InvariantError(f"{what}: overflow is none, wrap or saturate, not {overflow!r}")


def accumulate(terms: Terms, bias: Tensor | None, *, acc_bits: int, overflow: str, what: str) -> Tensor:
    """Accumulators int64[.., M, N] after bias[N] and all terms.

    Exact and wrapping sums need no order; a saturating one takes the terms as the hardware does, k = 0, 1, ...
    """
    format, start = Integer(bits=acc_bits, signed=True), ZERO if bias is None else bias
    _check_exact(terms, start, what)
    if overflow != "saturate":
        return limit(terms.total() + start, format, overflow, what)
    acc = saturate(start, format)
    for k in range(terms.count):
        acc = saturate(acc + terms.term(k), format)
    return acc


def outside(terms: Terms, bias: Tensor | None, format: Integer) -> Tensor:
    """Where bool[.., M, N] the bias or a sum of it and the first terms does not fit `format`.

    Until the first that does not, exact, wrapping and saturating sums are the same: the exact ones tell for all.
    """
    total = ZERO if bias is None else bias
    _check_exact(terms, total, "accumulator")
    low = high = total
    for k in range(terms.count):
        total = total + terms.term(k)
        low, high = torch.minimum(low, total), torch.maximum(high, total)
    return misfits(low, format) | misfits(high, format)


def misfits(x: Tensor, format: Integer) -> Tensor:
    """Where bool `x` lies outside `format`."""
    return (x < format.min_code) | (x > format.max_code)


def _check_exact(terms: Terms, start: Tensor, what: str) -> None:
    """InvariantError where some sum might leave int64, in which nothing here would notice."""
    bound = terms.count * terms.largest + magnitude(start)
    if bound.bit_length() > 62:
        raise InvariantError(
            f"{what}: sums of {terms.count} terms up to {terms.largest} are not exact in int64"
        )

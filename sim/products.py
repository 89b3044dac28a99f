"""Matrix products of integers, exact: the fastest arithmetic that a bound on every partial sum allows.

By torch in products of 8-bit digits (`sim.digits`, `sim.products_torch`), or in kernels of int16 or int64 operands,
which are all there is without torch. The environment variable VITRTL_PRODUCTS forces one: `int8`, `float32` or
`kernels`; `fastest` is the default. No result depends on it.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from math import prod
from time import perf_counter
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from golden.errors import UserError
from sim import products_torch
from sim.checks import check_bound, magnitude
from sim.digits import Digits, first_digits, multiply, second_digits, tightened, whole
from sim.products_torch import Engine
from sim.unit import Codes

VARIABLE = "VITRTL_PRODUCTS"
_INT16_MAX = (1 << 15) - 1
_INT32_MAX = (1 << 31) - 1
_WORTH = 1 << 18
"""Multiplications from which the digits' passes cost less than a kernel."""
_TRIAL = 256
"""Length of the axes of the products that engines are timed on."""


@numba.njit(cache=True, nogil=True)
def _narrow_products(a, w, bias, acc):  # type: ignore[no-untyped-def]
    """int16 x int16 in int32, for which LLVM emits the packed multiply-add; the caller has proven the bound.

    Eight rows of `a` share each row of `w` while it is in the first-level cache.
    """
    groups, rows, depth = a.shape
    blocks = (rows + 7) // 8
    for block in range(groups * blocks):
        group = block // blocks
        start = block % blocks * 8
        stop = min(start + 8, rows)
        weights = w[group % w.shape[0]]
        for n in range(weights.shape[0]):
            for m in range(start, stop):
                total = np.int32(0)
                for k in range(depth):
                    total = np.int32(total + np.int32(a[group, m, k]) * np.int32(weights[n, k]))
                acc[group, m, n] = bias[n] + np.int64(total)


@numba.njit(cache=True, nogil=True)
def _wide_products(a, w, bias, acc):  # type: ignore[no-untyped-def]
    """The same in int64, for operands or sums that need it."""
    groups, rows, depth = a.shape
    for row in range(groups * rows):
        group = row // rows
        m = row % rows
        weights = w[group % w.shape[0]]
        for n in range(weights.shape[0]):
            total = bias[n]
            for k in range(depth):
                total += a[group, m, k] * weights[n, k]
            acc[group, m, n] = total


@numba.njit(cache=True, nogil=True)
def _centre(codes, zero_point, values):  # type: ignore[no-untyped-def]
    """`values = codes − zero_point` in whatever types, which the caller has proven to hold it."""
    for n in range(codes.size):
        values[n] = np.int64(codes[n]) - zero_point


class Operand(NamedTuple):
    """Codes less their zero point, in C order: int16 where that holds them, else int64."""

    codes: NDArray[np.int16] | NDArray[np.int64]
    reach: int
    """Largest magnitude."""
    row_reach: int
    """Largest sum of magnitudes along the last axis, or a bound on it."""
    digits: Digits | None = None
    """The codes as the second operand of an engine's products, where they have been prepared for many."""


def centred(codes: Codes, extremes: tuple[int, int], zero_point: int) -> Operand:
    """`codes`, all within `extremes`, less their zero point, in the narrowest type a kernel takes."""
    low, high = extremes
    reach = max(zero_point - low, high - zero_point)
    kind = np.int16 if reach <= _INT16_MAX else np.int64
    values = np.empty(codes.shape, kind)
    _centre(np.ascontiguousarray(codes).reshape(-1), zero_point, values.reshape(-1))
    return Operand(values, reach, codes.shape[-1] * reach)


def fixed(operand: Operand) -> Operand:
    """`operand` made ready to be the second one of many products."""
    # Weights seldom reach their extremes, so the sum of their magnitudes is a much closer bound.
    sums = np.abs(operand.codes.astype(np.int64)).sum(axis=-1)
    digits = second_digits(_matrices(operand.codes)) if chosen() else None
    return operand._replace(row_reach=magnitude(sums), digits=digits and tightened(digits))


def products(
    a: Operand, w: Operand, bias: Codes, kind: type[np.signedinteger[Any]] = np.int64
) -> NDArray[Any]:
    """`acc[g, m, n] = bias[n] + Σ_k a[g, m, k] · w[g, n, k]` in the fastest exact arithmetic.

    Args:
        a: `[.., M, K]`.
        w: `[N, K]`, shared by all of `a`, or `[.., N, K]` with its leading axes.
        bias: `[N]`.
        kind: type of the result, int64 where the sums may exceed it.

    Returns:
        `[G, M, N]`, all leading axes of `a` as one.

    Raises:
        InvariantError: a partial sum may exceed 64 bits.
    """
    outputs, depth = w.codes.shape[-2:]
    # Every partial sum, in whatever order, is within max|a| · max_n Σ_k |w[n, k]|.
    bound = a.reach * w.row_reach
    check_bound("mac partial sum", bound + magnitude(bias))
    # A weight matrix is shared, so that all rows of the batch form one group.
    *lead, rows, _ = a.codes.shape
    groups, rows = (prod(lead), rows) if w.codes.ndim > 2 else (1, prod(lead) * rows)
    left, right = a.codes.reshape(groups, rows, depth), _matrices(w.codes)
    holds = bound + magnitude(bias) <= np.iinfo(kind).max
    acc: NDArray[Any] = np.empty((groups, rows, outputs), kind if holds else np.int64)
    if rows * outputs * depth >= _WORTH and _by_engine(a, w, left, right, bias, acc):
        return acc
    if bound <= _INT32_MAX and left.dtype == right.dtype == np.int16:
        _narrow_products(left, right, bias, acc)
    else:
        _wide_products(left.astype(np.int64), right.astype(np.int64), bias, acc)
    return acc


def one_thread() -> AbstractContextManager[None]:
    """A context for starting threads that multiply: torch starts none of its own in them."""
    return products_torch.one_thread() if chosen() else nullcontext()


@cache
def chosen() -> tuple[Engine, ...]:
    """The engines to try, in this order, before the kernels.

    Raises:
        UserError: VITRTL_PRODUCTS names none.
    """
    wanted = os.environ.get(VARIABLE, "fastest")
    if wanted == "kernels":
        return ()
    engines = products_torch.engines()
    if wanted == "fastest":
        return _competitive(engines)
    if wanted not in ("int8", "float32"):
        raise UserError(f"{VARIABLE} must be fastest, int8, float32 or kernels, not {wanted!r}")
    return tuple(engine for engine in engines if engine.name == wanted)


def _by_engine(
    a: Operand, w: Operand, left: NDArray[Any], right: NDArray[Any], bias: Codes, acc: NDArray[Any]
) -> bool:
    """Fills `acc` by the first engine that can prove its sums; False if there is none."""
    for engine in chosen():
        x: Digits | None
        y: Digits | None
        if not engine.splits and a.reach * w.row_reach <= engine.limit:
            x, y = whole(left, a.reach, a.row_reach), whole(right, w.reach, w.row_reach)
        else:
            x, y = first_digits(left), w.digits or second_digits(right)
        if x and y and multiply(engine, x, y, bias, acc):
            return True
    return False


def _matrices(codes: NDArray[Any]) -> NDArray[Any]:
    """`[.., N, K]` as `[G, N, K]`."""
    return codes.reshape(prod(codes.shape[:-2]), *codes.shape[-2:])


def _competitive(engines: tuple[Engine, ...]) -> tuple[Engine, ...]:
    """Those of `engines` that are not far slower than the kernel, as an int8 without instructions for it can be.

    A good one is several times as fast as the kernel, so that nothing that else keeps the machine busy decides.
    """
    ones = np.ones((1, _TRIAL, _TRIAL), np.int8)
    wide, acc = ones.astype(np.int16), np.empty(ones.shape, np.int64)
    sums = np.empty(ones.shape[1:], np.int32)
    limit = 2 * _seconds(lambda: _narrow_products(wide, wide, np.zeros(_TRIAL, np.int64), acc))
    return tuple(
        engine for engine in engines if _seconds(partial(engine.multiply, ones[0], ones[0], sums)) < limit
    )


def _seconds(work: Callable[[], None]) -> float:
    """The shortest of five, after a first that may compile."""
    work()
    taken = []
    for _ in range(5):
        start = perf_counter()
        work()
        taken.append(perf_counter() - start)
    return min(taken)

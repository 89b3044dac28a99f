"""Matrix products of digits by torch, the one file of sim that imports it; exact integers, nothing ever rounds.

int8: sums in int32, four products by one instruction where the processor has one (VNNI). Some others add pairs of
products in saturating int16, so that each shape is tried once on the operands that would show it.

float32: operands, products and sums are integers of magnitude 2^24 at most, which float32 holds exactly, so that no
addition rounds, in whatever order. Not used where torch has been told to multiply in a shorter type.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[Any]


Multiply = Callable[[Integers, Integers, NDArray[np.int32]], None]


class Engine(NamedTuple):
    """One way to multiply matrices of integers."""

    name: str
    limit: int
    """Largest magnitude of a partial sum with which it is exact."""
    splits: bool
    """Whether it takes digits of 8 bits only."""
    multiply: Multiply
    """`out[m, n] = Σ_k a[m, k] · w[n, k]`; `out` is contiguous."""
    exact: Callable[[np.dtype[Any], tuple[int, int, int]], bool]
    """Whether products of this type of `a` and shape (M, N, K) are, as far as the processor and torch decide it."""


@cache
def engines() -> tuple[Engine, ...]:
    """All there are; none without torch."""
    try:
        import torch
    except ImportError:
        return ()

    def int8(a: Integers, w: Integers, out: NDArray[np.int32]) -> None:
        with one_thread():
            torch._int_mm(torch.from_numpy(a), torch.from_numpy(w).t(), out=torch.from_numpy(out))

    def float32(a: Integers, w: Integers, out: NDArray[np.int32]) -> None:
        with one_thread():
            left, right = torch.from_numpy(a).float(), torch.from_numpy(w).float()
            torch.from_numpy(out).copy_(left @ right.t())

    @cache
    def tried(kind: np.dtype[Any], shape: tuple[int, int, int]) -> bool:
        # A matrix with rows of 1 has no order of its axes to tell torch, which then reads beyond its end.
        return shape[2] > 1 and _at_the_ends(int8, kind, shape) and _in_place(int8, kind, shape)

    def full_precision(kind: np.dtype[Any], shape: tuple[int, int, int]) -> bool:
        # torch makes this module at run time, where no type checker sees it.
        settings: Any = torch.backends.mkldnn
        return settings.matmul.fp32_precision in ("none", "ieee")

    return (
        Engine("int8", (1 << 31) - 1, True, int8, tried),
        Engine("float32", 1 << 24, False, float32, full_precision),
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, this thread and those it starts have torch's products to themselves.

    They are short, and torch's own threads wait for each other busily: on a machine that does other work as well,
    hundreds of times longer than the product takes.
    """
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _at_the_ends(multiply: Multiply, kind: np.dtype[Any], shape: tuple[int, int, int]) -> bool:
    """Whether operands at the ends of their types give the sums they must.

    No others reach further into any intermediate: all terms of a sum have one sign and their largest magnitude.
    """
    rows, columns, depth = shape
    out = np.empty((rows, columns), np.int32)
    of_a, of_w = np.iinfo(kind), np.iinfo(np.int8)
    for left, right in product((int(of_a.min), int(of_a.max)), (int(of_w.min), int(of_w.max))):
        multiply(np.full((rows, depth), left, kind), np.full((columns, depth), right, np.int8), out)
        if not (out == left * right * depth).all():
            return False
    return True


def _in_place(multiply: Multiply, kind: np.dtype[Any], shape: tuple[int, int, int]) -> bool:
    """Whether each sum is that of its own row and column: on operands without a pattern, against int64."""
    rows, columns, depth = shape
    random = np.random.default_rng(0)
    a = random.integers(0, 128, (rows, depth)).astype(kind)
    w = random.integers(-128, 128, (columns, depth)).astype(np.int8)
    out = np.empty((rows, columns), np.int32)
    multiply(a, w, out)
    # Some rows and columns tell; all of them would take longer than what they are tried for.
    m, n = random.integers(0, max(rows, 1), 8), random.integers(0, max(columns, 1), 8)
    return bool((out[m][:, n] == a[m].astype(np.int64) @ w[n].astype(np.int64).T).all()) if out.size else True

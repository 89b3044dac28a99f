"""Checks before a kernel runs: numba wraps around silently, so ranges are proven in Python integers first."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from sim.unit import Codes

INT64_MAX = (1 << 63) - 1


@numba.njit(cache=True, nogil=True)
def _extremes(codes):  # type: ignore[no-untyped-def]
    """Both ends in one pass, half the memory traffic of min and max; `codes` is flat and not empty."""
    low = high = codes[0]
    for n in range(codes.size):
        low = min(low, codes[n])
        high = max(high, codes[n])
    return low, high


def check_codes(tensor: str, codes: NDArray[Any], format: Integer) -> Codes:
    """`codes` as int64, after proving that each fits `format`; `tensor` is the name an error gives.

    Raises:
        InvariantError: a code is no integer or lies outside the format.
    """
    check_range(tensor, codes, format)
    return codes.astype(np.int64, copy=False)


def check_range(tensor: str, codes: NDArray[Any], format: Integer) -> tuple[int, int]:
    """Smallest and largest of `codes`, after proving that they fit `format`.

    Raises:
        InvariantError: a code is no integer or lies outside the format.
    """
    if not np.issubdtype(codes.dtype, np.integer):
        raise InvariantError(f"{tensor} must hold integers, not {codes.dtype}")
    ends = extremes(codes)
    check_ends(tensor, ends, format)
    return ends


def check_ends(tensor: str, ends: tuple[int, int], format: Integer) -> None:
    """Proves that `format` holds the smallest and the largest code of `tensor`.

    Raises:
        InvariantError: it does not.
    """
    low, high = ends
    if low < format.min_code or high > format.max_code:
        raise InvariantError(
            f"{tensor} spans [{low}, {high}], outside {format} = [{format.min_code}, {format.max_code}]"
        )


def check_bound(tensor: str, bound: int, limit: int = INT64_MAX) -> None:
    """Proves that no intermediate of `tensor` can exceed `limit` in magnitude.

    Raises:
        InvariantError: the bound exceeds the limit.
    """
    if bound > limit:
        raise InvariantError(f"{tensor} may reach ±{bound}, beyond ±{limit}")


def check_length(tensor: str, found: int, expected: int) -> None:
    """Proves that a dimension of `tensor` has the expected length.

    Raises:
        InvariantError: it has another.
    """
    if found != expected:
        raise InvariantError(f"{tensor} has length {found}, not {expected}")


def extremes(codes: NDArray[Any]) -> tuple[int, int]:
    """Smallest and largest code as Python integers, which never wrap; (0, 0) of an empty array."""
    if not codes.size:
        return 0, 0
    if codes.flags.c_contiguous:
        low, high = _extremes(codes.reshape(-1))
        return int(low), int(high)
    return int(codes.min()), int(codes.max())


def magnitude(codes: NDArray[Any]) -> int:
    """Largest absolute code."""
    low, high = extremes(codes)
    return max(-low, high)

"""Accumulators that overflow, as docs/datapath.md defines them."""

from collections.abc import Callable, Sequence

import pytest

Accumulate = Callable[[int, Sequence[int], int, str], tuple[int, bool]]


@pytest.fixture(scope="session")
def accumulate() -> Accumulate:
    """`accumulate(bias, terms, bits, overflow)`, docs/datapath.md: the sum, and whether one on its way overflowed."""

    def apply(bias: int, terms: Sequence[int], bits: int, overflow: str) -> tuple[int, bool]:
        half = 2 ** (bits - 1)

        def kept(exact: int) -> int:
            if overflow == "wrap":
                return (exact + half) % 2**bits - half
            return max(-half, min(exact, half - 1))

        acc, over = kept(bias), kept(bias) != bias
        for term in terms:
            over = over or kept(acc + term) != acc + term
            acc = kept(acc + term)
        return acc, over

    return apply

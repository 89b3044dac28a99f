"""Planted faults: one change in one kernel, which the comparison with the definition must see; accumulators."""

import inspect
import textwrap
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pytest

Mutate = Callable[[ModuleType, str, str, str], None]
Accumulate = Callable[[int, Sequence[int], int, str], tuple[int, bool]]


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Mutate:
    """`mutate(module, kernel, old, new)` replaces the kernel by its own source with `old` changed to `new`."""

    def apply(module: ModuleType, kernel: str, old: str, new: str) -> None:
        source = textwrap.dedent(inspect.getsource(getattr(module, kernel).py_func))
        body = "\n".join(line for line in source.splitlines() if not line.startswith("@"))
        assert body.count(old) == 1, f"{old!r} occurs {body.count(old)} times in {kernel}"
        scope: dict[str, Any] = dict(vars(module))
        exec(compile(body.replace(old, new), f"<{kernel} with {new!r}>", "exec"), scope)
        monkeypatch.setattr(module, kernel, scope[kernel])

    return apply


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

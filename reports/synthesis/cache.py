"""Results by the content that decides them; several processes and machines may share the folder."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from reports.synthesis.area import SynthesisError

T = TypeVar("T")


def user_cache() -> Path:
    """Folder for results where none is named: `vitrtl/synthesis` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitrtl" / "synthesis"


def key_of(*parts: object) -> str:
    """Hash of `parts`, which are JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def load(path: Path) -> dict[str, Any] | None:
    """A kept result; None when there is none, or one that is not readable and must be made again."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def load_as(path: Path, kind: Callable[..., T]) -> T | None:
    """A kept result as `kind`; one of another version of `kind` is made again."""
    found = load(path)
    try:
        return kind(**found) if found is not None else None
    except TypeError:
        return None


def store(path: Path, document: dict[str, Any]) -> None:
    """Keeps a result: written beside under a name of its own, then renamed, so that readers see all or nothing."""
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=".partial", dir=path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(document, file, indent=1, sort_keys=True)
        os.replace(beside, path)
    except OSError as error:
        if beside is not None:
            with contextlib.suppress(OSError):
                Path(beside).unlink()
        raise SynthesisError(
            f"cannot keep a result in {path.parent}: {error.strerror}; free some space or name another folder"
        ) from error

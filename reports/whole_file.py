"""Files that are there whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from golden.errors import UserError


def write_text(path: Path, text: str) -> Path:
    """Makes `text` the file's whole content, written beside first and then renamed; returns the path.

    Raises UserError where that fails: the file is then as it was, and nothing lies beside it.
    """
    beside = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise UserError(
            f"cannot write {path}: {error.strerror}; make room there, or give --out a directory that can be written"
        ) from error
    return path

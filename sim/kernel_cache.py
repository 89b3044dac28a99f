"""Compiled kernels on disk, which must not outlive what they were made of."""

from contextlib import suppress
from pathlib import Path


def drop_stale(package: Path) -> int:
    """Removes the index of every compiled kernel of `package` that is older than any of its sources; returns how many.

    numba compiles a kernel again when its own file has changed. A kernel that calls one of another file keeps that
    one's old code: two models would then be compared of which one is no longer what its source says.
    """
    newest = max(source.stat().st_mtime_ns for source in package.rglob("*.py"))
    removed = 0
    for index in package.rglob("*.nbi"):
        # Gone by another process; or in a folder that cannot be written, which numba then does not use.
        with suppress(OSError):
            if index.stat().st_mtime_ns < newest:
                index.unlink()
                removed += 1
    return removed

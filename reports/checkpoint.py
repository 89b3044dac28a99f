"""Predictions of one pass over the images, kept on disk, so that a killed run goes on where it was."""

import hashlib
import io
import os
import shutil
import time
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

FOLDER = "checkpoints"
"""Below a command's output folder."""
DIGEST_BYTES = hashlib.sha256().digest_size
SAVE_EVERY_SECONDS = 5.0
"""A pass that takes less leaves nothing behind."""


def discard(out: Path) -> None:
    """Removes a finished command's checkpoints."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def key_of(*parts: object) -> str:
    """SHA-256 over everything that decides the predictions; another key makes a checkpoint void."""
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()


class Checkpoint:
    """Predictions and digests of logits so far, in the order of the images.

    A file with another key, or one that cannot be read, counts as absent: the pass starts over.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.predictions, self.digests = self._load()
        self._saved_at = time.monotonic()

    def add(self, predictions: NDArray[np.int64], digests: NDArray[np.uint8]) -> None:
        """Classes [B] and digests [B, 32] of the next images; written to disk now and then."""
        self.predictions = np.concatenate((self.predictions, predictions))
        self.digests = np.concatenate((self.digests, digests))
        if time.monotonic() - self._saved_at >= SAVE_EVERY_SECONDS:
            self.save()

    def finish(self) -> None:
        """The pass is complete: what was worth keeping on the way is kept whole."""
        if self.path.exists():
            self.save()

    def save(self) -> None:
        """Writes everything so far, beside first and then renamed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".partial")
        with beside.open("wb") as file:
            np.savez(file, key=np.array(self.key), predictions=self.predictions, digests=self.digests)
        os.replace(beside, self.path)
        self._saved_at = time.monotonic()

    def _load(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        try:
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as file:
                if str(file["key"]) == self.key:
                    return np.asarray(file["predictions"], np.int64), np.asarray(file["digests"], np.uint8)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            pass
        return np.empty(0, np.int64), np.empty((0, DIGEST_BYTES), np.uint8)

"""Predictions of one level of a model for all images, on a progress bar, going on where a killed run was."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden.images import LabelledImages
from reports.checkpoint import DIGEST_BYTES, Checkpoint, key_of
from reports.networks import Logits, Network, classes_of
from reports.progress import track


class Found(NamedTuple):
    """What one batch gave."""

    classes: NDArray[np.int64]
    """[B]"""
    digests: NDArray[np.uint8]
    """[B, 32]: SHA-256 of each image's logits."""
    seconds: float | None
    """None where they say nothing of the implementation: on other machines."""


class Pass(Protocol):
    """How a network goes over images: in this process (`here`) or elsewhere."""

    def __call__(
        self, network: Network, images: LabelledImages, batch_size: int, start: int
    ) -> Iterator[Found]:
        """Batch after batch in the order of the images, from the image at position `start`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a pass over the images gave."""

    classes: Tensor
    """int64 [images]"""
    digests: NDArray[np.uint8]
    """[images, 32]: SHA-256 of each image's logits."""
    correct: int
    timed: int
    """Images behind `seconds`: neither those of an earlier, killed run nor the first batch, which compiles kernels."""
    seconds: float


def here(network: Network, images: LabelledImages, batch_size: int, start: int) -> Iterator[Found]:
    """The pass in this process."""
    for batch, _ in images.batches(batch_size, start):
        began = time.perf_counter()
        logits = network.logits(batch)
        yield found_in(logits, time.perf_counter() - began)


def found_in(logits: Logits, seconds: float | None) -> Found:
    """Classes and digests of a batch's logits."""
    rows = [hashlib.sha256(row.tobytes()).digest() for row in logits]
    return Found(
        classes_of(logits), np.frombuffer(b"".join(rows), np.uint8).reshape(-1, DIGEST_BYTES), seconds
    )


def predict_all(
    description: str,
    network: Network,
    images: LabelledImages,
    batch_size: int,
    file: Path,
    decided_by: str,
    go: Pass = here,
) -> Predictions:
    """Predictions of `network` for all of `images`.

    Those of an earlier, killed run in `file` count when `decided_by`, the images and the batch size are the same.
    """
    checkpoint = Checkpoint(file, key_of(images.digest(), batch_size, decided_by))
    start, seconds, timed = len(checkpoint.predictions), 0.0, 0
    batches = go(network, images, batch_size, start)
    counted = track(description, batches, len(images), lambda found: len(found.classes), done=start)
    for number, found in enumerate(counted):
        if number and found.seconds is not None:
            seconds, timed = seconds + found.seconds, timed + len(found.classes)
        checkpoint.add(found.classes, found.digests)
    checkpoint.finish()
    classes = torch.from_numpy(checkpoint.predictions)
    correct = int((classes == images.labels).sum())
    return Predictions(
        classes=classes, digests=checkpoint.digests, correct=correct, timed=timed, seconds=seconds
    )


def digest_of(digests: NDArray[np.uint8]) -> str:
    """SHA-256 over the digests of all images, in order: equal where every logit is, whatever the batches were."""
    return hashlib.sha256(digests.tobytes()).hexdigest()

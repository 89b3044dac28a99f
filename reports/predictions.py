"""Predictions of one level of a model for all images, on a progress bar, going on where a killed run was."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from golden.images import LabelledImages
from reports.checkpoint import Checkpoint, key_of
from reports.progress import track

Predict = Callable[[Tensor], Tensor]
"""Classes int64 [B] of normalised images [B, C, H, W]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a pass over the images gave."""

    classes: Tensor
    """int64 [images]"""
    correct: int
    timed: int
    """Images behind `seconds`: neither those of an earlier, killed run nor the first batch, which compiles kernels."""
    seconds: float


def predict_all(
    description: str, images: LabelledImages, batch_size: int, predict: Predict, file: Path, decided_by: str
) -> Predictions:
    """Predictions for all of `images`.

    Those of an earlier, killed run in `file` count when `decided_by`, the images and the batch size are the same.
    """
    checkpoint = Checkpoint(file, key_of(images.digest(), batch_size, decided_by))
    start, seconds, timed = len(checkpoint.predictions), 0.0, 0
    batches = images.batches(batch_size, start)
    counted = track(description, batches, len(images), lambda item: len(item[1]), done=start)
    for number, (batch, labels) in enumerate(counted):
        began = time.perf_counter()
        predicted = predict(batch)
        if number:
            seconds, timed = seconds + time.perf_counter() - began, timed + len(labels)
        checkpoint.add(predicted.numpy())
    checkpoint.finish()
    classes = torch.from_numpy(checkpoint.predictions)
    correct = int((classes == images.labels).sum())
    return Predictions(classes=classes, correct=correct, timed=timed, seconds=seconds)

"""What a worker of a cluster does: loads model and images from the same paths as everyone, predicts batch by batch.

A task runs on one thread, and a worker runs as many tasks at a time as it has threads. Nothing heavy is imported before
the first task, so that numba can still be told so.
"""

import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from golden.errors import UserError

if TYPE_CHECKING:
    from reports.networks import Kind, Network
    from reports.workload import Subject

_one_at_a_time = Lock()
"""Tasks that start together load once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One pass over the images: plain values, and the same for all of its tasks."""

    model: str
    weights: str | None
    images: str | None
    class_map: str | None
    limit: int | None
    batch_size: int
    kind: "Kind"
    key: str
    """Of the pass: another one's network is another."""
    images_sha256: str
    """What the coordinating process found; so must every worker."""
    versions: tuple[tuple[str, str], ...]
    """Likewise: name and version of everything that decides a prediction."""


class Answer(NamedTuple):
    """Of one task."""

    classes: list[int]
    digests: bytes
    """SHA-256 of each image's logits, one after the other."""


def predict_batch(start: int, job: Job, file: bytes | None) -> Answer:
    """Predictions for the batch from position `start`, by the network in `file` or by the model as it is.

    Raises UserError, with the machine's name, where this machine has other files or versions.
    """
    if "numba" not in sys.modules:
        os.environ["NUMBA_NUM_THREADS"] = "1"
    import torch

    from reports.predictions import found_in

    torch.set_num_threads(1)
    try:
        subject, network = _ready(job, file)
        images, _ = next(iter(subject.images.batches(job.batch_size, start)))
    except UserError as error:
        raise UserError(f"worker on {socket.gethostname()}: {error}") from error
    found = found_in(network.logits(images), None)
    return Answer(found.classes.tolist(), found.digests.tobytes())


def _ready(job: Job, file: bytes | None) -> "tuple[Subject, Network]":
    """Images and network, loaded once in this process; those of an earlier pass are let go."""
    with _one_at_a_time:
        subject = _subject(job.model, job.weights, job.images, job.class_map, job.limit)
        key = (job.key, job.images_sha256)
        if key not in _networks:
            _check(job, subject)
            _networks.clear()
            _networks[key] = _network(job.kind, subject, file)
        return subject, _networks[key]


_networks: dict[tuple[str, str], "Network"] = {}
"""The one in use; tasks of an earlier pass that still run hold their own."""


@cache
def _subject(
    model: str, weights: str | None, images: str | None, class_map: str | None, limit: int | None
) -> "Subject":
    from reports.choice import Choice
    from reports.workload import load_subject

    def given(path: str | None) -> Path | None:
        return None if path is None else Path(path)

    return load_subject(
        Choice(
            model=model, weights=given(weights), images=given(images), class_map=given(class_map), limit=limit
        )
    )


def _network(kind: "Kind", subject: "Subject", file: bytes | None) -> "Network":
    from reports.networks import load_network

    if file is None:
        return load_network(kind, subject.model, None)
    with tempfile.TemporaryDirectory(prefix="vitrtl-") as folder:
        path = Path(folder) / "network.safetensors"
        path.write_bytes(file)
        return load_network(kind, subject.model, path)


def _check(job: Job, subject: "Subject") -> None:
    from reports.cluster import versions

    own = dict(versions(subject.model))
    for name, wanted in job.versions:
        if own.get(name) != wanted:
            raise UserError(
                f"{name} is {own.get(name)}, where the run was started it is {wanted}; make them the same"
            )
    if subject.images.digest() != job.images_sha256:
        raise UserError(
            f"{subject.images.describe()} are not the images of the run (names, classes or sizes differ)"
        )

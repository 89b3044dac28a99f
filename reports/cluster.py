"""Passes over the images on a cluster of Dask workers, a task for each batch.

This process calibrates and lowers; workers receive the network as the bytes of its safetensors file and read weights
and images themselves, from the same paths, which a shared file system offers: the pixels of ImageNet's validation set
would be 30 GB through one process. Tasks of a worker that is lost run again elsewhere.
"""

import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from golden.errors import UserError
from golden.images import LabelledImages
from golden.model import Model
from reports.accuracy_point import COMPUTING, sources_digest
from reports.checkpoint import DIGEST_BYTES
from reports.choice import Choice
from reports.cluster_worker import Answer, Job, predict_batch
from reports.networks import Network
from reports.predictions import Found
from reports.tool_versions import tool_versions
from reports.workload import parameters_digest

if TYPE_CHECKING:
    from distributed import Client, Future

WORKERS_WITHIN_SECONDS = 60
"""A cluster without a worker for longer is given up: a pass in this process would have been faster."""
RETRIES = 2
"""Of a task that failed, not counting lost workers: a network's file system may fail for a moment."""
_MACHINE = ("python", "platform")
"""Decide no prediction; everything else in COMPUTING does."""


class Cluster:
    """The workers of one scheduler, for one model and its images; the call is a `Pass`."""

    def __init__(self, client: "Client", choice: Choice, model: Model) -> None:
        self.address = client.scheduler.address
        self._client, self._choice, self._versions = client, choice, versions(model)

    def __call__(
        self, network: Network, images: LabelledImages, batch_size: int, start: int
    ) -> Iterator[Found]:
        """See `Pass`. Raises UserError for a cluster that is lost or whose workers differ from this process."""
        starts = range(start, len(images), batch_size)
        if not starts:
            return
        self._wait_for_workers()
        job = self._job(network, images, batch_size)
        save = network.save
        file = None if save is None else self._submit(_written_by(save))
        keys = [f"{job.kind}-{job.key}-{first}" for first in starts]
        futures = self._client.map(
            predict_batch, starts, job=job, file=file, key=keys, retries=RETRIES, pure=False
        )
        try:
            for future in futures:
                answer = self._answer(future)
                digests = np.frombuffer(answer.digests, np.uint8).reshape(-1, DIGEST_BYTES)
                yield Found(np.array(answer.classes, np.int64), digests, None)
        finally:
            self._client.cancel(futures)

    def _submit(self, file: bytes) -> "Future[bytes]":
        """`file` as the result of a task, not as data scattered beforehand.

        So the scheduler can make it anew when the worker that held it is lost.
        """
        from dask import config

        # Dask warns of arguments above 10 MB; this one is sent once and not with every task.
        with config.set({"distributed.admin.large-graph-warning-threshold": len(file) + (1 << 20)}):
            return self._client.submit(bytes, file, pure=False)

    def _job(self, network: Network, images: LabelledImages, batch_size: int) -> Job:
        choice = self._choice
        return Job(
            model=choice.model,
            weights=_absolute(choice.weights),
            images=_absolute(choice.images),
            class_map=_absolute(choice.class_map),
            limit=choice.limit,
            batch_size=batch_size,
            kind=network.kind,
            key=uuid.uuid4().hex,
            images_sha256=images.digest(),
            versions=self._versions,
        )

    def _answer(self, future: "Future[Answer]") -> Answer:
        """What a task gave, waiting for it as long as there are workers."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        while True:
            try:
                answer: Answer = future.result(timeout=WORKERS_WITHIN_SECONDS)
            except TimeoutError:
                if future.done():  # the task's own
                    raise
                self._wait_for_workers()
            except KilledWorker as error:
                raise UserError(
                    f"--scheduler {self.address}: {error.allowed_failures + 1} workers died of one batch, the last at "
                    f"{error.last_worker.address}, perhaps out of memory; give a smaller --batch-size"
                ) from error
            except (CancelledError, CommClosedError) as error:
                raise UserError(
                    f"--scheduler {self.address}: the connection was lost; started again, the run goes on where it was"
                ) from error
            else:
                return answer

    def _wait_for_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=WORKERS_WITHIN_SECONDS)
        except TimeoutError as error:
            raise UserError(
                f"--scheduler {self.address} has had no worker for {WORKERS_WITHIN_SECONDS} s; start some with: "
                f"dask worker {self.address}; started again, the run goes on where it was"
            ) from error


def versions(model: Model) -> tuple[tuple[str, str], ...]:
    """Everything that decides a prediction besides the images, for a process to compare with another's."""
    tools = tool_versions()
    decided = [(name, tools[name]) for name in COMPUTING if name in tools and name not in _MACHINE]
    return (
        *decided,
        ("vitrtl's source", sources_digest()[:12]),
        ("the model's weights", parameters_digest(model)[:12]),
    )


def _written_by(save: Callable[[Path], None]) -> bytes:
    """The file that `save` writes."""
    with tempfile.TemporaryDirectory(prefix="vitrtl-") as folder:
        path = Path(folder) / "network.safetensors"
        save(path)
        return path.read_bytes()


def _absolute(path: Path | None) -> str | None:
    """Workers run elsewhere in the file system."""
    return None if path is None else str(path.absolute())

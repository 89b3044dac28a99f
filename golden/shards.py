"""Batches cut into shards of a fixed size, each computed by one thread: results do not depend on how many there are.

A library splits long sums over its threads, so their rounding moves with the number of threads; a shard's does not.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

T = TypeVar("T")


class Shards:
    """A context in which torch itself is single-threaded, and as many threads as it had before work on shards."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads)

    def __enter__(self) -> "Shards":
        torch.set_num_threads(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        torch.set_num_threads(self._threads)

    def map(self, work: Callable[[slice], T], count: int) -> list[T]:
        """What `work` gives for each shard of `count` rows, in their order; every shard but the last is whole."""
        return list(self._pool.map(work, [slice(s, s + self.size) for s in range(0, count, self.size)]))

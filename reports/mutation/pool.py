"""Worker processes of the mutation run, one task each at a time."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any

from golden.errors import InvariantError


class Worker:
    """A process of `reports.mutation.worker`."""

    def __init__(self, root: Path) -> None:
        # The kernels run as Python: a changed one would be compiled anew for every mutant. Nor are engines timed.
        own = {"NUMBA_DISABLE_JIT": "1", "VITRTL_PRODUCTS": "kernels", "OMP_NUM_THREADS": "1"}
        own["PYTHONPATH"] = str(root)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reports.mutation.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **own}, cwd=root,
        )  # fmt: skip

    def ask(self, task: dict[str, Any]) -> dict[str, Any]:
        """Answer to one task, with the `seconds` it took."""
        began = monotonic()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise InvariantError(f"a worker of the mutation run ended with {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found | {"seconds": round(monotonic() - began, 2)}

    def close(self) -> None:
        """Ends the process after its last task."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def answers(
    tasks: Sequence[dict[str, Any]], workers: int, root: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Index and answer of each task, as they come; the workers import the packages in `root`."""
    crew = [Worker(root) for _ in range(min(workers, len(tasks)))]
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in crew:
        idle.put(worker)

    def run(task: dict[str, Any]) -> dict[str, Any]:
        worker = idle.get()
        try:
            return worker.ask(task)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(max_workers=max(len(crew), 1))
    try:
        futures = {threads.submit(run, task): n for n, task in enumerate(tasks)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        threads.shutdown(cancel_futures=True)
        for worker in crew:
            worker.close()

"""Many units on many targets: some at a time, each as it ends, failures told apart from zeros."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol, TypeVar

from golden.errors import InvariantError, UserError
from reports.synthesis.area import Area, SynthesisError, Target
from reports.synthesis.flow import synthesize
from reports.synthesis.tools import TIMEOUT_S
from sim.unit import Unit


class Titled(Protocol):
    """A job that can be named in a line."""

    @property
    def title(self) -> str:
        """Such as `softmax on ecp5`."""


J = TypeVar("J", bound=Titled)
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One unit with one parameter set on one target."""

    unit: str
    spec: Unit
    target: Target
    liberty: Path | None = None
    """Cells of target asic."""
    timeout: float = TIMEOUT_S
    """Longest run of one of its tools, in seconds."""

    @property
    def title(self) -> str:
        """Unit and target."""
        return f"{self.unit} on {self.target}"


def synthesize_all(
    jobs: Sequence[Job], cache: Path, processes: int, progress: Callable[[int], None] | None = None
) -> Iterator[tuple[Job, Area | SynthesisError]]:
    """Each job with its area, or with the error that it failed with, as they end; `processes` of them at a time.

    `progress` is called with 1 after each job (`reports.progress.bar` gives such a function). A worker that is
    killed fails its own job only, and so does hardware that cannot be elaborated; UserError and InvariantError are
    raised here.
    """
    return each_in_process(jobs, partial(_synthesize, cache=cache), processes, progress)


def each_in_process(
    jobs: Sequence[J], work: Callable[[J], R], processes: int, progress: Callable[[int], None] | None = None
) -> Iterator[tuple[J, R | SynthesisError]]:
    """`work` of each job, or the error that it failed with, as they end; `processes` of them at a time.

    Each has a process to itself; where one is killed, its job has failed and a new one takes its place.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, not {processes}")
    waiting = iter(jobs)
    running: dict[Future[R | SynthesisError], tuple[ProcessPoolExecutor, J]] = {}

    def start(worker: ProcessPoolExecutor) -> None:
        """Gives `worker` the next job, or ends it when there is none."""
        job = next(waiting, None)
        if job is None:
            worker.shutdown(wait=False)
        else:
            running[worker.submit(_attempt, work, job)] = worker, job

    try:
        for _ in range(min(processes, len(jobs))):
            start(_worker())
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                worker, job = running.pop(future)
                found: R | SynthesisError
                try:
                    found = future.result()
                except BrokenProcessPool:
                    found = SynthesisError(
                        f"{job.title}: its process was killed; there may have been too little memory"
                    )
                    worker.shutdown(wait=False)
                    worker = _worker()
                start(worker)
                if progress:
                    progress(1)
                yield job, found
    finally:
        for worker, _ in running.values():
            worker.shutdown(wait=False, cancel_futures=True)


def _worker() -> ProcessPoolExecutor:
    """A process for one job at a time; started afresh, since a fork of a process with threads may hang."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _attempt(work: Callable[[J], R], job: J) -> R | SynthesisError:
    try:
        return work(job)
    except SynthesisError as error:
        return SynthesisError(str(error))  # without the chain of causes, which need not travel
    except (UserError, InvariantError):
        raise
    except Exception as error:  # of the unit's own hardware: the others are kept
        first = str(error).partition("\n")[0]
        return SynthesisError(f"{job.title}: {type(error).__name__}: {first}")


def _synthesize(job: Job, cache: Path) -> Area:
    return synthesize(job.unit, job.spec, job.target, cache, job.liberty, job.timeout)

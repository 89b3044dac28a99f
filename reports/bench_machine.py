"""The machine that a timing holds for, and keeping the process to as many of its cores as were asked for."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from golden.errors import UserError

CPUINFO = Path("/proc/cpuinfo")
STAT = Path("/proc/stat")
IDLE = slice(3, 5)
"""Of the columns of `cpu` in STAT: idle, and idle while waiting for a disk."""
GUEST = 8
"""First of the columns that are counted in others already."""


@contextmanager
def confined(threads: int | None) -> Iterator[int]:
    """Keeps the process to `threads` of its cores, by default all; the context's value is how many.

    Whatever the libraries think of their own numbers of threads, no more than these cores then work for any of
    them. numba reads its number when it is first imported, which is why this comes before anything heavy.

    Raises UserError where the process has fewer cores.
    """
    cores = sorted(os.sched_getaffinity(0))
    wanted = len(cores) if threads is None else threads
    if wanted > len(cores):
        raise UserError(f"--threads {wanted} is more than the {len(cores)} cores that this process may use")
    if "numba" not in sys.modules:
        os.environ["NUMBA_NUM_THREADS"] = str(wanted)
    os.sched_setaffinity(0, cores[:wanted])
    try:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(wanted)
        try:
            yield wanted
        finally:
            torch.set_num_threads(before)
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps numba, in this thread, and torch, in those started inside, to one thread."""
    import numba
    import torch

    of_numba, of_torch = numba.get_num_threads(), torch.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(of_numba)
        torch.set_num_threads(of_torch)


class Quiet:
    """How much of the machine others used since this was made: what a timing may be off by."""

    def __init__(self) -> None:
        self._before = _used()

    def others_percent(self) -> float | None:
        """Share of the time of all cores, in percent; None where the system does not tell."""
        before, now = self._before, _used()
        if before is None or now is None or now[1] == before[1]:
            return None
        return max(0.0, 100 * (now[0] - before[0]) / (now[1] - before[1]))


def _used() -> tuple[float, float] | None:
    """Seconds that cores worked for others than this process, and seconds of all cores, since the system started."""
    try:
        line = STAT.read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return None
    ticks = [int(word) for word in line.split()[1:]][:GUEST]
    total, idle, own = sum(ticks), sum(ticks[IDLE]), os.times()
    per_second = os.sysconf("SC_CLK_TCK")
    return (total - idle) / per_second - own.user - own.system, total / per_second


def description() -> dict[str, str | float]:
    """What a timing depends on beside versions: CPU, cores of this process, memory, vector instructions, OS."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "machine_cpu": cpu_model(),
        "machine_cores": len(os.sched_getaffinity(0)),
        "machine_memory_gib": round(memory / (1 << 30), 1),
        "machine_vectors": torch.backends.cpu.get_cpu_capability(),
        "machine_os": f"{platform.system()} {platform.machine()}",
    }


def cpu_model() -> str:
    """The processor as it names itself.

    >>> cpu_model() != ""
    True
    """
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return next(filter(None, named), platform.processor() or platform.machine())

"""Worker of the mutation run: reads tasks as lines of JSON, judges each in a child of its own, writes lines of JSON.

    python -m reports.mutation.worker

A child is a fork with everything heavy imported already, so that a mutant costs its own work only; whatever a fault
does (an endless loop, a crash of Yosys) ends with the child.
"""

import json
import os
import resource
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from reports.mutation.oracle import Seen, judge, prove

HEAVY = ("numba", "amaranth.hdl", "amaranth.back.rtlil", "amaranth.lib.memory", "golden.program")
"""Imported before the forks. Of `sim` and `rtl` nothing: each child imports what its fault may have changed."""
CASE_SECONDS = 20
"""Longest time of one case, the processor's: a fault may loop for ever. The longest case takes a tenth of it."""
PROOF_SECONDS = 60
"""Longest time of each tool's run in a proof, the processor's."""
MEMORY_BYTES = 8 << 30
"""Address space of a child: a fault may ask for a vector of 2^40 bits."""


def main() -> None:
    """Serves tasks until there are no more lines."""
    for name in HEAVY:
        import_module(name)
    with tempfile.TemporaryDirectory(prefix="vitrtl-mutant-") as scratch:
        for line in sys.stdin:
            print(json.dumps(_done(json.loads(line), Path(scratch))), flush=True)


def _done(task: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """The child's answer, or that it gave none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(task, scratch, writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _end(child)
    if text:
        found: dict[str, Any] = json.loads(text)
        return found
    if task["kind"] == "prove":
        return {"proven": False}
    text = f"no answer: it crashed, or one case took over {CASE_SECONDS} s of the processor"
    case = task["cases"][0]
    return asdict(Seen(killed=True, how="refused", text=text, case=case, alike=(), reached=True))


def _child(task: dict[str, Any], scratch: Path, writer: int) -> None:
    """Judges or proves, and never returns; what the faulty module prints goes nowhere."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    place = (Path(task["root"]), task["path"], task["number"], task["cases"], scratch)
    if task["kind"] == "prove":
        resource.setrlimit(resource.RLIMIT_CPU, (PROOF_SECONDS, PROOF_SECONDS))
        answer = {"proven": prove(*place)}
    else:
        answer = asdict(judge(*place, _allow_one_case))
    os.write(writer, json.dumps(answer).encode())
    os._exit(0)


def _allow_one_case() -> None:
    signal.setitimer(signal.ITIMER_PROF, CASE_SECONDS)


def _end(child: int) -> None:
    """Ends the child and the tools it started."""
    with suppress(ProcessLookupError):  # it may have ended before it had a group of its own
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main()

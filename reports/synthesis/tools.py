"""Tools as child processes: their output, or one line that says which failed and why; never a hang."""

import functools
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reports.synthesis.area import SynthesisError, ToolStoppedError
from rtl.verilog import YOSYS

TIMEOUT_S = 3600.0
"""Longest run of one tool; 30,000 LUTs take nextpnr five minutes."""


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder; SynthesisError where it cannot be written."""
    try:
        with tempfile.TemporaryDirectory(prefix="vitrtl-") as folder:
            yield Path(folder)
    except OSError as error:
        place = error.filename or tempfile.gettempdir()
        raise SynthesisError(
            f"cannot write {place}: {error.strerror}; free some space or name another place in TMPDIR"
        ) from error


def run_tool(
    tool: str, command: Sequence[str], folder: Path, *, text: str = "", timeout: float = TIMEOUT_S
) -> str:
    """What `command` prints when run in `folder` with `text` as its input.

    It runs in a process group of its own, which is killed when time is up or this process is interrupted, and
    keeps its temporary files in `folder`. Raises SynthesisError with the tool's last line of error.
    """
    try:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True, env={**os.environ, "TMPDIR": str(folder)},
        )  # fmt: skip
    except OSError as error:
        raise SynthesisError(f"{tool} cannot be started: {error.strerror}: {command[0]}") from error
    with process:
        try:
            log, _ = process.communicate(text, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise ToolStoppedError(f"{tool} was stopped, it took more than {timeout:g} s") from error
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        memory = "; there may have been too little memory" if name == "SIGKILL" else ""
        raise ToolStoppedError(f"{tool} was killed by {name}{memory}")
    if process.returncode:
        raise SynthesisError(f"{tool} failed with {process.returncode}: {error_line(log)}")
    return log


def error_line(log: str) -> str:
    """The line of `log` that says what went wrong.

    >>> error_line("+ map\\nABC: Error: no buffer\\nERROR: script failed\\nbye")
    'ABC: Error: no buffer'
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for mark in ("ABC: Error", "ERROR", "Error"):
        found = [line for line in lines if line.startswith(mark)]
        if found:
            return found[-1]
    return lines[-1] if lines else "no message"


def yosys(folder: Path, *commands: str, timeout: float = TIMEOUT_S) -> str:
    """Log of Yosys `commands` run on one design in `folder`, in a fresh process: results are then repeatable."""
    package_version("pyosys")
    return run_tool("Yosys", YOSYS, folder, text="\n".join(commands), timeout=timeout)


def package_version(package: str) -> str:
    """Version of an installed Python package; SynthesisError when there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise SynthesisError(
            f"{package} is not installed beside this Python: pip install {package}"
        ) from error


def program(package: str) -> str | None:
    """Path of the program that an installed package of the same name has, beside this Python or on PATH, else None.

    One of another environment does not count: nothing would say its version.
    """
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    beside = Path(sys.executable).with_name(package)
    return str(beside) if beside.exists() else shutil.which(package)


@functools.cache
def opensta() -> tuple[str, str] | None:
    """Path and version of OpenSTA; None where it is not installed."""
    found = shutil.which("sta")
    if found is None:
        return None
    done = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    lines = done.stdout.split()
    return found, lines[0] if done.returncode == 0 and lines else "of unknown version"

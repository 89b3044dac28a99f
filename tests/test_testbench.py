"""The Verilog testbench: units pass in Icarus without Python; each rule is broken once and must be seen."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from golden.errors import InvariantError
from reports.registry import entry, unit_names
from reports.stimuli import column
from rtl.testbench import Instance, bare, verilog_testbench
from rtl.verilog import verilog
from sim.unit import Beats, Codes, Unit
from sim.units.residual_adder import ResidualAdder

pytestmark = pytest.mark.cosim
MAC = entry("mac").report.SWEEP[1]


def simulate(folder: Path) -> subprocess.CompletedProcess[str]:
    build = ["iverilog", "-g2005", "-o", "tb", "tb.v", "unit.v"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    return subprocess.run(
        ["vvp", "-n", "tb"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def write(name: str, spec: Unit, folder: Path, connection: Instance | None = None) -> Path:
    inputs = entry(name).report.stimuli(spec, np.random.default_rng(3))
    connect = bare if connection is None else lambda spec, top: connection
    for file, text in verilog_testbench(spec, inputs, top="unit", seed=3, connect=connect).items():
        (folder / file).write_text(text)
    (folder / "unit.v").write_text(verilog(entry(name).component(spec), "unit"))
    return folder


@pytest.mark.parametrize("name", unit_names())
def test_every_unit_passes(name: str, tmp_path: Path) -> None:
    spec = entry(name).report.SWEEP[0]
    done = simulate(write(name, spec, tmp_path))
    words = done.stdout.split()
    assert (done.returncode, words[0], words[2:]) == (0, "PASS", ["beats"])
    # All beats with and without stalls, and some more around the resets.
    assert int(words[1]) > 2 * len((tmp_path / "o.beats.hex").read_text().split())


# What lies between the testbench and the unit: `name = expression` of the unit's (`u_`) and the testbench's signals.
FAULTS = {
    "o__payload = u_o__payload ^ (cycle > 300)": "no stalls: o beat ",
    "o__payload = u_o__payload ^ (stalling && !o__ready && cycle[0])": "random stalls: o changed its payload in",
    "o__payload = cycle > 90 ? 18'bx : u_o__payload": "no stalls: o.payload is undefined in cycle ",
    "o__valid = u_o__valid & o__ready": "random stalls: no handshake for 1",  # each waits for the other
    "o__valid = u_o__valid & (o__ready | cycle[1])": "random stalls: o dropped valid in cycle",
    "o__valid = u_o__valid ^ (cycle == 40)": "no stalls: o beat ",
    "o__valid = cycle == 3 ? 1'bx : u_o__valid": "no stalls: o.valid is undefined in cycle 3",
    "a__ready = u_a__ready & cycle != 7": "no stalls: ",
    "a__ready = cycle == 7 ? 1'bx : u_a__ready": "no stalls: a.ready is undefined in cycle 7",
    "u_rst = rst & run < 3": "after a reset: ",
    "u_a__payload = a__payload ^ few": "after a reset: o beat 0 is",
    "u_w__valid = w__valid & cycle < 300": "no stalls: no handshake for 1",
    "u_o__ready = o__ready | stalling": "random stalls: ",
}


def faulty(fault: str | None) -> Instance:
    """A MAC between two sets of wires, all but one of which are passed on as they are."""
    honest = bare(MAC, "unit")
    sinks = {"clk": 1, "rst": 1}
    for name in MAC.inputs:
        sinks |= {f"{name}__valid": 1, f"{name}__payload": honest.widths[name], f"u_{name}__ready": 1}
    sinks |= {"u_o__valid": 1, "u_o__payload": honest.widths["o"], "o__ready": 1}
    text, planted = "", 0
    for source, width in sinks.items():
        target = source.removeprefix("u_") if source.startswith("u_") else f"u_{source}"
        assign = f"{target} = {source}"
        if fault is not None and fault.startswith(f"{target} ="):
            assign, planted = fault, planted + 1
        inner = target if target.startswith("u_") else source
        text += f"  wire [{width - 1}:0] {inner};\n  assign {assign};\n"
    assert planted == (fault is not None)
    inside = honest.text.split("(", 1)[1]
    for port in (
        "clk",
        "rst",
        *(f"{s}__{part}" for s in (*MAC.inputs, "o") for part in ("valid", "payload", "ready")),
    ):
        inside = inside.replace(f"({port})", f"(u_{port})")
    return replace(honest, text=text + f"  unit dut ({inside}")


def test_the_wires_themselves_pass(tmp_path: Path) -> None:
    done = simulate(write("mac", MAC, tmp_path, faulty(None)))
    assert done.stdout.startswith("PASS")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_rule_is_named(fault: str, tmp_path: Path) -> None:
    done = simulate(write("mac", MAC, tmp_path, faulty(fault)))
    assert done.stdout.startswith(f"FAIL {FAULTS[fault]}")
    assert done.returncode == 1


@pytest.mark.parametrize("file", ["o.beats.hex", "w.cycles.hex"])
def test_one_wrong_bit_in_a_file_fails(file: str, tmp_path: Path) -> None:
    words = (write("mac", MAC, tmp_path) / file).read_text().split()
    words[-1] = f"{int(words[-1], 16) ^ 1:x}"
    (tmp_path / file).write_text("\n".join(words))
    done = simulate(tmp_path)
    assert done.stdout.startswith(f"FAIL no stalls: {file[0]} beat {len(words) - 1} ")
    assert done.returncode == 1


def test_files_hold_payloads_and_cycles() -> None:
    spec = ResidualAdder(bits=8)
    inputs = {"a": column(np.array([1, 100])), "b": column(np.array([-2, 100]))}
    files = verilog_testbench(spec, inputs, top="unit", seed=1)
    assert {name: text for name, text in files.items() if name != "tb.v"} == {
        "a.beats.hex": "1\n64\n", "a.cycles.hex": "0\n1\n", "b.beats.hex": "fe\n64\n", "b.cycles.hex": "0\n1\n",
        "o.beats.hex": "ff\n7f\n", "o.cycles.hex": "1\n2\n",
    }  # fmt: skip
    assert files == verilog_testbench(spec, inputs, top="unit", seed=1)
    assert files != verilog_testbench(spec, inputs, top="unit", seed=2)


class Clairvoyant(ResidualAdder):
    """Its first sum depends on how many follow."""

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        out = super().run(**inputs)
        out["o"].codes[0] ^= len(out["o"].codes)
        return out


class Hasty(ResidualAdder):
    """Its first beat comes sooner when more follow."""

    def timing(self, **inputs: Beats) -> dict[str, Codes]:
        cycles = super().timing(**inputs)
        return cycles | {"o": cycles["o"] + (100 - len(cycles["o"]))}


@pytest.mark.parametrize("kind", [Clairvoyant, Hasty])
def test_rows_that_depend_on_later_ones_are_refused(kind: type[ResidualAdder]) -> None:
    inputs = {name: column(np.arange(50)) for name in ("a", "b")}
    with pytest.raises(InvariantError, match="the first 32 beats of stream o depend on those after them"):
        verilog_testbench(kind(bits=8), inputs, top="unit", seed=1)


def test_a_stream_without_beats_is_refused() -> None:
    inputs = {name: column(np.arange(0)) for name in ("a", "b")}
    with pytest.raises(InvariantError, match="stream a has no beats"):
        verilog_testbench(ResidualAdder(bits=8), inputs, top="unit", seed=1)

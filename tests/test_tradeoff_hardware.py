"""What a sweep does with synthesis, comparison and energy: their failures, their sums, what was verified."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from golden.errors import InvariantError, UserError
from reports.energy import Energy
from reports.registry import entry
from reports.synthesis import Area, SynthesisError, Target
from reports.tradeoff import comparison, energies, hardware, request, status, sweep
from reports.tradeoff.comparison import Comparison, compared
from reports.tradeoff.energies import operations_of, with_energies
from reports.tradeoff.hardware import Fitting, fitted
from reports.tradeoff.markdown import troubles
from reports.tradeoff.needs import Need, written_spec
from reports.tradeoff.rows import area_of
from reports.tradeoff.status import statuses
from reports.tradeoff.stimuli import Stimulus, Stream, load_stimuli, save_stimuli
from reports.tradeoff.storage import buffers_of, weight_kib
from reports.verification_rows import UnitVerification
from rtl.volume import library
from sim.accelerator import Accelerator, Array, Lanes, Memory
from sim.unit import Beats
from tests.tradeoff_sample import part, sample

ADDER = entry("residual_adder").report.SWEEP[0]
MAC = entry("mac").report.SWEEP[0]
TINY = Path(__file__).with_name("tiny.lib")
ACCELERATORS = {"a": Accelerator(clock_mhz=1, shares={"residual_adder": Lanes(lanes=4)})}
compiled = pytest.mark.skipif(library.missing() is not None, reason=str(library.missing()))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    cache: Path
    targets: tuple[Target, ...] = ("xcup",)
    liberty: Path | None = None
    processes: int = 1
    verify: bool = False
    verification: tuple[UnitVerification, ...] = ()


def point(*bits: int) -> dict[str, Any]:
    """One point for each width of adder."""
    return {
        f"p{n}": SimpleNamespace(
            needs=(
                Need(unit="residual_adder", edge=False, parameters=written_spec(replace(ADDER, bits=n)), specs=1,
                     operations=("attn.residual",)),
            )
        )
        for n in bits
    }  # fmt: skip


@dataclass
class Found:
    """Stands for `synthesize_all`: an area of one LUT, or what `result` says."""

    result: Callable[[Any], Area | SynthesisError] = lambda job: Area(
        target=job.target, luts=1.0, cells={}, tools={"yosys": "0: x"}
    )
    jobs: list[Any] = field(default_factory=list)

    def __call__(self, jobs: Any, *_: object) -> Iterator[Any]:
        self.jobs += jobs
        for job in jobs:
            yield job, self.result(job)


def test_one_cause_takes_one_line_and_the_other_points_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def result(job: Any) -> Area | SynthesisError:
        full = SynthesisError("cannot keep a result in cache: No space left on device; free some space")
        return full if job.spec.bits < 6 else Found().result(job)

    monkeypatch.setattr(hardware, "synthesize_all", Found(result))
    fitting = fitted(point(4, 5, 6), ACCELERATORS, Wanted(cache=tmp_path))
    err = " ".join(capsys.readouterr().err.split())
    assert err.count("No space left on device") == 1
    assert len(fitting.failures) == 1
    areas = [area_of(parts) for parts in fitting.parts.values()]
    assert [area.luts for area in areas] == [None, None, 4]
    assert [area.missing for area in areas] == [("residual_adder",), ("residual_adder",), ()]


def test_without_a_clock_rate_the_area_stays_and_the_rate_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "synthesize_all", Found())
    (parts,) = fitted(point(4), ACCELERATORS, Wanted(cache=tmp_path)).parts.values()
    area = area_of(parts)
    assert (area.luts, area.fmax_mhz, area.slowest) == (4, None, None)


@pytest.mark.synth
def test_a_killed_tool_costs_its_own_point_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kills the first Yosys that a worker of this sweep starts."""
    stopped = threading.Event()

    def kill() -> None:
        while not stopped.is_set():
            for worker in children(os.getpid()):
                for tool in children(worker):
                    if b"libyosys" in Path("/proc", str(tool), "cmdline").read_bytes():
                        os.kill(tool, signal.SIGKILL)
                        return
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    fitting = fitted(point(4, 5), ACCELERATORS, Wanted(cache=tmp_path))
    stopped.set()
    killer.join()
    err = " ".join(capsys.readouterr().err.split())
    assert err.count("no area: residual_adder on xcup: Yosys was killed by SIGKILL; there may") == 1
    known = [area_of(parts).luts for parts in fitting.parts.values()]
    assert known.count(None) == 1
    assert all(one is None or one > 0 for one in known)


def children(process: int) -> list[int]:
    """Processes that any thread of `process` has started."""
    found: list[int] = []
    for file in Path("/proc", str(process), "task").glob("*/children"):
        try:
            found += map(int, file.read_text().split())
        except OSError:  # the thread has ended
            continue
    return found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot read the Liberty file .*: No such file"),
        ("library(x) {\n cell(A) {\n", "is no Liberty file that Yosys reads"),
        ("library(x) { }", "has no cells"),
    ],
)
def test_a_bad_liberty_file_is_refused_before_anything_is_measured(
    text: str | None, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.lib"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=f"--liberty: .*{said}") as found:
        sweep.check_liberty(file)
    assert "\n" not in str(found.value)


def test_a_liberty_file_without_nand2_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = TINY.read_text()
    file = tmp_path / "without.lib"
    file.write_text(text.replace(text[text.index("cell(NAND2)") : text.index("cell(NOR2)")], ""))
    sweep.check_liberty(file)
    assert "without.lib has no two-input NAND: areas are in µm² alone" in " ".join(
        capsys.readouterr().err.split()
    )
    sweep.check_liberty(TINY)
    assert capsys.readouterr().err == ""


@compiled
@pytest.mark.cosim
def test_what_is_synthesised_is_compared_with_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hardware, "synthesize_all", Found())
    monkeypatch.setattr(hardware, "compare_all", here)
    wanted = Wanted(cache=tmp_path, verify=True)
    (good,) = fitted(point(4), ACCELERATORS, wanted).parts["p4", "xcup"]
    assert (good.verified or 0) > 200
    # Kept: nothing is built again.
    monkeypatch.setattr(comparison, "run_volume", lambda *_, **__: pytest.fail("compared again"))
    assert fitted(point(4), ACCELERATORS, wanted).parts["p4", "xcup"] == (good,)
    monkeypatch.undo()
    # Hardware of another width than its model: found, told, and no figure of it.
    monkeypatch.setattr(hardware, "synthesize_all", Found())
    monkeypatch.setattr(hardware, "compare_all", here)
    right = ADDER.run
    monkeypatch.setattr(
        type(ADDER), "run", lambda self, **x: {"o": Beats(right(**x)["o"].codes ^ 1, right(**x)["o"].last)}
    )
    fitting = fitted(point(5), ACCELERATORS, wanted)
    (bad,) = fitting.parts["p5", "xcup"]
    assert bad.verified is None
    assert "o beat 0 is" in (bad.mismatch or "")
    assert fitting.mismatches == (bad.mismatch,)
    assert "RTL differs from its model" in capsys.readouterr().err


def here(jobs: Any, cache: Path, *_: object) -> Iterator[Any]:
    """`compare_all` in this process."""
    for job in jobs:
        yield job, compared(job.unit, job.spec, cache)


def test_rows_beyond_the_accumulator_are_left_out_of_a_comparison() -> None:
    narrow = replace(MAC, acc_bits=MAC.acc_bits - 1)
    inputs = entry("mac").report.stimuli(MAC, np.random.default_rng(0))
    with pytest.raises(InvariantError, match="outside"):
        narrow.run(**inputs)
    kept = comparison._within(narrow, inputs)
    assert 0 < len(kept["a"].last) == len(kept["w"].last) < len(inputs["a"].last)
    assert kept["a"].last.sum() == len(kept["bias"].last)
    narrow.run(**kept)


def row(unit: str, spec: str, **more: object) -> UnitVerification:
    known = {"beats": 10, "mismatches": 0, "cycle_mismatches": 0, "protocol_errors": 0, "passed": True}
    return UnitVerification.model_validate(
        {"unit": unit, "spec": spec, "simulator": "icarus", "seconds": 1.0} | known | more
    )


def test_a_files_rows_count_for_the_same_verilog_and_else_for_the_unit() -> None:
    label = entry("residual_adder").report.label(ADDER)
    key = ("residual_adder", ADDER)
    rows = (
        row(*("residual_adder", "one"), design=label, hardware=status._hardware(*key)),
        row(*("residual_adder", "two"), design=label, hardware="0" * 64),
        row(*("residual_adder", label), beats=7),
        row(*("mac", "x"), beats=1000),
    )
    assert statuses([key], {}, rows)[key] == status.Status(verified=17, verified_unit=27)
    assert statuses([key], {}, rows[1:2])[key] == status.Status(verified_unit=10)
    own = Comparison(vectors=5, failure=None)
    assert statuses([key], {key: own}, ())[key] == status.Status(verified=5)
    assert statuses([key], {key: SynthesisError("no g++")}, ())[key] == status.Status()
    failed = row(*("residual_adder", "three"), passed=False, mismatches=1, failure="o beat 3 is 1, not 2")
    found = statuses([key], {key: own}, (*rows, failed))[key]
    assert found == status.Status(mismatch="residual_adder three: o beat 3 is 1, not 2")


def test_a_file_without_comparisons_and_tools_that_are_missing_are_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from reports.results import write

    write(sample(), tmp_path)
    with pytest.raises(UserError, match="it compares no unit; name results of vitrtl verify"):
        request.parse_verification([tmp_path])
    monkeypatch.setattr(library, "missing", lambda: "g++ is not installed: apt install g++")
    with pytest.raises(UserError, match=r"--verify: g\+\+ is not installed"):
        request.parse_verify(True)
    assert not request.parse_verify(None)
    assert "RTL is not compared with its models: g++ is not installed" in capsys.readouterr().err
    assert not request.parse_verify(False)
    assert capsys.readouterr().err == ""


def test_energies_are_per_operation_and_their_sum_says_of_which_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = Stream(codes=((1,), (2,)), last=(False, True))
    stimuli = {
        "r": tuple(
            Stimulus(unit=unit, edge=edge, operation="x", parameters=written_spec(MAC), streams={"a": codes})
            for unit, edge in (("mac", True), ("mac", False), ("softmax", False))
        )
    }

    def measured(jobs: Any, *_: object) -> Iterator[Any]:
        for n, job in enumerate(jobs):
            assert job.inputs["a"].codes.tolist() == [[1], [2]]
            sizes = {"internal_pj": 1.0 + n, "switching_pj": 2.0, "clock_pj": 3.0}
            figure = Energy(operations=2, cycles=9, **sizes, method="m", tools={})
            yield job, figure if job.unit == "mac" else SynthesisError("energy of softmax: no capacitance")

    monkeypatch.setattr(energies, "energies", measured)
    monkeypatch.setattr(Stimulus, "spec", property(lambda _: MAC))
    parts = (
        part("r", "mac", "asic", 1.0, operations=("attn.qkv_acc",)),
        part("r", "softmax", "asic", 1.0, operations=("attn.softmax",)),
    )
    fitting = Fitting(parts={("r", "asic"): parts, ("r", "xcup"): parts}, failures=())
    found = with_energies(fitting, stimuli, TINY, tmp_path, 1)
    # The block's stimulus, the second: (2 + 2 + 3) / 2.
    assert [one.energy for one in found.parts["r", "asic"]] == [3.5, None]
    assert [one.energy for one in found.parts["r", "xcup"]] == [None, None]
    assert found.failures == ("energy of softmax: no capacitance",)
    assert "no energy: energy of softmax" in capsys.readouterr().err
    area = area_of(found.parts["r", "asic"], [100, 7])
    assert (area.energy, area.energy_parts) == (350, ("mac",))
    assert area_of(parts, [100, 7]).energy is None


def test_operations_of_an_image_are_those_that_run_on_the_part() -> None:
    rows = [
        SimpleNamespace(unit="mac", layer="patch_embed.proj_acc", operations=5),
        SimpleNamespace(unit="mac", layer="blocks.0.attn.qkv_acc", operations=7),
        SimpleNamespace(unit="gelu", layer="blocks.0.mlp.gelu", operations=11),
    ]
    mac = Array(rows=1, columns=1)
    block, edge = (
        part("r", "mac", "xcup", 1.0, edge=edge, operations=("attn.qkv_acc",)) for edge in (False, True)
    )
    apart = Accelerator(clock_mhz=1, shares={"mac": mac}, edge={"mac": mac})
    assert operations_of([block, edge], rows, apart) == [7, 5]  # type: ignore[arg-type]
    assert operations_of([block], rows, Accelerator(clock_mhz=1, shares={"mac": mac})) == [12]  # type: ignore[arg-type]


def test_weights_and_buffers_are_listed() -> None:
    def read(unit: str, name: str) -> Any:
        return SimpleNamespace(unit=unit, inputs={"w": name})

    program = SimpleNamespace(
        constants={
            "one": np.array([[0, 15, 3], [-4, 11, 0]]),  # 15 steps a channel, wherever they lie: 4 bits
            "two": np.array([[0, 1], [3, 4]]),  # channels in columns: 3 steps, 2 bits
        },
        operations=[
            read("mac", "one"),
            read("mac", "one"),
            read("log2_mac", "two"),
            read("mac", "activation"),
        ],
    )
    assert weight_kib(program) == (6 * 4 + 4 * 2) / 8192  # type: ignore[arg-type]
    memory = Memory(
        bandwidth_bytes_per_cycle=1, weight_buffer_kib=3, activation_buffer_kib=5, double_buffered=True
    )
    found = buffers_of(memory, "xcup")
    assert found
    assert [(one.name, one.kbit, one.block_rams) for one in found] == [
        ("weight buffer", 48, 2),
        ("activation buffer", 80, 4),
    ]
    assert [one.block_rams for one in buffers_of(memory, "asic") or ()] == [None, None]
    assert buffers_of(None, "xcup") is None


def test_stimuli_are_kept_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Stimulus(unit="mac", edge=False, operation="blocks.0.x", parameters=written_spec(MAC),
                   streams={"a": Stream(codes=((1,), (-2,)), last=(False, True))})  # fmt: skip
    file = tmp_path / "points" / "p.json"
    save_stimuli(file, "key", (one,))
    assert load_stimuli(file, "key") == (one,)
    assert load_stimuli(file, "other") is None
    assert one.spec == MAC
    assert one.inputs["a"].codes.tolist() == [[1], [-2]]

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"cannot write .*: No space left on device; make room"):
        save_stimuli(file, "new", ())
    assert load_stimuli(file, "key") == (one,)


def test_a_mismatch_is_among_the_troubles() -> None:
    results = sample()
    wrong = results.tables.parts[0].model_copy(update={"mismatch": "mac s8: o beat 0"})
    tables = results.tables.model_copy(update={"parts": (wrong, *results.tables.parts[1:])})
    assert "RTL differs from its model: mac s8: o beat 0" in list(
        troubles(results.model_copy(update={"tables": tables}))
    )

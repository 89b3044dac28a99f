"""The bench: what it says follows from what it timed, and a wrong answer is never timed. No speed is tested."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from golden.errors import InvariantError
from golden.pretrained import DIGITS, load_model
from reports import bench_machine, bench_models
from reports.bench_kernels import Kernel, kernels
from reports.bench_models import float_runner, quantised_runners
from reports.bench_profile import profile
from reports.bench_tables import Speed
from reports.bench_timing import Timing, take_turns
from reports.choice import Bits, Choice
from reports.cli import main
from reports.page import render
from reports.results import Results, Tables, read
from reports.workload import Workload, load_workload
from sim.network import Executor
from sim.units.requantizer import Requantizer

W4 = Bits(weight=4, act=4)


def vitrtl(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Runs the command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["vitrtl", "bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


@pytest.fixture(scope="module")
def workload() -> Workload:
    return load_workload(Choice(model=DIGITS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one short run of the command left behind."""
    pytest.importorskip("apytypes")
    out = tmp_path_factory.mktemp("bench") / "out"
    options = ["--repetitions", "2", "--batch-size", "4", "--bits", "4", "--bits", "8", "--profile"]
    with pytest.MonkeyPatch.context() as patch:
        assert vitrtl(patch, *options, "--out", str(out)) == 0
    return out


@pytest.fixture(scope="module")
def found(folder: Path) -> Results:
    return read(folder / "results.json")


def test_works_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    timings = take_turns(works, 3)
    assert order == ["a", "b"] * 4
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]


def test_a_row_has_the_median_and_both_ends() -> None:
    row = Timing((3.0, 1.0, 8.0)).row()
    assert row == {"seconds": 3.0, "repetitions": 3, "fastest": 1.0, "slowest": 8.0}


def test_a_median_outside_its_ends_is_refused() -> None:
    fixed = {"run": "W4/A4", "implementation": "sim", "images": 4}
    Speed.model_validate(fixed | {"seconds": 2.0, "repetitions": 3, "fastest": 1.0, "slowest": 2.5})
    with pytest.raises(ValidationError, match="must lie in"):
        Speed.model_validate(fixed | {"seconds": 3.0, "repetitions": 3, "fastest": 1.0, "slowest": 2.5})
    with pytest.raises(ValidationError, match="go together"):
        Speed.model_validate(fixed | {"seconds": 3.0, "repetitions": 3})


def test_every_implementation_ran_the_same_images_on_the_same_threads(found: Results) -> None:
    rows = found.tables.speed
    assert [(row.run, row.implementation) for row in rows] == [
        ("float", "float"),
        ("W4/A4", "fakequant"),
        ("W4/A4", "sim"),
        ("W8/A8", "fakequant"),
        ("W8/A8", "sim"),
    ]
    assert {(row.images, row.repetitions) for row in rows} == {(4, 2)}
    assert len({row.threads for row in rows}) == 1
    assert all(row.first_seconds for row in rows)


def test_ratios_are_quotients_of_the_rates(found: Results) -> None:
    metrics = {name: metric.value for name, metric in found.metrics.items()}
    for run in ("w4a4", "w8a8"):
        sim = metrics[f"sim__images_per_second__{run}"]
        for other, rate in (
            ("float", metrics["float__images_per_second"]),
            ("fakequant", metrics[f"fakequant__images_per_second__{run}"]),
        ):
            name = f"sim__speed_vs_{other}__{run}"
            assert metrics[name] == pytest.approx(sim / rate)
            assert found.metrics[name].higher_is_better is True
            assert found.metrics[name].unit == "1"
        assert found.metrics[f"sim__first_batch__{run}"].higher_is_better is False


def test_every_kernel_is_beside_apytypes(found: Results) -> None:
    rows = found.tables.kernels
    names = [f"{name}{bits}" for bits in (4, 8) for name in ("fc1 W", "fc1 requantized W", "softmax A")]
    assert list(dict.fromkeys(row.kernel for row in rows)) == names
    assert [row.results for row in rows if row.kernel == "fc1 W4"] == [197 * 768] * 2
    assert {row.threads for row in rows} == {1}
    seconds = {(row.kernel, row.implementation): row.seconds for row in rows}
    for kernel, metric in (("fc1 W4", "fc1_w4"), ("softmax A8", "softmax_a8")):
        ratio = seconds[kernel, "apytypes"] / seconds[kernel, "sim"]
        assert found.metrics[f"bench__{metric}__speed_vs_apytypes"].value == pytest.approx(ratio)


def test_the_text_says_what_the_results_say_and_no_path(found: Results, folder: Path) -> None:
    text = (folder / "bench.md").read_text()
    value = {name: metric.value for name, metric in found.metrics.items()}
    for row in found.tables.speed:
        assert f"| {row.images / row.seconds:.1f} | (" in text
    for run, label in (("w4a4", "W4/A4"), ("w8a8", "W8/A8")):
        ratios = [f"{value[f'sim__speed_vs_{other}__{run}']:.2f}" for other in ("float", "fakequant")]
        line = next(line for line in text.splitlines() if line.startswith(f"| {label} | sim |"))
        assert line.split(" | ")[4:6] == ratios
    for name in ("fc1_w4", "fc1_requantized_w8", "softmax_a4"):
        assert f"| {found.metrics[f'bench__{name}__speed_vs_apytypes'].value:.1f} |" in text
    config = found.config.model_dump()
    assert config["machine_cpu"] in text
    assert f"Other processes took {config['others_percent']:g} % of all cores' time" in text
    assert "vitrtl bench --model vitrtl_digits --scheme repq --bits 4 --bits 8 --repetitions 2" in text
    assert all(len(line.split("|")) == 9 for line in text.splitlines() if "| sim |" in line)
    everything = text + (folder / "results.json").read_text()
    assert str(folder.parent) not in everything
    assert not re.search(r"(?<![\w.])/(home|tmp|root|work|usr)/", everything)


def test_the_page_has_bars_kernels_and_profile(found: Results, folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for section in ("speed", "kernels", "profile"):
        assert f'<section id="{section}">' in page
    assert 'id="plot-speed"' in page
    alone = found.model_copy(update={"tables": Tables(speed=found.tables.speed[:1])})
    assert 'id="plot-speed"' not in render(alone)


def test_a_profile_counts_every_operation_once(workload: Workload, found: Results) -> None:
    _, lowered = quantised_runners(workload, W4, workload.calibration[:2], 1, lambda _: None)
    rows = profile("W4/A4", lowered.program, lowered.codes, repetitions=1)
    assert sum(row.count for row in rows) == len(lowered.program.operations)
    assert [row.milliseconds for row in rows] == sorted((row.milliseconds for row in rows), reverse=True)
    fc1 = next(row for row in rows if row.layer == "mlp.fc1_acc")
    assert (fc1.unit, fc1.count) == ("mac", 4)
    metrics = {name for name in found.metrics if name.startswith("profile__mac")}
    assert metrics == {"profile__mac__w4a4", "profile__mac__w8a8"}


def test_different_integers_are_not_timed() -> None:
    apytypes = pytest.importorskip("apytypes")
    theirs = apytypes.APyFixedArray.from_array(np.arange(6.0).reshape(2, 3), bits=8, frac_bits=0)
    right = np.arange(6).reshape(2, 3)
    assert Kernel("right", None, lambda: right, lambda: theirs).compare() == 6
    wrong = right + (right == 4)
    with pytest.raises(InvariantError, match="kernel wrong: 1 of 6 integers"):
        Kernel("wrong", None, lambda: wrong, lambda: theirs).compare()
    with pytest.raises(InvariantError, match="shape"):
        Kernel("shape", None, lambda: right.T, lambda: theirs).compare()


def test_a_requantizer_that_is_off_by_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("apytypes")
    correct = Requantizer.compute

    def off(self: Requantizer, **operands: np.ndarray) -> np.ndarray:
        codes = correct(self, **operands)
        codes[-1, -1] += 1
        return codes

    monkeypatch.setattr(Requantizer, "compute", off)
    product, requantized, softmax = kernels([4])
    assert product.compare() == 197 * 768
    assert softmax.compare() == 3 * 197 * 197
    with pytest.raises(InvariantError, match=r"fc1 requantized W4: 1 of 151,296"):
        requantized.compare()


def test_a_simulator_that_is_wrong_is_not_timed(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    execute = bench_models.execute

    def off(program, images):  # type: ignore[no-untyped-def]
        for name, codes in execute(program, images):
            yield name, codes + (name == "blocks.1.norm1")

    monkeypatch.setattr(bench_models, "execute", off)
    with pytest.raises(InvariantError, match=r"W4/A4: 816 of 816 integers of blocks\.1\.norm1"):
        quantised_runners(workload, W4, workload.calibration[:2], 1, lambda _: None)


def test_another_model_than_timms_is_not_timed(workload: Workload) -> None:
    images = workload.calibration[:2]
    original = load_model(DIGITS, None)
    runner = float_runner(original, workload, images)
    assert torch.equal(torch.as_tensor(runner.classify()), original(images).argmax(-1))
    weights = dict(workload.model.weights)
    weights["head.bias"] = weights["head.bias"] + torch.arange(10)
    with pytest.raises(InvariantError, match="logits and golden's differ"):
        float_runner(original, replace(workload, model=workload.model.with_weights(weights)), images)


def test_sim_is_timed_from_the_images_to_the_classes(workload: Workload) -> None:
    images = workload.calibration[:3]
    (_, sim), lowered = quantised_runners(workload, W4, images, 1, lambda _: None)
    expected = Executor(lowered.program).run(lowered.codes).logits.argmax(-1)
    assert np.array_equal(np.asarray(sim.classify()), expected)


def test_without_apytypes_a_line_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "apytypes", None)
    options = ["--repetitions", "1", "--batch-size", "2", "--bits", "4", "--out"]
    assert vitrtl(monkeypatch, *options, str(tmp_path / "out")) == 0
    told = capsys.readouterr().err
    assert 'apytypes is not installed, so no kernel was compared: pip install "vitrtl[bench]"' in told
    results = read(tmp_path / "out" / "results.json")
    assert results.tables.kernels == ()
    assert not any(name.startswith("bench__") for name in results.metrics)
    assert 'pip install "vitrtl[bench]"' in (tmp_path / "out" / "bench.md").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--repetitions 0", "--repetitions must be at least 1, not 0"),
        ("--threads 0", "--threads must be at least 1, not 0"),
        ("--threads 100000", "--threads 100000 is more than the"),
        ("--batch-size 361", "--batch-size 361 is more than there are images"),
        ("--bits 9", "--bits must be from 2 to 8, not 9"),
        ("--scheme rep", "rep"),
        ("--model deit_tiny_patch16_224", "--images and --calib are needed"),
    ],
)
def test_a_mistake_is_one_line(
    options: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert vitrtl(monkeypatch, *options.split()) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("vitrtl: error: ")
    assert says in told
    assert "\n" not in told


def test_the_share_of_others_leaves_out_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(bench_machine, "STAT", stat)
    monkeypatch.setattr(bench_machine.os, "sysconf", lambda _: 100)
    used = iter([1.0, 3.0])
    monkeypatch.setattr(bench_machine.os, "times", lambda: os.times_result((next(used), 0.5, 0, 0, 0)))
    stat.write_text("cpu 1000 0 500 4000 100 0 0 0 77 0\ncpu0 1 2 3\n")
    quiet = bench_machine.Quiet()
    # Ten more seconds of all cores: five idle, two of this process, three of others.
    stat.write_text("cpu 1400 0 600 4450 150 0 0 0 99 0\ncpu0 1 2 3\n")
    assert quiet.others_percent() == pytest.approx(30)
    stat.unlink()
    assert quiet.others_percent() is None


def test_one_thread_is_one_core_for_every_library() -> None:
    asked = (
        "import os\n"
        "from reports.bench_machine import confined\n"
        "with confined(1) as threads:\n"
        "    import torch, numba\n"
        "    print(threads, len(os.sched_getaffinity(0)), torch.get_num_threads(), numba.get_num_threads())\n"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["1"] * 4

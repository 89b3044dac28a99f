"""Passes on a cluster of real worker processes: the same results as in one process, whatever becomes of a worker."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from golden.adaround import with_codes
from golden.calibrate import calibrate
from golden.calibrated_file import load_calibrated, save_calibrated
from golden.codecs.uniform import UniformCodec
from golden.digits import images
from golden.errors import UserError
from golden.fakequant import FakeQuantizer, fakequant_logits
from golden.images import calibration_batch
from golden.lowering import lower
from golden.model import Through, forward
from golden.program import Program
from golden.scheme import load_scheme
from reports import cluster, evaluation
from reports.checkpoint import Checkpoint
from reports.choice import Choice
from reports.cli import main
from reports.cluster_worker import Job, predict_batch
from reports.networks import image_codec, integer_network
from reports.predictions import Predictions, here
from reports.workload import load_subject
from sim.network import Executor

try:
    import dask
    import distributed
except ImportError:
    distributed = None

needs_dask = pytest.mark.skipif(
    distributed is None, reason="needs Dask distributed: pip install 'vitrtl[cluster]'"
)
SIMULATE = ("simulate", "--weight-bits", "4", "--act-bits", "6", "--batch-size", "4", "--check-images", "1")
"""90 batches of the 360 digits."""


def vitrtl(*arguments: str) -> int | str | None:
    """Runs the command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vitrtl", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
    return stopped.value.code


def simulate(out: Path, *options: str) -> tuple[dict[str, Any], dict[str, Predictions]]:
    """results.json without times, and every pass by its description."""
    passes: dict[str, Predictions] = {}
    real = evaluation.predict_all

    def kept(description: str, *others: Any) -> Predictions:
        passes[description] = real(description, *others)
        return passes[description]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "predict_all", kept)
        assert vitrtl(*SIMULATE, "--out", str(out), *options) == 0
    document = json.loads((out / "results.json").read_text(encoding="utf-8"))
    document["tables"].pop("speed", None)
    timed = ("images_per_second", "speed_vs", "first_batch")
    metrics = document["metrics"].items()
    document["metrics"] = {name: value for name, value in metrics if not any(word in name for word in timed)}
    return document, passes


@contextmanager
def process(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of Dask's commands, for as long as the context lasts."""
    command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, "--no-dashboard"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    """Address of a scheduler of its own process."""
    file = folder / "scheduler.json"
    with process(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
    ) as started:
        while not file.exists() or not file.read_bytes().endswith(b"}"):
            assert started.poll() is None, "the scheduler did not start"
            time.sleep(0.05)
        yield json.loads(file.read_text(encoding="utf-8"))["address"]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., None]:
    """Checks that `vitrtl simulate options` ends with one line that says all of `says`, below `bars` of progress."""

    def check(options: list[str], *says: str, bars: int = 0) -> None:
        capfd.readouterr()
        assert vitrtl(*SIMULATE, "--out", str(tmp_path / "out"), *options) == 2
        _, err = capfd.readouterr()
        *before, line = err.splitlines()
        assert line.startswith("vitrtl: error: ")
        assert len(before) == bars
        assert "Traceback" not in err
        for part in says:
            assert part in line

    return check


@needs_dask
@pytest.mark.slow
def test_a_killed_worker_changes_nothing(tmp_path: Path) -> None:
    with scheduler(tmp_path) as address:
        worker = ("dask_worker", address, "--no-nanny", "--nthreads", "1", "--local-directory", str(tmp_path))
        # Warnings are errors in tests; DeiT's 46 MB are above Dask's own threshold, the digits' 1 MB above this one.
        few = dask.config.set({"distributed.admin.large-graph-warning-threshold": 200_000})
        with few, process(*worker) as one, process(*worker) as other, distributed.Client(address) as client:
            alone, expected = simulate(tmp_path / "alone")
            client.wait_for_workers(2, timeout=30)
            started = {one.pid: one, other.pid: other}
            processes = {name: started[pid] for name, pid in client.run(os.getpid).items()}
            killed: list[subprocess.Popen[bytes]] = []
            real = Checkpoint.add

            def add(self: Checkpoint, *batch: Any) -> None:
                """Kills a worker that has tasks, once, early in the integer pass."""
                real(self, *batch)
                while not killed and self.path.stem.endswith("integer") and len(self.predictions) < 80:
                    busy = [name for name, tasks in client.processing().items() if tasks]
                    if busy:
                        killed.append(processes[busy[0]])
                        os.kill(killed[0].pid, signal.SIGKILL)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Checkpoint, "add", add)
                document, found = simulate(tmp_path / "cluster", "--scheduler", address)
            assert killed[0].wait(5) == -signal.SIGKILL
            assert len(client.scheduler_info()["workers"]) == 1
    assert document == alone
    assert list(found) == list(expected)
    for name, passed in found.items():
        assert torch.equal(passed.classes, expected[name].classes)
        assert (passed.digests == expected[name].digests).all()


@needs_dask
def test_a_cluster_without_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., None]
) -> None:
    monkeypatch.setattr(cluster, "WORKERS_WITHIN_SECONDS", 0.2)
    with scheduler(tmp_path) as address:
        refused(["--scheduler", address], f"--scheduler {address} has had no worker", "dask worker", bars=1)


@needs_dask
@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "nonsense", "nonsense:", "foo://127.0.0.1:1", "tls://127.0.0.1:1", "a b", ""]
)
def test_no_scheduler_at_an_address(address: str, refused: Callable[..., None]) -> None:
    began = time.monotonic()
    refused(
        ["--scheduler", address], f"--scheduler {address}".strip(), "does not answer", "tcp://192.0.2.7:8786"
    )
    assert time.monotonic() - began < 10


def test_without_dask(monkeypatch: pytest.MonkeyPatch, refused: Callable[..., None]) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "distributed"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    refused(["--scheduler", "127.0.0.1:8786"], "needs Dask distributed", "pip install 'vitrtl[cluster]'")


def test_shards_on_a_cluster(refused: Callable[..., None]) -> None:
    refused(["--scheduler", "127.0.0.1:1", "--shards", "1/2"], "--shards and --scheduler exclude each other")


@pytest.fixture
def job() -> Iterator[Job]:
    """A pass of the float model over the digits; leaves torch its threads."""
    threads = torch.get_num_threads()
    vit = load_subject(Choice(model="vitrtl_digits")).model
    yield Job(
        model="vitrtl_digits", weights=None, images=None, class_map=None, limit=None, batch_size=40, kind="float",
        key="test", images_sha256=images("test").digest(), versions=cluster.versions(vit),
    )  # fmt: skip
    torch.set_num_threads(threads)


def test_a_worker_with_other_files_or_versions_says_so(job: Job) -> None:
    answer = predict_batch(320, job, None)
    assert len(answer.classes) == 40
    assert len(answer.digests) == 40 * 32
    with pytest.raises(UserError, match=r"^worker on .*images.* are not the images of the run"):
        predict_batch(0, replace(job, key="a", images_sha256="0"), None)
    for place, (name, own) in enumerate(job.versions):
        versions = (*job.versions[:place], (name, "0"), *job.versions[place + 1 :])
        said = re.escape(f": {name} is {own}, where the run was started it is 0")
        with pytest.raises(UserError, match=f"^worker on .*{said}"):
            predict_batch(0, replace(job, key=name, versions=versions), None)
    with pytest.raises(UserError, match=r"^worker on .*image folder nowhere does not exist"):
        predict_batch(0, replace(job, images="nowhere"), None)


class Inline:
    """A client that runs tasks at once, in this process."""

    scheduler = SimpleNamespace(address="inline")

    def wait_for_workers(self, count: int, timeout: float) -> None: ...

    def submit(self, work: Callable[..., Any], *given: Any, pure: bool) -> Any:
        return work(*given)

    def map(self, work: Callable[..., Any], starts: range, **given: Any) -> list[Any]:
        named = {name: given[name] for name in ("job", "file")}
        tasks = [partial(work, start, **named) for start in starts]
        return [SimpleNamespace(result=lambda timeout, task=task: task()) for task in tasks]

    def cancel(self, futures: list[Any]) -> None: ...


@needs_dask
@pytest.mark.usefixtures("job")  # which leaves torch its threads
def test_a_pass_begins_where_an_earlier_one_ended(digits_program: Callable[[int], Program]) -> None:
    choice, test = Choice(model="vitrtl_digits"), images("test")
    network = integer_network(Executor(digits_program(6)))
    go = cluster.Cluster(Inline(), choice, load_subject(choice).model)
    found = list(go(network, test, 50, 300))
    expected = list(here(network, test, 50, 300))
    assert [len(batch.classes) for batch in found] == [50, 10]
    for one, other in zip(found, expected, strict=True):
        assert (one.classes == other.classes).all()
        assert (one.digests == other.digests).all()
        assert one.seconds is None
    assert list(go(network, test, 50, 360)) == []


@pytest.mark.parametrize("name", ["repq", "dopq", "tsptq", "ptq4vit", "adfq", "fqvit", "uniform_percentile"])
def test_a_calibration_read_back_is_the_same(name: str, tmp_path: Path) -> None:
    model, scheme = load_subject(Choice(model="vitrtl_digits")).model, load_scheme(name)
    batch = calibration_batch(images("calib"), scheme.calibration.images, seed=0)
    calibrated = calibrate(model, batch, scheme, weight_bits=4, act_bits=5)
    layer, codec = next(iter(calibrated.weights.items()))
    learned = with_codes(codec, codec.encode(calibrated.model.weights[f"{layer}.weight"]) ^ 1)
    calibrated = replace(calibrated, weights={**calibrated.weights, layer: learned}).with_zero("hardware")
    save_calibrated(calibrated, tmp_path / "calibration.safetensors")
    again = load_calibrated(tmp_path / "calibration.safetensors", model)
    shown, _ = next(images("test").batches(64))
    expected, found = (fakequant_logits(c, shown, FakeQuantizer(c)) for c in (calibrated, again))
    assert torch.equal(found, expected)
    assert not torch.equal(found, forward(model, shown, Through()))
    for field in ("scheme", "weight_bits", "act_bits", "residual_peak", "logit_peak", "digest"):
        assert getattr(again, field) == getattr(calibrated, field)
    # The program alone says how images are encoded.
    codec, alone = calibrated.activations["patch_embed.input"], image_codec(lower(calibrated, {}))
    assert isinstance(codec, UniformCodec)
    assert (alone.bits, alone.scale, alone.zero_point) == (codec.bits, codec.scale, codec.zero_point)
    assert torch.equal(alone.encode(shown), codec.encode(shown))


def test_a_file_that_is_no_calibration(tmp_path: Path, digits_program: Callable[[int], Program]) -> None:
    model = load_subject(Choice(model="vitrtl_digits")).model
    digits_program(8).save(tmp_path / "program.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(bytes(range(99)))
    for name in ("program", "noise", "nowhere"):
        with pytest.raises(UserError, match=f"{name}.safetensors"):
            load_calibrated(tmp_path / f"{name}.safetensors", model)

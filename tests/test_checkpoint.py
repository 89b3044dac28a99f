"""A pass over the images that is cut short goes on where it was, and only when nothing that decides it has changed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golden.digits import images
from reports import checkpoint
from reports.checkpoint import FOLDER, Checkpoint, key_of
from reports.networks import Logits, Network
from reports.predictions import Predictions, digest_of, predict_all


def network(logits: Callable[[torch.Tensor], Logits]) -> Network:
    """Anything that makes logits."""
    return Network(kind="float", logits=logits, save=None)


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_cut_pass_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SAVE_EVERY_SECONDS", 0.0)
    seen: list[int] = []

    def predict(images: torch.Tensor, fuse: int | None) -> Logits:
        if fuse is not None and len(seen) == fuse:
            raise Killed
        seen.append(len(images))
        return (images.flatten(1)[:, :10] * 100).long().numpy()

    def run(file: str, decided_by: str, fuse: int | None = None) -> Predictions:
        seen.clear()
        return predict_all(
            "pass",
            network(lambda batch: predict(batch, fuse)),
            images("test"),
            50,
            tmp_path / file,
            decided_by,
        )

    whole = run("whole.npz", "a")
    assert seen == [50] * 7 + [10]
    with pytest.raises(Killed):
        run("cut.npz", "a", fuse=3)
    assert seen == [50] * 3
    resumed = run("cut.npz", "a")
    assert seen == [50] * 4 + [10]
    assert torch.equal(resumed.classes, whole.classes)
    assert resumed.correct == whole.correct
    assert digest_of(resumed.digests) == digest_of(whole.digests)
    assert resumed.timed == 160  # 210 left, less the first batch
    run("cut.npz", "b")
    assert seen == [50] * 7 + [10]


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGKILL in the middle of the integer predictions; started again, the command ends as if nothing had happened."""

    def start(out: str, saving_every: float) -> subprocess.Popen[bytes]:
        program = (
            f"from reports import checkpoint, cli; checkpoint.SAVE_EVERY_SECONDS = {saving_every}; cli.main()"
        )
        options = "simulate --weight-bits 4 --act-bits 4 --batch-size 3 --check-images 1 --out"
        return subprocess.Popen(
            [sys.executable, "-c", program, *options.split(), str(tmp_path / out)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def document(out: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((tmp_path / out / "results.json").read_text(encoding="utf-8"))
        return loaded

    with start("whole", saving_every=5.0) as whole, start("cut", saving_every=0.0) as cut:
        file = tmp_path / "cut" / FOLDER / "w4_a4_integer.npz"
        while not file.exists():
            assert cut.poll() is None, "the command ended before it was killed"
            time.sleep(0.001)
        cut.kill()
        assert cut.wait() == -signal.SIGKILL
        with np.load(file) as saved:
            done = len(saved["predictions"])
        assert 0 < done < 300
        assert not (tmp_path / "cut" / "results.json").exists()
        assert whole.wait() == 0
    with start("cut", saving_every=5.0) as again:
        assert again.wait() == 0

    expected, found = document("whole"), document("cut")
    images = {row["implementation"]: row["images"] for row in found["tables"].pop("speed")}
    assert images == {"sim": 360 - done - 3}  # the rest, less the batch that compiles kernels
    del expected["tables"]["speed"]
    assert found["tables"] == expected["tables"]
    assert found["config"] == expected["config"]
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {
        "results.json", "report.html", "program_w4a4.safetensors",
    }  # fmt: skip


def test_a_short_pass_leaves_nothing(tmp_path: Path) -> None:
    nothing = network(lambda batch: np.zeros((len(batch), 10)))
    predict_all("pass", nothing, images("test"), 180, tmp_path / "x.npz", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", b"\x00" * 64])
def test_a_damaged_file_counts_as_absent(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "x.npz"
    first = Checkpoint(path, "k")
    first.add(np.arange(5), np.arange(160, dtype=np.uint8).reshape(5, 32))
    first.save()
    again = Checkpoint(path, "k")
    assert again.predictions.tolist() == [0, 1, 2, 3, 4]
    assert again.digests.tolist() == first.digests.tolist()
    path.write_bytes(damage)
    assert Checkpoint(path, "k").predictions.tolist() == []


def test_keys_tell_parts_apart() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")

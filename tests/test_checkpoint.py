"""A pass over the images that is cut short goes on where it was, and only when nothing that decides it has changed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.digits import images
from reports import checkpoint
from reports.checkpoint import Checkpoint, key_of
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

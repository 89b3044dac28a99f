"""A pass over the images that is cut short goes on where it was, and only when nothing that decides it has changed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from reports import checkpoint
from reports.checkpoint import Checkpoint, key_of
from reports.choice import Choice
from reports.evaluation import Evaluation
from reports.workload import Workload, load_workload
from sim.accelerator import Accelerator


@pytest.fixture(scope="module")
def workload() -> Workload:
    return load_workload(Choice(model="vitrtl_digits"))


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_cut_pass_goes_on_where_it_was(
    tmp_path: Path, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SAVE_EVERY_SECONDS", 0.0)
    seen: list[int] = []

    def evaluation(out: Path) -> Evaluation:
        return Evaluation(
            workload=workload, accelerator=Accelerator.load(), batch_size=50, checked_images=1, out=out
        )

    def predict(images: torch.Tensor, fuse: int | None = None) -> torch.Tensor:
        if fuse is not None and len(seen) == fuse:
            raise Killed
        seen.append(len(images))
        return (images.flatten(1).sum(1) * 100).long() % 10

    whole = evaluation(tmp_path / "whole")._predict("whole", "float", "float", predict, decided_by="a")
    assert seen == [50] * 7 + [10]
    seen.clear()
    with pytest.raises(Killed):
        evaluation(tmp_path / "cut")._predict(
            "cut", "float", "float", lambda x: predict(x, 3), decided_by="a"
        )
    assert seen == [50] * 3
    again = evaluation(tmp_path / "cut")
    resumed = again._predict("resumed", "float", "float", predict, decided_by="a")
    assert seen == [50] * 7 + [10]
    assert torch.equal(resumed, whole)
    assert again.rows["accuracy"][0].n == 360
    seen.clear()
    evaluation(tmp_path / "cut")._predict("changed", "float", "float", predict, decided_by="b")
    assert seen == [50] * 7 + [10]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", b"\x00" * 64])
def test_a_damaged_file_counts_as_absent(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "x.npz"
    first = Checkpoint(path, "k")
    first.add(np.arange(5))
    first.save()
    assert Checkpoint(path, "k").predictions.tolist() == [0, 1, 2, 3, 4]
    path.write_bytes(damage)
    assert Checkpoint(path, "k").predictions.tolist() == []


def test_keys_tell_parts_apart() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")

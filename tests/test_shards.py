"""Shards of a run, joined: the same results as the run in one piece, and shards of nothing else can be joined."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golden.digits import images
from reports.choice import Shard
from reports.cli import main
from reports.shards import FILE, ShardFile, ShardImages

SIMULATE = "simulate --weight-bits 4 --act-bits 6 --batch-size 25 --check-images 1"
"""15 batches of the 360 digits, the last one short."""
COUNT = 4


def vitrtl(*arguments: str) -> int | str | None:
    """Runs the command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vitrtl", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
    return stopped.value.code


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `whole`, `1` to `4`: a run in one piece, and the same in four shards."""
    root = tmp_path_factory.mktemp("runs")
    assert vitrtl(*SIMULATE.split(), "--out", str(root / "whole")) == 0
    for number in range(1, COUNT + 1):
        shard = ("--shards", f"{number}/{COUNT}", "--out", str(root / str(number)))
        assert vitrtl(*SIMULATE.split(), *shard) == 0
    return root


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., None]:
    """Checks that `vitrtl arguments --out OUT` answers with one line that says all of `says`."""

    def check(arguments: list[str], *says: str) -> None:
        capsys.readouterr()
        out = [] if "--out" in arguments else ["--out", str(tmp_path / "out")]
        assert vitrtl(*arguments, *out) == 2
        _, err = capsys.readouterr()
        assert err.startswith("vitrtl: error: ")
        assert err.count("\n") == 1
        for part in says:
            assert part in err
        assert not (tmp_path / "out" / "results.json").exists()

    return check


def document(folder: Path) -> dict[str, Any]:
    """results.json without what tells how fast it was."""
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    del loaded["tables"]["speed"]
    timed = ("images_per_second", "speed_vs", "first_batch")
    loaded["metrics"] = {k: v for k, v in loaded["metrics"].items() if not any(word in k for word in timed)}
    return loaded


def copy(folder: Path, to: Path, **changes: object) -> Path:
    """A copy of a shard's folder, its configuration changed."""
    shutil.copytree(folder, to)
    loaded = json.loads((to / "results.json").read_text(encoding="utf-8"))
    loaded["config"] |= changes
    (to / "results.json").write_text(json.dumps(loaded), encoding="utf-8")
    return to


def test_shards_in_any_order_are_the_whole(runs: Path, tmp_path: Path) -> None:
    shards = [str(runs / name) for name in ("3", "1", "4", "2")]
    assert vitrtl("merge", *shards, "--out", str(tmp_path)) == 0
    assert document(tmp_path) == document(runs / "whole")
    names = {"results.json", "report.html", "program_w4a6.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == names
    program = "program_w4a6.safetensors"
    assert (tmp_path / program).read_bytes() == (runs / "whole" / program).read_bytes()
    accuracy = {row["level"]: row for row in document(tmp_path)["tables"]["accuracy"]}
    assert {level for level, row in accuracy.items() if "logits_sha256" in row} == {"integer"}


def test_a_shard_reports_its_own_images(runs: Path) -> None:
    for number, count in enumerate((100, 100, 85, 75), start=1):
        found = document(runs / str(number))
        assert {row["n"] for row in found["tables"]["accuracy"]} == {count}
        assert found["metrics"]["images__count"]["value"] == count
        assert found["config"]["shard"] == f"{number}/4"
        assert found["config"]["data"] == f"digits test, 360 images, of which shard {number}/4: {count}"
        file = ShardFile.load(runs / str(number))
        assert list(file.classes) == ["float", "fakequant", "fakequant_hardware", "integer"]
        correct = int((file.classes["integer"] == file.labels).sum())
        assert found["metrics"]["accuracy__integer__top1"]["value"] == 100 * correct / count


def test_times_are_summed(runs: Path, tmp_path: Path) -> None:
    def speed(folder: Path) -> dict[str, dict[str, Any]]:
        rows = json.loads((folder / "results.json").read_text(encoding="utf-8"))["tables"]["speed"]
        return {row["implementation"]: row for row in rows}

    shards = [runs / str(number) for number in range(1, COUNT + 1)]
    assert vitrtl("merge", *map(str, shards), "--out", str(tmp_path)) == 0
    for implementation, row in speed(tmp_path).items():
        parts = [speed(shard)[implementation] for shard in shards]
        assert row["images"] == sum(part["images"] for part in parts) == 360 - 4 * 25
        assert row["seconds"] == sum(part["seconds"] for part in parts)


def test_a_machine_that_differs_shows_in_the_whole(runs: Path, tmp_path: Path) -> None:
    odd = copy(runs / "3", tmp_path / "3")
    loaded = json.loads((odd / "results.json").read_text(encoding="utf-8"))
    loaded["tables"]["exactness"][0]["differing"] = 7
    loaded["metrics"]["exactness__differing"]["value"] = 7
    loaded["tools"]["torch"] = "0.0.1"
    (odd / "results.json").write_text(json.dumps(loaded), encoding="utf-8")
    others = [str(runs / name) for name in ("1", "2", "4")]
    assert vitrtl("merge", *others, str(odd), "--out", str(tmp_path / "out")) == 0
    whole = document(tmp_path / "out")
    assert whole["metrics"]["exactness__differing"]["value"] == 7
    assert whole["tools"]["torch"] == f"{document(runs / '1')['tools']['torch']}, 0.0.1"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "another"), ("parameters_sha256", "0"), ("program_sha256", "0"), ("seed", 1), ("scheme", "dopq"),
        ("bits", "W8/A8"), ("images_sha256", "0"), ("batch_size", 5), ("accelerator_sha256", "0"), ("acc_bits", 16),
    ],
)  # fmt: skip
def test_a_shard_of_another_run_is_refused(
    runs: Path, tmp_path: Path, refused: Callable[..., None], key: str, value: object
) -> None:
    other = copy(runs / "2", tmp_path / "other", **{key: value})
    shards = [str(runs / "1"), str(other), str(runs / "3"), str(runs / "4")]
    refused(["merge", *shards], str(other), str(runs / "1"), f"{key} is {value}, not ")


def test_missing_and_double_shards_are_named(runs: Path, refused: Callable[..., None]) -> None:
    one, two, three, four = (str(runs / str(number)) for number in range(1, COUNT + 1))
    refused(["merge", one, two, four], "shard 3/4 missing", "--shards 3/4")
    refused(["merge", three], "shards 1/4, 2/4, 4/4 missing")
    refused(["merge", one, two, three, four, two], two, "both hold shard 2/4")


def test_folders_without_a_shard_are_named(runs: Path, tmp_path: Path, refused: Callable[..., None]) -> None:
    refused(["merge", str(runs / "1"), str(runs / "whole")], str(runs / "whole"), f"no {FILE}")
    refused(["merge", str(tmp_path / "nowhere")], "nowhere", f"no {FILE}")
    # A whole run, later, in the same folder.
    later = copy(runs / "2", tmp_path / "later")
    shutil.copy(runs / "whole" / "results.json", later / "results.json")
    refused(["merge", str(runs / "1"), str(later)], "later", "shard 2/4", "a whole run")
    for damage in (
        b"",
        b"\x10\x00\x00\x00\x00\x00\x00\x00 not a header",
        (runs / "2" / FILE).read_bytes()[:-9],
    ):
        (later / FILE).write_bytes(damage)
        refused(["merge", str(runs / "1"), str(later)], "later", FILE, "run the shard again")


def test_nothing_is_overwritten(runs: Path, tmp_path: Path, refused: Callable[..., None]) -> None:
    before = document(runs / "1")
    refused([*SIMULATE.split(), "--shards", "2/4", "--out", str(runs / "1")], "holds shard 1/4", "of its own")
    refused(["merge", str(runs / "1"), "--out", str(runs / "1")], "is one of the shards")
    assert document(runs / "1") == before


@pytest.mark.parametrize("given", ["0/4", "5/4", "a/b", "4", "1/0", "-1/4", "1/4/2", "", "½/1"])
def test_wrong_shards(given: str, refused: Callable[..., None]) -> None:
    refused(["simulate", f"--shards={given}"], "--shards", "K/N", repr(given))


def test_more_shards_than_batches(refused: Callable[..., None]) -> None:
    refused(["simulate", "--batch-size", "100", "--shards", "1/5"], "only 4 shards", "--batch-size")


def test_every_image_is_in_one_shard() -> None:
    whole = images("test")
    for count, batch_size in ((1, 16), (3, 7), (5, 60), (6, 60), (360, 1)):
        shards = [
            ShardImages(whole=whole, shard=Shard(number=n, count=count), batch_size=batch_size)
            for n in range(1, count + 1)
        ]
        positions = np.concatenate([shard.positions for shard in shards])
        assert sorted(positions.tolist()) == list(range(360))
        assert max(map(len, shards)) - min(map(len, shards)) <= batch_size
        assert len({shard.digest() for shard in shards}) == count


def test_batches_of_a_shard_are_the_whole_runs() -> None:
    whole = images("test")
    shard = ShardImages(whole=whole, shard=Shard(number=2, count=3), batch_size=50)
    expected = list(whole.batches(50))[1::3]
    for found, wanted in zip(shard.batches(50), expected, strict=True):
        assert torch.equal(found[0], wanted[0])
        assert torch.equal(found[1], wanted[1])
    resumed = [labels for _, labels in shard.batches(50, 50)]
    assert torch.equal(torch.cat(resumed), torch.cat([labels for _, labels in expected[1:]]))
    assert torch.equal(shard.select([0, 51]), whole.select([50, 201]))
    for batch_size, start in ((49, 0), (50, 10)):
        with pytest.raises(ValueError, match="shards of batches of 50"):
            next(shard.batches(batch_size, start))

"""Points of the accuracy table before they are measured: keys, the time left, the images that a scheme asks for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golden.scheme import Reconstruction, load_scheme
from reports.accuracy_point import Cell, Clock, Plan
from reports.choice import Bits, Choice
from reports.workload import load_workload
from sim.accelerator import Accelerator
from tests.accuracy_sample import write_digits


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four test digits of each class as image files."""
    return write_digits(tmp_path_factory.mktemp("digits") / "val")


def test_keys_tell_points_apart(images: Path, tmp_path: Path) -> None:
    accelerator, repq, uniform = Accelerator.load(), load_scheme("repq"), load_scheme("uniform")
    given: dict[str, Any] = {
        "accelerator": accelerator,
        "batch_size": 4,
        "checked_images": 1,
        "float64_images": 0,
        "out": tmp_path,
    }
    faster = Accelerator(clock_mhz=accelerator.clock_mhz + 1, shares=accelerator.shares)
    bits, digits = Bits(weight=4, act=4, prefix="repq"), Choice(model="vitrtl_digits")

    default = Cell(repq, bits)

    def key(cell: Cell | None = default, choice: Choice = digits, **change: Any) -> str:
        return Plan(**given | change).key(load_workload(choice), cell)

    keys = [
        key(),
        key(None),
        key(Cell(repq, Bits(weight=4, act=3, prefix="repq"))),
        key(Cell(uniform, bits)),
        key(Cell(repq.model_copy(update={"reconstruction": Reconstruction()}), bits)),
        key(batch_size=5),
        key(checked_images=2),
        key(float64_images=5),
        key(accelerator=faster),
        key(choice=replace(digits, seed=1)),
        key(choice=replace(digits, images=images)),
        key(choice=replace(digits, images=images, limit=12)),
        key(choice=replace(digits, calib=images)),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]
    # The float model is one for all schemes.
    assert key(None, choice=replace(digits, scheme="uniform"), checked_images=2) == keys[1]


def test_the_time_left_is_judged_by_points_of_the_same_scheme() -> None:
    slow, quick, new = (
        [Bits(weight=bits, act=bits, prefix=scheme) for bits in (8, 4)] for scheme in ("slow", "quick", "new")
    )
    assert Clock({}).left(slow) == ""
    clock = Clock({slow[0]: 600.0, quick[0]: 20.0})
    assert clock.left(quick[1:]) == ", about 20 s left"
    assert clock.left([*slow[1:], *quick[1:]]) == ", about 10 min left"
    assert clock.left(new) == ", about 10 min left"  # 2 x 310 s


def test_a_workload_takes_as_many_calibration_images_as_its_scheme_asks_for() -> None:
    work = load_workload(Choice(model="vitrtl_digits", seed=5))
    few = load_scheme("uniform").model_copy(
        update={"calibration": load_scheme("uniform").calibration.model_copy(update={"images": 16})}
    )
    assert work.with_scheme(few).calibration.equal(work.calibration[:16])
    assert work.with_scheme(few).with_scheme(work.scheme).calibration.equal(work.calibration)
    assert work.with_scheme(load_scheme("uniform")).calibration is work.calibration

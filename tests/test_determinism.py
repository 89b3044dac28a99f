"""Calibration gives the same bits on every run, whatever the number of threads."""

from collections.abc import Iterator
from dataclasses import fields
from importlib.resources import files
from typing import Any

import pytest
import torch
from torch import Tensor

from golden.calibrate import Calibrated, calibrate
from golden.digits import images
from golden.families import from_timm
from golden.images import calibration_batch
from golden.pretrained import load_model
from golden.scheme import load_scheme
from golden.vit import Vit

BITS = 4
SHIPPED = sorted(
    f.name.removesuffix(".toml") for f in files("golden.schemes").iterdir() if f.name.endswith(".toml")
)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def vit() -> Vit:
    return from_timm(load_model("vitrtl_digits", None))


@pytest.fixture(scope="module")
def batch() -> Tensor:
    return calibration_batch(images("calib"), 32, seed=0)


def everything(calibrated: Calibrated) -> dict[str, Any]:
    """Every number that calibration decides; tensors as their bytes."""
    found: dict[str, Any] = {
        "digest": calibrated.digest,
        "peaks": (calibrated.residual_peak, calibrated.logit_peak),
        **calibrated.model.weights,
    }
    for group in (calibrated.activations, calibrated.weights):
        for name, codec in group.items():
            found |= {f"{name}: {f.name}": getattr(codec, f.name) for f in fields(codec)}  # type: ignore[arg-type]
    return {k: v.numpy().tobytes() if isinstance(v, Tensor) else v for k, v in found.items()}


@pytest.mark.parametrize("name", SHIPPED)
def test_threads_do_not_change_a_bit(name: str, vit: Vit, batch: Tensor) -> None:
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(everything(calibrate(vit, batch, load_scheme(name), weight_bits=BITS, act_bits=BITS)))
    assert len(found[0]) > 150
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["repq", "ptq4vit"])
def test_calibration_uses_one_thread_and_gives_the_others_back(name: str, vit: Vit, batch: Tensor) -> None:
    """What the above rests on: sums over tensors larger than the digits model's do differ with the threads."""
    torch.set_num_threads(2)
    seen: set[int] = set()

    def watch(_: str) -> None:
        seen.add(torch.get_num_threads())

    calibrate(vit, batch, load_scheme(name), weight_bits=BITS, act_bits=BITS, fitted=watch)
    assert seen == {1}
    assert torch.get_num_threads() == 2

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(vit, batch, load_scheme(name), weight_bits=BITS, act_bits=BITS, fitted=stop)
    assert torch.get_num_threads() == 2

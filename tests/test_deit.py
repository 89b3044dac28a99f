"""DeiT-Tiny on real images: reference and simulator agree on every integer, every site with fake quantisation.

Run with `--data DIR`; the folder is described at the `data` fixture.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golden.agreement import site_agreement
from golden.calibrate import calibrate
from golden.families import from_timm
from golden.images import ImageFolder, calibration_batch
from golden.lowering import lower
from golden.model import Through, forward
from golden.pretrained import load_model, preprocessing
from golden.reference import execute
from golden.scheme import load_scheme
from golden.vit import Vit
from sim.network import Executor

pytestmark = [pytest.mark.data, pytest.mark.slow]
MODEL = "deit_tiny_patch16_224"
CALIBRATION = 8
"""Images: fewer than a scheme asks for, since neither claim depends on how good the ranges are."""


@pytest.fixture(scope="module")
def model(data: Path) -> tuple[Vit, Tensor, Tensor]:
    """The model, a calibration batch and one validation image."""
    timm_model = load_model(MODEL, data / f"{MODEL}.safetensors")
    vit, transform = from_timm(timm_model), preprocessing(timm_model).transform
    calib, val = (
        ImageFolder(
            root=data / "imagenet" / part, transform=transform, class_count=vit.shape.classes,
            class_map=data / "imagenet" / "class_map.txt",
        )
        for part in ("calib", "val")
    )  # fmt: skip
    image = val.select([len(val) // 2])
    with torch.inference_mode():
        expected = timm_model(image)
    assert float((forward(vit, image, Through()) - expected).abs().max()) <= 1e-4
    return vit, calibration_batch(calib, CALIBRATION, seed=0), image


@pytest.mark.parametrize("bits", [4, 8])
def test_every_integer_and_every_site(bits: int, model: tuple[Vit, Tensor, Tensor]) -> None:
    vit, batch, image = model
    calibrated = calibrate(vit, batch, load_scheme("repq"), weight_bits=bits, act_bits=bits)
    program = lower(calibrated, {"model": MODEL})
    codes = calibrated.activations[program.input].encode(image).numpy()
    simulated = Executor(program).run(codes, capture="all").tensors

    compared = {program.input}
    for name, expected in execute(program, codes):
        assert int((expected != simulated[name]).sum()) == 0, name
        assert expected.shape == simulated[name].shape == (1, *program.tensors[name].shape)
        compared.add(name)
    assert compared == set(program.tensors)
    assert min(len(np.unique(values)) for values in simulated.values()) >= 8

    found = site_agreement(calibrated, program, simulated)
    assert {site.site for site in found} == {n for n, t in program.tensors.items() if t.site} - {
        program.input
    }
    assert max(site.largest for site in found) <= 1
    for site in found:
        # Half a percent, and one code: the class token's norm has 192.
        assert site.different <= 0.005 * site.codes + 1, site

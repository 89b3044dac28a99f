"""DeiT-Tiny on real images: reference and simulator agree on every integer, every site with fake quantisation.

Run with `--data DIR`; the folder is described at the `data` fixture.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from golden.program import Program
from golden.reference import execute
from golden.scheme import load_scheme
from golden.vit import Vit
from sim.network import Executor

pytestmark = [pytest.mark.data, pytest.mark.slow]
MODEL = "deit_tiny_patch16_224"
CALIBRATION = 8
"""Images: fewer than a scheme asks for, since neither claim depends on how good the ranges are."""
IMAGES = 8
SCHEMES = ("repq", "tsptq", "dopq", "adfq", "uniform", "fqvit", "ptq4vit")
NEAR_A_TIE = 2**-10
"""Of a code: a factor's 17 bits leave the value of a 7-bit code uncertain by so much."""


def near_ties(program: Program, site: str, tensors: Mapping[str, Any]) -> int:
    """Codes of a site that a requantizer makes of an accumulator near a tie: HALF_UP and HALF_EVEN part there.

    Sums of so few levels fall on ties by the thousand where the factor is near a simple fraction: 3/46 makes 1.5
    codes of 23 (docs/fidelity.md).
    """
    makers = {operation.output: operation for operation in program.operations}
    maker = makers[site]
    while maker.unit == "move":
        maker = makers[maker.inputs["x"]]
    if maker.unit != "requantizer":
        return 0
    constants = {name: program.constants.get(source) for name, source in maker.inputs.items()}
    scaled = tensors[maker.inputs["acc"]] * constants["multiplier"] / 2.0 ** constants["shift"]
    return int((abs(scaled % 1 - 0.5) <= NEAR_A_TIE).sum())


@pytest.fixture(scope="module")
def model(data: Path) -> tuple[Vit, Tensor, Tensor]:
    """The model, a calibration batch and some validation images."""
    timm_model = load_model(MODEL, data / f"{MODEL}.safetensors")
    vit, transform = from_timm(timm_model), preprocessing(timm_model).transform
    calib, val = (
        ImageFolder(
            root=data / "imagenet" / part, transform=transform, class_count=vit.shape.classes,
            class_map=data / "imagenet" / "class_map.txt",
        )
        for part in ("calib", "val")
    )  # fmt: skip
    images = val.select(list(range(0, len(val), len(val) // IMAGES))[:IMAGES])
    with torch.inference_mode():
        expected = timm_model(images)
    assert float((forward(vit, images, Through()) - expected).abs().max()) <= 1e-4
    return vit, calibration_batch(calib, CALIBRATION, seed=0), images


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_integer_and_every_site(scheme: str, bits: int, model: tuple[Vit, Tensor, Tensor]) -> None:
    vit, batch, images = model
    calibrated = calibrate(vit, batch, load_scheme(scheme), weight_bits=bits, act_bits=bits)
    program = lower(calibrated, {"model": MODEL})
    codes = calibrated.activations[program.input].encode(images).numpy()
    executor, compared = Executor(program), {program.input}
    for start in range(0, IMAGES, 2):
        few = codes[start : start + 2]
        simulated = executor.run(few, capture="all").tensors
        for name, expected in execute(program, few):
            assert int((expected != simulated[name]).sum()) == 0, name
            assert expected.shape == simulated[name].shape == (2, *program.tensors[name].shape)
            compared.add(name)
    assert compared == set(program.tensors)
    if bits >= 4:  # of 3-bit codes some tensors hold fewer
        some = (v for name, v in simulated.items() if not name.endswith(("_outliers", "_sparse")))
        assert min(len(np.unique(values)) for values in some) >= 4

    found = site_agreement(calibrated, program, simulated)
    assert {site.site for site in found} == {n for n, t in program.tensors.items() if t.site} - {
        program.input
    }
    assert max(site.largest for site in found) <= 1
    for site in found:
        # Half a percent, and two codes: the class token's norm has 192.
        explained = near_ties(program, site.site, simulated)
        assert site.different <= 0.005 * site.codes + 2 + explained, site

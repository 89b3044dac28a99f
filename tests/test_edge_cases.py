"""Inputs that no ordinary model has: dead channels, exact zeros, constants, numbers that are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from golden.calibrate import Calibrated, calibrate
from golden.codecs.base import Codec, Evidence, SiteFormat
from golden.codecs.channel_shift import ChannelShiftSite
from golden.codecs.log2 import Log2Site
from golden.codecs.sign_scale import SignScaleSite
from golden.codecs.tan import TanSite
from golden.codecs.two_scale import TwoScaleSite
from golden.codecs.uniform import UniformSite
from golden.digits import images
from golden.errors import UserError
from golden.families import from_timm
from golden.images import ImageFolder, TensorImages, calibration_batch
from golden.lowering import lower
from golden.model import Recorder, forward
from golden.pretrained import load_model
from golden.program import Program
from golden.reference import execute
from golden.scheme import load_scheme
from golden.vit import Vit
from sim.network import Executor

PERCENTILES = (0.999, 0.9999, 0.99999)
DEAD = {"blocks.0.norm1": {3: 2.0**-5, 9: 0.0}, "blocks.2.norm2": {0: -(2.0**-6), 47: 40.0}}
"""LayerNorm -> channels whose gamma is 0, and their beta; two channels of a public DeiT-Tiny have the small ones."""


@pytest.fixture(scope="module")
def vit() -> Vit:
    return from_timm(load_model("vitrtl_digits", None))


@pytest.fixture(scope="module")
def batch() -> Tensor:
    return calibration_batch(images("calib"), 32, seed=0)


@pytest.fixture(scope="module")
def dead(vit: Vit) -> Vit:
    """The digits model with dead channels."""
    weights = {name: value.clone() for name, value in vit.weights.items()}
    for norm, channels in DEAD.items():
        for channel, beta in channels.items():
            weights[f"{norm}.weight"][channel], weights[f"{norm}.bias"][channel] = 0.0, beta
    return vit.with_weights(weights)


@pytest.fixture(scope="module")
def peaked(vit: Vit) -> Vit:
    """The digits model with queries 100 times as large: most attention probabilities are exactly 0."""
    weights = {name: value.clone() for name, value in vit.weights.items()}
    for block in range(4):
        weights[f"blocks.{block}.attn.qkv.weight"][:48] *= 100
        weights[f"blocks.{block}.attn.qkv.bias"][:48] *= 100
    return vit.with_weights(weights)


def differing(program: Program, calibrated: Calibrated) -> tuple[int, dict[str, np.ndarray]]:
    """Integers in which golden and sim differ on four images; the simulator's tensors."""
    codes = calibrated.activations[program.input].encode(images("test").images[:4]).numpy()
    simulated = Executor(program).run(codes, capture="all").tensors
    count = sum(int((simulated[name] != value).sum()) for name, value in execute(program, codes))
    return count, dict(simulated)


@pytest.mark.parametrize("name", ["repq", "dopq", "tsptq", "fqvit"])
def test_dead_channels_reach_the_simulator(name: str, dead: Vit, batch: Tensor) -> None:
    calibrated = calibrate(dead, batch, load_scheme(name), weight_bits=4, act_bits=4)
    assert all(value.isfinite().all() for value in calibrated.model.weights.values())
    count, tensors = differing(lower(calibrated, {}), calibrated)
    assert count == 0
    for norm, channels in DEAD.items():
        assert all(len(np.unique(tensors[norm][..., channel])) == 1 for channel in channels)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_dead_channels_keep_their_constant(bits: int, dead: Vit, batch: Tensor) -> None:
    """Folded or not, the layer behind multiplies exactly beta: no share of the range is lost to the constant."""
    model = dead.to(torch.float64)
    calibrated = calibrate(model, batch.double(), load_scheme("repq"), weight_bits=bits, act_bits=bits)
    for norm, layer in [pair for pair in model.layernorm_pairs() if pair[0] in DEAD]:
        gamma, beta = (calibrated.model.weights[f"{norm}.{part}"] for part in ("weight", "bias"))
        codec = calibrated.activations[norm]
        held = codec.fake(F.layer_norm(torch.randn(5, 48, dtype=torch.float64), (48,), gamma, beta))
        w, folded = model.weights[f"{layer}.weight"], calibrated.model.weights[f"{layer}.weight"]
        for channel in DEAD[norm]:
            assert gamma[channel] == 0
            # (beta + s r2) / r1 in steps is r2 = z - z~ and the constant's own code, 0 or +-1: whole, hence exact.
            steps = float(beta[channel] / codec.scale)  # type: ignore[attr-defined]
            assert steps == pytest.approx(round(steps), abs=1e-9)
            inside = 0 <= round(steps) + int(codec.zero_point) < 1 << bits  # type: ignore[attr-defined]
            assert inside
            torch.testing.assert_close(held[:, channel], beta[channel].expand(5), rtol=1e-12, atol=1e-300)
            ratio = folded[:, channel] / w[:, channel]
            torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-12, atol=0)


# Softmax with exact zeros.

SOFTMAX: dict[str, SiteFormat] = {
    "log2": Log2Site(format="log2", base="2"),
    "log_sqrt2": Log2Site(format="log2", base="sqrt2"),
    "tan": TanSite(format="tan"),
    "two_scale": TwoScaleSite(format="two_scale"),
    "uniform": UniformSite(format="uniform"),
}


@pytest.mark.parametrize("name", SOFTMAX)
def test_exact_zeros_stay_zero(name: str) -> None:
    """One-hot rows, a row of zeros (a masked token), ordinary rows."""
    x = torch.softmax(torch.randn(2, 3, 17, 17, generator=torch.Generator().manual_seed(1)) * 3, dim=-1)
    x[0, 0] = torch.eye(17)
    x[1, 2, 5] = 0.0
    evidence = Evidence(percentiles=PERCENTILES, partner=torch.ones(2, 3, 17, 4))
    fitted = SOFTMAX[name].fit(x, 4, evidence)
    for codec in (fitted, fitted.with_zero("hardware")):
        fake = codec.fake(x)
        assert fake.isfinite().all()
        assert fake[x == 0].eq(0).all()
        assert codec.fake(torch.zeros(3)).tolist() == [0, 0, 0]
        assert (fake[0, 0].diagonal() > 0.6).all()


@pytest.mark.parametrize("name", ["repq", "fqvit", "dopq", "ptq4vit", "uniform"])
def test_peaked_attention_reaches_the_simulator(name: str, peaked: Vit, batch: Tensor) -> None:
    recorder = Recorder()
    forward(peaked, batch, recorder)
    assert (recorder.values["blocks.1.attn.softmax"] == 0).float().mean() > 0.5
    calibrated = calibrate(peaked, batch, load_scheme(name), weight_bits=4, act_bits=4)
    assert differing(lower(calibrated, {}), calibrated)[0] == 0


# Constants.

FORMATS: dict[str, SiteFormat] = {
    **SOFTMAX,
    "sign_scale": SignScaleSite(format="sign_scale"),
    "ptf": ChannelShiftSite(format="channel_shift", rule="ptf"),
    "outlier": ChannelShiftSite(format="channel_shift", rule="outlier"),
    "channels": UniformSite(format="uniform", granularity="channel_to_tensor"),
}
POSITIVE = ("log2", "log_sqrt2", "tan", "two_scale")
"""Formats of values above 0, which refuse a tensor that has none."""
CONSTANTS = (0.0, 0.37, -0.25, 1e-30, -1e-30, 1e30, -1e30)


def fit(name: str, value: float) -> tuple[Codec, Tensor]:
    x = torch.full((2, 3, 5, 4), value)
    evidence = Evidence(percentiles=PERCENTILES, partner=torch.ones(2, 3, 4, 2) if name == "tan" else None)
    return FORMATS[name].fit(x, 4, evidence), x


@pytest.mark.parametrize("value", CONSTANTS)
@pytest.mark.parametrize("name", FORMATS)
def test_constant_tensors_have_a_codec_or_a_reason(name: str, value: float) -> None:
    if name in POSITIVE and value <= 0:
        with pytest.raises(
            ValueError, match="no percentile gives a finite error: the tensor holds"
        ) as caught:
            fit(name, value)
        assert "\n" not in str(caught.value)
        return
    codec, x = fit(name, value)
    scale: Tensor = codec.scale  # type: ignore[attr-defined]
    assert scale.isfinite().all()
    assert (scale > 0).all()
    codes, found = codec.encode(x), codec.fake(x)
    assert codec.decode(codes, x.dtype).equal(found)
    assert int(codes.min()) >= 0
    assert int(codes.max()) < 1 << codec.bits
    # Elsewhere squared errors overflow or vanish, and a search has nothing to go by.
    if value == 0 or 1e-19 < abs(value) < 1e19:
        torch.testing.assert_close(found, x, rtol=0.07, atol=0)  # half a step of 7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_negligible_and_huge_ranges_have_a_uniform_codec(dtype: torch.dtype) -> None:
    for scale in (1e-44, 1e-30, 1e30):
        x = (torch.linspace(-1, 1, 200) * scale).to(dtype)
        codec = UniformSite(format="uniform").fit(x, 4, Evidence(percentiles=(1.0,)))
        assert codec.fake(x).isfinite().all()
        assert (codec.fake(x) - x).abs().max() <= 0.14 * scale + 3e-45


# Numbers that are none, and too few images.


def refusal(vit: Vit, batch: Tensor, scheme: str = "repq") -> str:
    with pytest.raises(UserError) as caught:
        calibrate(vit, batch, load_scheme(scheme), weight_bits=4, act_bits=4)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_calibration_refuses_what_is_not_finite(value: float, vit: Vit, batch: Tensor) -> None:
    w = vit.weights["blocks.2.mlp.fc1.bias"].clone()
    w[5] = value
    broken = vit.with_weights({**vit.weights, "blocks.2.mlp.fc1.bias": w})
    assert "tensor blocks.2.mlp.fc1.bias of the model is not finite" in refusal(broken, batch)
    pixels = batch.clone()
    pixels[7, 0, 3, 3] = value
    assert "image 7 of the batch is not finite" in refusal(vit, pixels)


def test_calibration_names_the_site_that_overflows(vit: Vit, batch: Tensor) -> None:
    names = ("patch_embed.proj.bias", "pos_embed")  # finite each, and added to one another
    huge = vit.with_weights(
        {**vit.weights, **{name: torch.full_like(vit.weights[name], 3e38) for name in names}}
    )
    assert "values at site embed are not finite" in refusal(huge, batch)


def test_calibration_names_the_site_without_a_codec(vit: Vit, batch: Tensor, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no reason")

    monkeypatch.setattr(Log2Site, "fit", fail)
    assert "site blocks.0.attn.softmax cannot be fitted: no reason" in refusal(vit, batch)


def test_images_in_memory_must_be_finite() -> None:
    pixels = torch.zeros(5, 1, 2, 2)
    pixels[3, 0, 1, 1] = torch.nan
    with pytest.raises(UserError, match="mine: image 3 is not finite"):
        TensorImages(name="mine", images=pixels, labels=torch.zeros(5, dtype=torch.int64))


def test_image_files_must_be_finite_after_preprocessing(tmp_path: Path) -> None:
    """A normalisation that divides by 0, for the one image that is black."""
    (tmp_path / "cat").mkdir()
    for name, level in (("a.png", 9), ("b.png", 0), ("c.png", 3)):
        Image.new("L", (4, 4), level).save(tmp_path / "cat" / name)

    def divide(image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32).copy()).unsqueeze(0)
        return pixels / pixels.max()

    folder = ImageFolder(root=tmp_path, transform=divide, class_count=1)
    for read in (lambda: list(folder.batches(2)), lambda: calibration_batch(folder, 3, seed=0)):
        with pytest.raises(UserError, match=r"image .*b\.png is not finite after preprocessing"):
            read()


def test_too_few_calibration_images_are_counted() -> None:
    few = TensorImages(name="mine", images=torch.zeros(5, 1, 2, 2), labels=torch.zeros(5, dtype=torch.int64))
    with pytest.raises(UserError, match="calibration needs 32 images, but mine, 5 images has only 5"):
        calibration_batch(few, 32, seed=0)

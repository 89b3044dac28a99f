"""DopQ-ViT's median against RepQ-ViT's mean as layer-wise scale: inert as long as nothing is rounded on the way."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from golden.calibrate import Calibrated, calibrate
from golden.codecs.uniform import UniformCodec, fit_uniform_rows
from golden.digits import images
from golden.fakequant import FakeQuantizer, fakequant_logits
from golden.families import from_timm
from golden.images import calibration_batch
from golden.lowering import lower
from golden.pretrained import load_model
from golden.reference import execute
from golden.reparameterize import fold_channel_scales
from golden.scheme import Scheme, load_scheme
from golden.vit import Vit
from sim.network import Executor

DTYPE = torch.float64
BITS = 4
Calibrate = Callable[..., Calibrated]


def scheme(**options: Any) -> Scheme:
    """`repq` with other options of the post-LayerNorm site."""
    repq = load_scheme("repq")
    norm = repq.sites["post_layernorm"].model_copy(update=options)
    return repq.model_copy(update={"sites": {**repq.sites, "post_layernorm": norm}})


@pytest.fixture(scope="module")
def vit() -> Vit:
    return from_timm(load_model("vitrtl_digits", None)).to(DTYPE)


@pytest.fixture(scope="module")
def calibrated(vit: Vit) -> Calibrate:
    """The digits model at W4/A4 in float64, once per set of options."""
    batch = calibration_batch(images("calib"), 32, seed=0).to(DTYPE)

    @cache
    def make(**options: Any) -> Calibrated:
        return calibrate(vit, batch, scheme(**options), weight_bits=BITS, act_bits=BITS)

    return make


class CodeRecorder(FakeQuantizer):
    """The fake-quantised model, keeping every site's codes."""

    def __init__(self, calibrated: Calibrated) -> None:
        super().__init__(calibrated)
        self.codecs = calibrated.activations
        self.codes: dict[str, Tensor] = {}

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        if site in self.codecs:
            self.codes[site] = self.codecs[site].encode(x)
        return super().activation(site, kind, x, partner)


def integers(calibrated: Calibrated) -> tuple[dict[str, Tensor], Tensor]:
    """Codes of every site on 60 test images and of every weight; logits."""
    recorder = CodeRecorder(calibrated)
    logits = fakequant_logits(calibrated, images("test").images[:60].to(DTYPE), recorder)
    for layer, codec in calibrated.weights.items():
        recorder.codes[f"{layer}.weight"] = codec.encode(calibrated.model.weights[f"{layer}.weight"])
    return recorder.codes, logits


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    assert a.keys() == b.keys()
    return {name for name in a if not a[name].equal(b[name])}


def scale_of(calibrated: Calibrated, norm: str) -> float:
    codec = calibrated.activations[norm]
    assert isinstance(codec, UniformCodec)
    assert codec.scale.ndim == 0
    return float(codec.scale)


def test_mean_and_median_are_one_network(calibrated: Calibrate) -> None:
    """All of W is multiplied by one constant, which its scale takes up: no integer changes anywhere."""
    mean, median = calibrated(target="mean"), calibrated(target="median")
    ratios = [scale_of(mean, norm) / scale_of(median, norm) for norm, _ in mean.model.layernorm_pairs()]
    assert max(ratios) / min(ratios) > 1.05
    assert 1.0 not in ratios
    (codes, logits), (other_codes, other_logits) = integers(mean), integers(median)
    assert len(codes) == 52  # 34 sites, 18 layers
    assert differing(codes, other_codes) == set()
    assert float((logits - other_logits).abs().max()) <= 1e-9 * float(logits.abs().max())


@pytest.mark.parametrize("options", [{"ratio": "power_of_two"}, {"gamma_bits": 6}])
def test_mean_and_median_differ_where_the_form_is_not_exact(
    options: dict[str, Any], calibrated: Calibrate
) -> None:
    codes = [integers(calibrated(target=target, **options))[0] for target in ("mean", "median")]
    found = differing(*codes)
    assert "blocks.0.norm1" in found
    assert ("blocks.0.attn.qkv.weight" in found) == (
        "ratio" in options
    )  # gamma_bits leaves the weights alone


def test_defaults_are_the_exact_form(calibrated: Calibrate) -> None:
    plain, spelt = calibrated(), calibrated(target="mean", ratio="exact", gamma_bits=None)
    assert differing(integers(plain)[0], integers(spelt)[0]) == set()
    for name, value in plain.model.weights.items():
        assert value.equal(spelt.model.weights[name])


def example(seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Parameters of a LayerNorm with 20 unlike channels, all away from 0, and what it puts out."""
    g = torch.Generator().manual_seed(seed)
    weights = {
        "n.weight": torch.exp(torch.randn(20, generator=g, dtype=DTYPE)),
        "n.bias": torch.randn(20, generator=g, dtype=DTYPE) * 6,
        "f.weight": torch.randn(7, 20, generator=g, dtype=DTYPE),
        "f.bias": torch.randn(7, generator=g, dtype=DTYPE),
    }
    return weights, torch.randn(300, 20, generator=g, dtype=DTYPE)


@pytest.mark.parametrize("target", ["mean", "median"])
def test_power_of_two_ratios_shift_gamma_and_keep_the_function(target: Any) -> None:
    weights, x = example(1)
    y = F.layer_norm(x, (20,), weights["n.weight"], weights["n.bias"])
    channel = fit_uniform_rows(y.T.contiguous(), BITS, (1.0,))
    folded = fold_channel_scales(weights, "n", "f", channel, target, ratio="power_of_two")
    new = weights | dict(folded.parameters)
    exponents = torch.log2(weights["n.weight"] / new["n.weight"])
    assert exponents.equal(exponents.round())
    assert len(exponents.unique()) > 3
    assert (new["f.weight"] / weights["f.weight"]).allclose(torch.exp2(exponents).expand(7, 20), rtol=1e-15)
    z = F.layer_norm(x, (20,), new["n.weight"], new["n.bias"])
    torch.testing.assert_close(
        F.linear(z, new["f.weight"], new["f.bias"]), F.linear(y, weights["f.weight"], weights["f.bias"])
    )
    # Steps are off by up to √2, ranges stay where they were: channels far from 0 are not cut off.
    assert (folded.codec.scale * torch.exp2(exponents) / channel.scale).log2().abs().max() <= 0.5
    error = (folded.codec.fake(z) - z) * torch.exp2(exponents)
    spans = y.amax(0) - y.amin(0)
    assert (error.abs().amax(0) < 0.25 * spans).all()


def test_gamma_and_beta_in_fixed_point() -> None:
    weights, x = example(2)
    y = F.layer_norm(x, (20,), weights["n.weight"], weights["n.bias"])
    channel = fit_uniform_rows(y.T.contiguous(), BITS, (1.0,))
    exact = fold_channel_scales(weights, "n", "f", channel)
    for bits in (2, 5, 8, 18):
        rounded = fold_channel_scales(weights, "n", "f", channel, gamma_bits=bits)
        for name in ("n.weight", "n.bias"):
            wanted, held = exact.parameters[name], rounded.parameters[name]
            top = (1 << (bits - 1)) - 1
            # The step: the power of two at which the largest magnitude takes more than half of the codes.
            step = 2.0 ** float(torch.ceil(torch.log2(wanted.abs().max() / top)))
            assert (held / step).equal((wanted / step).round())
            assert top / 2 - 1 < float((held / step).abs().max()) <= top
        for name in ("f.weight", "f.bias"):
            assert rounded.parameters[name].equal(exact.parameters[name])


@pytest.mark.parametrize("options", [{"ratio": "power_of_two", "target": "median"}, {"gamma_bits": 6}])
def test_both_options_become_integers(options: dict[str, Any], vit: Vit) -> None:
    batch = calibration_batch(images("calib"), 32, seed=0)
    calibrated = calibrate(vit.to(torch.float32), batch, scheme(**options), weight_bits=BITS, act_bits=BITS)
    program = lower(calibrated, {})
    codes = calibrated.activations[program.input].encode(images("test").images[:4]).numpy()
    simulated = Executor(program).run(codes, capture="all").tensors
    assert all((simulated[name] == value).all() for name, value in execute(program, codes))
    assert scale_of(calibrated, "blocks.0.norm1") > 0

"""Folding channel scales changes neither the float function nor a single activation code."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from golden.calibrate import calibrate, fit_weight
from golden.codecs.uniform import UniformCodec, fit_uniform_rows
from golden.digits import images
from golden.families import from_timm
from golden.images import calibration_batch
from golden.model import Through, forward
from golden.pretrained import load_model
from golden.reparameterize import Folded, fold_channel_scales
from golden.scheme import load_scheme

CHANNELS, OUTPUTS, TOKENS = 24, 10, 197
PERCENTILES = (0.999, 0.9999, 0.99999)


def example(seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Parameters whose channels differ 30 times in range, two of them dead, and normalised tokens."""
    g = torch.Generator().manual_seed(seed)
    weights = {
        "n.weight": torch.exp(torch.randn(CHANNELS, generator=g, dtype=torch.float64)),
        "n.bias": torch.randn(CHANNELS, generator=g, dtype=torch.float64) * 3,
        "f.weight": torch.randn(OUTPUTS, CHANNELS, generator=g, dtype=torch.float64),
        "f.bias": torch.randn(OUTPUTS, generator=g, dtype=torch.float64),
    }
    weights["n.weight"][3] = weights["n.weight"][8] = 0.0  # as two channels of the public DeiT-Tiny
    weights["n.bias"][3], weights["n.bias"][8] = 2.0**-5, -(2.0**-6)
    return weights, torch.randn(TOKENS, CHANNELS, generator=g, dtype=torch.float64)


def normed(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    return F.layer_norm(x, (CHANNELS,), weights["n.weight"], weights["n.bias"])


def folded(weights: dict[str, Tensor], x: Tensor, bits: int) -> tuple[UniformCodec, Folded]:
    channel = fit_uniform_rows(normed(weights, x).T.contiguous(), bits, PERCENTILES)
    return channel, fold_channel_scales(weights, "n", "f", channel)


@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("seed", [1, 2])
def test_float_function_and_codes_stay(seed: int, bits: int) -> None:
    weights, x = example(seed)
    channel, result = folded(weights, x, bits)
    after = weights | dict(result.parameters)
    for name in result.parameters:
        assert not after[name].equal(weights[name])

    before_codes, after_codes = channel.encode(normed(weights, x)), result.codec.encode(normed(after, x))
    # A channel that is constant sits on its code exactly; the others move by float rounding only.
    assert int((before_codes != after_codes).sum()) == 0
    assert len(before_codes.unique()) > 0.9 * (1 << bits)

    expected = F.linear(normed(weights, x), weights["f.weight"], weights["f.bias"])
    found = F.linear(normed(after, x), after["f.weight"], after["f.bias"])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()) * CHANNELS)


def test_target_is_the_mean_with_an_integer_zero_point() -> None:
    weights, x = example(3)
    channel, result = folded(weights, x, 4)
    assert result.codec.scale.ndim == result.codec.zero_point.ndim == 0
    assert float(result.codec.scale) == pytest.approx(float(channel.scale.mean()), rel=1e-12)
    assert result.codec.zero_point.dtype == torch.int64
    assert int(result.codec.zero_point) == round(float(channel.zero_point.double().mean()))


@pytest.mark.parametrize("bits", [4, 8])
def test_median_and_mean_give_the_same_integers(bits: int) -> None:
    """DopQ-ViT's median scale multiplies all weights by one constant, which their quantiser absorbs."""
    weights, x = example(4)
    scheme = load_scheme("repq")
    channel, mean = folded(weights, x, bits)
    median = fold_channel_scales(weights, "n", "f", channel, "median")
    assert float(median.codec.scale) == float(channel.scale.sort().values[(CHANNELS - 1) // 2])
    assert not median.codec.scale.equal(mean.codec.scale)
    codes = []
    for result in (mean, median):
        after = weights | dict(result.parameters)
        weight = fit_weight(after["f.weight"], bits, scheme)
        codes.append(
            (result.codec.encode(normed(after, x)), weight.encode(after["f.weight"]), weight.zero_point)
        )
    assert all(a.equal(b) for a, b in zip(*codes, strict=True))


def test_codes_would_differ_without_the_offset() -> None:
    """The check above can fail: a fold that forgets z moves codes."""
    weights, x = example(1)
    channel, result = folded(weights, x, 4)
    forgetful = replace(channel, zero_point=torch.zeros_like(channel.zero_point))
    wrong = weights | dict(fold_channel_scales(weights, "n", "f", forgetful).parameters)
    assert int((channel.encode(normed(weights, x)) != result.codec.encode(normed(wrong, x))).sum()) > 100


def test_the_whole_model_computes_the_same_function() -> None:
    vit = from_timm(load_model("vitrtl_digits", None)).to(torch.float64)
    batch = calibration_batch(images("calib"), 32, seed=0).double()
    calibrated = calibrate(vit, batch, load_scheme("repq"), weight_bits=4, act_bits=4)
    for norm, layer in vit.layernorm_pairs():
        for name in (f"{norm}.weight", f"{layer}.weight", f"{layer}.bias"):
            assert not calibrated.model.weights[name].equal(vit.weights[name])
        assert calibrated.activations[norm].scale.ndim == 0  # type: ignore[attr-defined]
    expected, found = (forward(model, batch, Through()) for model in (vit, calibrated.model))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)

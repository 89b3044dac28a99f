"""What the papers say of their quantisers, held against ours: errors, thresholds, scales that drop out or do not."""

from fractions import Fraction
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from golden.codecs.base import Evidence
from golden.codecs.channel_shift import ChannelShiftCodec, ChannelShiftSite
from golden.codecs.log2 import Log2Codec
from golden.codecs.sign_scale import SignScaleCodec
from golden.codecs.tan import TanCodec
from golden.codecs.two_scale import TwoScaleCodec, TwoScaleSite
from golden.codecs.uniform import fit_uniform, fit_uniform_rows
from golden.digits import images
from golden.families import from_timm
from golden.images import calibration_batch
from golden.model import Recorder, forward
from golden.pretrained import load_model
from golden.reparameterize import fold_channel_scales
from golden.vit import Vit

PERCENTILES = (0.999, 0.9999, 0.99999)
DTYPE = torch.float64
Target = Literal["mean", "median"]
TARGETS: tuple[Target, ...] = ("mean", "median")


@pytest.fixture(scope="module")
def vit() -> Vit:
    return from_timm(load_model("vitrtl_digits", None)).to(DTYPE)


@pytest.fixture(scope="module")
def batch() -> Tensor:
    return calibration_batch(images("calib"), 32, seed=0).to(DTYPE)


@pytest.fixture(scope="module")
def tensors(vit: Vit, batch: Tensor) -> dict[str, Tensor]:
    """Every site of the float model."""
    recorder = Recorder()
    forward(vit, batch, recorder)
    return recorder.values


# RepQ-ViT: scale reparameterisation, zero points, log√2.


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("target", TARGETS)
def test_reparameterised_layernorms_have_the_same_codes(
    target: Target, bits: int, vit: Vit, tensors: dict[str, Tensor]
) -> None:
    """Real LayerNorm outputs: γ/r1 and (β + s r2)/r1 under the layer's one scale give every code of the channels'."""
    for norm, layer in vit.layernorm_pairs():
        y, (gamma, beta) = tensors[norm], (vit.weights[f"{norm}.{name}"] for name in ("weight", "bias"))
        channel = fit_uniform_rows(y.flatten(0, -2).T.contiguous(), bits, PERCENTILES)
        folded = fold_channel_scales(vit.weights, norm, layer, channel, target)
        new_gamma, new_beta = (folded.parameters[f"{norm}.{name}"] for name in ("weight", "bias"))
        after = (y - beta) / gamma * new_gamma + new_beta
        assert folded.codec.encode(after).equal(channel.encode(y))
        assert (channel.scale.max() / channel.scale.min()) > 1.5  # the channels do differ
        wide, narrow = folded.parameters[f"{layer}.weight"], vit.weights[f"{layer}.weight"]
        bias, before = folded.parameters[f"{layer}.bias"], vit.weights[f"{layer}.bias"]
        torch.testing.assert_close(
            F.linear(after, wide, bias), F.linear(y, narrow, before), rtol=0, atol=1e-11
        )


@pytest.mark.parametrize(("low", "high"), [(100.0, 101.0), (-7.5, -7.0), (0.25, 0.3)])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_one_sided_data_put_the_zero_point_outside_the_codes(low: float, high: float, bits: int) -> None:
    """No clamp of the zero point, no stretch of the range to 0: all codes serve the data, to half a step."""
    x = torch.linspace(low, high, 1001, dtype=DTYPE)
    codec = fit_uniform(x, bits, (1.0,))
    top = (1 << bits) - 1
    assert int(codec.zero_point) < 0 or int(codec.zero_point) > top
    assert codec.encode(x).unique().tolist() == list(range(top + 1))
    # The range is whole steps wide but its ends need not be whole steps from 0: there, rounding z adds half a step.
    codes, error = codec.encode(x), (codec.fake(x) - x).abs() / codec.scale
    assert error[(codes > 0) & (codes < top)].max() <= 0.5 + 1e-9
    assert error.max() <= 1 + 1e-9
    every = torch.arange(top + 1)
    assert codec.encode(codec.decode(every, DTYPE)).equal(every)


def test_log_thresholds_in_one_octave() -> None:
    """√2 for base 2; 2^¼ = 1.1892 and 2^¾ = 1.6818 for base √2 (a leading-one encoder compares mantissas with them)."""
    mantissa = torch.linspace(1, 2, 100_001, dtype=DTYPE)
    for steps, expected in ((1, [1.4142]), (2, [1.1892, 1.6818])):
        codec = Log2Codec(
            bits=4, steps_per_octave=steps, scale=torch.tensor(2.0, dtype=DTYPE), zero="hardware"
        )
        codes = codec.encode(mantissa)
        edges = mantissa[1:][codes.diff() != 0]
        assert edges.tolist() == pytest.approx(expected, abs=6e-5)
        assert codes[[0, -1]].tolist() == [steps, 0]


# DopQ-ViT: TanQ.


def tan(bits: int, alpha: float, beta: float, entry_bits: int = 12) -> TanCodec:
    return TanCodec(bits=bits, entry_bits=entry_bits, alpha=alpha, beta=beta, scale=torch.tensor(0.9))


def test_tangent_levels_of_three_bits() -> None:
    codec = tan(3, 1.5, 1.5)
    assert codec.table == [0, 38, 127, 532, 3563, 3968, 4057, 4095]
    assert [round(entry / 4095, 3) for entry in codec.table] == [
        0,
        0.009,
        0.031,
        0.130,
        0.870,
        0.969,
        0.991,
        1,
    ]


def test_smallest_tangent_step_of_four_bits() -> None:
    steps = [tan(4, a, a, entry_bits=16).table[1] / 65535 for a in (1.40, 1.45, 1.50, 1.53)]
    assert [round(step, 4) for step in steps] == [0.0092, 0.0063, 0.0036, 0.0020]


@pytest.mark.parametrize("angle", [1.1, 1.3, 1.5])
@pytest.mark.parametrize("bits", [3, 4, 6])
def test_tangent_codes_are_fine_at_both_ends(bits: int, angle: float) -> None:
    """Tangent as the encoder: steps shrink towards 0 and towards 1. As the decoder it would be the other way round."""
    table = torch.tensor(tan(bits, angle, angle, entry_bits=16).table)
    steps = table.diff()
    middle = len(steps) // 2
    assert (steps[: middle + 1].diff() > 0).all()
    assert (steps[middle:].diff() < 0).all()
    assert (steps - steps.flip(0)).abs().max() <= 1  # mirror images, to the rounding of the entries
    assert table[0] == 0
    assert table[-1] == 65535


@pytest.mark.parametrize("entry_bits", [8, 10, 12, 16])
@pytest.mark.parametrize(("alpha", "beta"), [(1.5, 0.2), (0.9, 1.4), (1.3, 0.6)])
def test_tangent_angles_set_the_density_of_their_own_end(alpha: float, beta: float, entry_bits: int) -> None:
    codec = tan(4, alpha, beta, entry_bits)
    table = torch.tensor(codec.table)
    assert table.min() == 0
    assert table.max() == (1 << entry_bits) - 1
    assert (table.diff() >= 0).all()
    assert (table.diff()[0] < table.diff()[-1]) == (alpha > beta)
    limits = torch.tensor(codec.thresholds)
    assert (limits.diff() > 0).all()
    half = 0.5 / codec.entry_max
    assert (table[:-1] / codec.entry_max - half <= limits).all()
    assert (limits <= table[1:] / codec.entry_max + half).all()


def test_sorted_values_are_encoded_as_any(tensors: dict[str, Tensor]) -> None:
    x = tensors["blocks.1.attn.softmax"].float()
    ascending, order = torch.unique(x, return_inverse=True)
    for codec in (tan(4, 1.3, 0.6), tan(3, 0.9, 1.4), tan(6, 1.5, 0.2)):
        assert codec.fake_sorted(ascending)[order].equal(codec.fake(x))
        on = codec.scale * torch.tensor(codec.thresholds, dtype=torch.float32)  # values on thresholds
        assert codec.fake_sorted(on).equal(codec.fake(on))


# TSPTQ-ViT: V-2SF, O-2SF. PTQ4ViT: the sign's region. FQ-ViT: PTF.


@pytest.mark.parametrize(("bits", "shift"), [(b, m) for b in (3, 4, 6) for m in range(1, b + 1)])
def test_two_scale_errors_by_region(bits: int, shift: int) -> None:
    """Half a fine step below 2^k, half a coarse one of 2^m above, saturation at the end, no hole in between."""
    k, step = bits - 1, 0.125
    codec = TwoScaleCodec(bits=bits, shift=shift, scale=torch.tensor(step, dtype=DTYPE))
    fine_end, top = 1 << k, ((1 << k) - 1) << shift
    x = torch.arange(0, step * (top + 4), step / 16, dtype=DTYPE)
    codes, error = codec.encode(x), (codec.fake(x) - x).abs() / step
    steps = x / step
    fine = steps < fine_end - 0.5
    coarse = ~fine & (steps <= top)
    assert error[fine].max() == 0.5
    # The wide integer is rounded first, so half a fine step comes on top of half a coarse one.
    assert (1 << shift) / 2 <= error[coarse].max() <= (1 << shift) / 2 + 0.5
    assert codec.fake(x[steps >= top]).unique().tolist() == [step * top]
    assert codec.encode(torch.tensor([9e9, -1.0], dtype=DTYPE)).tolist() == [(1 << bits) - 1, 0]
    # With the flag set, payloads below 2^(k - m) cannot occur (for m = k + 1 only 0): their values are fine codes.
    flagged = codes[codes >= fine_end].unique() - fine_end
    assert flagged.tolist() == list(range(max(1, fine_end >> shift), fine_end))
    one = codec.decode(torch.tensor([1, fine_end + 1]), DTYPE)
    assert float(one[1] / one[0]) == 1 << shift


def test_two_scale_search_stays_where_there_is_no_hole() -> None:
    """From m = k + 2 on, values too large for the fine region round to 0 in the coarse one."""
    bits, k = 4, 3
    beyond = TwoScaleCodec(bits=bits, shift=k + 2, scale=torch.tensor(1.0, dtype=DTYPE))
    assert beyond.fake(torch.tensor([7.0, 8.0, 15.0, 16.0], dtype=DTYPE)).tolist() == [7, 0, 0, 32]
    # Values that ask for it all the same: none lies in the hole.
    x = torch.cat([torch.linspace(0, 1 / 40, 4000, dtype=DTYPE), torch.ones(50, dtype=DTYPE)]).unsqueeze(0)
    evidence = Evidence(percentiles=(1.0,))
    fitted = TwoScaleSite(format="two_scale").fit(x, bits, evidence)
    assert fitted.shift == k + 1
    asked = TwoScaleCodec(bits=bits, shift=k + 2, scale=fitted.scale / 2)
    assert evidence.error(x, asked.fake(x)) < evidence.error(x, fitted.fake(x))


@pytest.mark.parametrize("shift", [0, 2, 5])
def test_sign_scale_errors_by_sign(shift: int) -> None:
    bits, step = 4, 0.25
    codec = SignScaleCodec(bits=bits, shift=shift, scale=torch.tensor(step, dtype=DTYPE))
    payload = (1 << (bits - 1)) - 1
    negative = torch.arange(-payload * step, 0, step / 16, dtype=DTYPE)
    positive = torch.arange(0, (payload << shift) * step, step / 16, dtype=DTYPE)
    assert (codec.fake(negative) - negative).abs().max() == step / 2
    worst = float((codec.fake(positive) - positive).abs().max()) / step
    assert (1 << shift) / 2 <= worst <= (1 << shift) / 2 + (0.5 if shift else 0)
    # The flag is the sign; a value that rounds to 0 from below is the positive region's 0.
    whole = torch.cat([negative, positive])
    assert (codec.encode(whole) < 1 << (bits - 1)).equal(torch.round(whole / step) < 0)
    assert codec.fake(torch.tensor([-1e6, 1e6], dtype=DTYPE)).tolist() == [
        -payload * step,
        (payload << shift) * step,
    ]


def test_outlier_channels_are_those_far_above_the_median(tensors: dict[str, Tensor]) -> None:
    x = tensors["blocks.2.attn.residual"].clone()
    x[..., 7] *= 60
    x[..., 20] *= 9
    x[..., 22:] = 0  # dead channels, more than half, are no outliers and do not count for the median
    amplitude = x.abs().amax((0, 1))
    for tau in (2.0, 4.0, 40.0):
        site = ChannelShiftSite(format="channel_shift", rule="outlier", threshold=tau)
        codec = site.fit(x, 8, Evidence(percentiles=(1.0,)))
        expected = amplitude > tau * amplitude[amplitude > 0].median()
        assert (codec.shifts > 0).equal(expected)
        assert expected[7]
        assert len(codec.shifts.unique()) == 2  # one mask bit per channel, one shift per layer
        # The shift is the least one that brings the largest outlier into the others' range.
        assert amplitude[~expected].max() * 2 ** int(codec.shifts.max()) >= amplitude.max()
        assert amplitude[~expected].max() * 2 ** (int(codec.shifts.max()) - 1) < amplitude.max()


def test_ptf_exponents_are_the_best_of_four(tensors: dict[str, Tensor]) -> None:
    rows = (tensors["blocks.1.attn.residual"] * torch.logspace(0, -1.5, 48, dtype=DTYPE)).flatten(0, -2)
    codec = ChannelShiftSite(format="channel_shift", rule="ptf").fit(rows, 8, Evidence(percentiles=(1.0,)))
    assert set(codec.shifts.tolist()) == {0, 1, 2, 3}
    assert float(codec.scale) == pytest.approx(float((rows.max() - rows.min()) / 255 / 8), rel=1e-12)
    chosen = (codec.fake(rows) - rows).square().sum(0)
    for exponent in range(4):
        same = torch.full((48,), exponent)
        other = ChannelShiftCodec(bits=8, scale=codec.scale, zero_point=codec.zero_point, shifts=same)
        assert ((other.fake(rows) - rows).square().sum(0) >= chosen).all()


@pytest.mark.parametrize("rule", ["ptf", "outlier"])
def test_layernorm_of_shifted_codes_is_that_of_the_values(rule: Any, tensors: dict[str, Tensor]) -> None:
    """Integers (q - z) << shift: the scale cancels, exactly in the squares of normalised values, and in ε as ε / s²."""
    x = tensors["blocks.2.mlp.residual"].clone()
    x[..., 7] *= 60
    codec = ChannelShiftSite(format="channel_shift", rule=rule).fit(x, 8, Evidence(percentiles=(1.0,)))
    integers = (codec.encode(x) - codec.zero_point) << codec.shifts
    values, eps = codec.fake(x), 1e-6
    expected = F.layer_norm(values, (48,), eps=eps)
    aligned = F.layer_norm(integers.to(DTYPE), (48,), eps=eps / float(codec.scale) ** 2)
    torch.testing.assert_close(aligned, expected, rtol=0, atol=1e-12)
    scale = Fraction(float(codec.scale))
    assert normalised_squares([Fraction(n) for n in integers[0, 0].tolist()]) == normalised_squares(
        [n * scale for n in integers[0, 0].tolist()]
    )


def normalised_squares(row: list[Fraction]) -> list[Fraction]:
    mean = sum(row) / len(row)
    variance = sum((x - mean) ** 2 for x in row) / len(row)
    return [(x - mean) ** 2 / variance for x in row]

"""Token-wise codes with listed outliers: codec, calibration, exact products, and whole models under ADFQ-ViT."""

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from golden.agreement import site_agreement, site_values
from golden.calibrate import Calibrated, calibrate
from golden.codecs.base import Evidence
from golden.codecs.token_uniform import (
    FINE_ZERO,
    MOST_OUTLIERS,
    TokenUniformCodec,
    TokenUniformSite,
)
from golden.codecs.uniform import UniformCodec, fit_uniform_rows
from golden.digits import images
from golden.families import from_timm
from golden.fidelity import FidelityMeter
from golden.formats import Integer
from golden.images import calibration_batch
from golden.lowering import lower
from golden.lowering.builder import ProgramBuilder
from golden.lowering.formats import token_uniform
from golden.lowering.wide import Operand, Wide
from golden.model import Model
from golden.pretrained import load_model
from golden.program import Program
from golden.reference import execute
from golden.scheme import Scheme, load_scheme
from sim.network import Executor

PERCENTILES = (0.99, 0.999, 1.0)
EVIDENCE = Evidence(percentiles=PERCENTILES)


def codec(bits: int = 4, capacity: int = 3) -> TokenUniformCodec:
    """Three tokens of rather different scales."""
    return TokenUniformCodec(
        bits=bits,
        scale=torch.tensor([[0.5], [0.03], [0.21]], dtype=torch.float64),
        zero_point=torch.tensor([[0], [1 << (bits - 2)], [(1 << bits) - 1]]),
        threshold=2.0,
        capacity=capacity,
        peak=10.5,
    )


def rows(seed: int = 0, channels: int = 40) -> torch.Tensor:
    """[2, 3, channels]: normal values, some of them a multiple."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, channels, generator=generator, dtype=torch.float64)
    return torch.where(torch.rand(x.shape, generator=generator) < 0.08, 5 * x, x).clamp(-15, 15)


def test_every_token_has_a_uniform_codec_and_outliers_stay() -> None:
    spec, x = codec(capacity=40), rows()
    outlier = x.abs() > 2
    codes, fake = spec.encode(x), spec.fake(x)
    assert 0 < int(outlier.sum()) < x.numel() / 4
    for token in range(3):
        alone = UniformCodec(bits=4, scale=spec.scale[token], zero_point=spec.zero_point[token])
        kept = ~outlier[:, token]
        assert codes[:, token][kept].equal(alone.encode(x[:, token])[kept])
        assert fake[:, token][kept].equal(alone.fake(x[:, token])[kept])
    assert codes[outlier].equal(spec.zero_point.expand_as(x)[outlier])
    assert fake[outlier].equal(x[outlier])
    assert spec.decode(codes, torch.float64)[outlier].eq(0).all()
    assert spec.encode(torch.tensor([[2.0], [2.0], [2.0]])).flatten().tolist() == [4, 15, 15]


def test_a_full_list_leaves_further_outliers_among_the_codes() -> None:
    spec = codec(capacity=2)
    x = torch.zeros(3, 8, dtype=torch.float64)
    x[:, [1, 4, 5, 7]] = torch.tensor([9.0, -8.0, 7.0, -7.0], dtype=torch.float64)
    assert spec.fake(x)[:, [1, 4]].equal(x[:, [1, 4]])
    assert spec.encode(x)[:, [5, 7]].tolist() == [[14, 0], [15, 0], [15, 0]]
    assert spec.fake(x)[1, 5] == pytest.approx((15 - 4) * 0.03)


def test_positions_are_in_the_order_of_the_values() -> None:
    spec, ascending = codec(), torch.linspace(-9, 9, 1001, dtype=torch.float64).expand(3, -1)
    assert spec.positions(ascending).diff().ge(0).all()
    # An outlier's code is that of 0, and says so to nobody who compares codes.
    assert spec.encode(ascending).diff().lt(0).any()


def test_ranges_leave_outliers_out_and_zero_points_are_codes() -> None:
    x = rows(3, 200)
    x[:, 1] = (x[:, 1].abs() + 0.5).clamp(max=3.5)
    x[:, 2] = -x[:, 1]
    spec = TokenUniformSite(format="token_uniform", outlier_threshold=4.0).fit(x, 4, EVIDENCE)
    assert (spec.scale.shape, spec.zero_point.shape) == ((3, 1), (3, 1))
    masked = torch.where(x.abs() > 4, 0.0, x).transpose(0, 1).flatten(1)
    plain = fit_uniform_rows(masked, 4, PERCENTILES)
    assert (spec.scale[0], spec.zero_point[0]) == (plain.scale[0], plain.zero_point[0])
    # One-sided rows without an outlier: the range is extended to 0, and its far end stays.
    assert spec.zero_point[1:, 0].tolist() == [0, 15]
    assert spec.scale[1:, 0].tolist() == pytest.approx([3.5 / 15] * 2, rel=0.05)
    assert spec.peak == float(x.abs().max())
    count = int((x.abs() > 4).sum(-1).max())
    assert spec.capacity == math.ceil(1.25 * count) > count


def test_a_calm_layer_has_room_for_one_outlier() -> None:
    calm = TokenUniformSite(format="token_uniform", outlier_threshold=100.0).fit(rows(), 4, EVIDENCE)
    assert (calm.capacity, calm.threshold) == (1, 100.0)
    dead = TokenUniformSite(format="token_uniform").fit(torch.zeros(2, 3, 8), 4, EVIDENCE)
    assert dead.fake(torch.zeros(2, 3, 8)).eq(0).all()
    assert dead.fine_scale > 0


def test_the_threshold_rises_only_as_far_as_the_list_needs() -> None:
    x = rows(1, 300)
    site = TokenUniformSite(format="token_uniform", outlier_threshold=0.1)
    spec = site.fit(x, 4, EVIDENCE)
    counts = (x.abs() > spec.threshold).sum(-1)
    assert spec.capacity == MOST_OUTLIERS == math.ceil(1.25 * int(counts.max()))
    # The threshold is a value of the data, and the next lower one would be too low.
    below = float(x.abs()[x.abs() < spec.threshold].max())
    assert math.ceil(1.25 * int((x.abs() > below).sum(-1).max())) > MOST_OUTLIERS


def lowered(
    spec: TokenUniformCodec, weights: NDArray[np.int64], fine: torch.Tensor
) -> tuple[dict[str, NDArray[np.int64]], Wide, Program]:
    """Codes, list and product of `fine` codes [B, 3, C] with `weights` of scale 1."""
    builder = ProgramBuilder()
    channels = fine.shape[-1]
    source = builder.tensor("fine", tuple(fine.shape[1:]), Integer(bits=16, signed=False))
    wide = Wide(tensor=source, scale=np.array([spec.fine_scale]), bias=np.zeros(1))
    token_uniform.encode(builder, "norm", wide, spec, (3, channels), "norm")
    operand = Operand(
        name="w", weights=weights, zero_point=0, reach=(int(weights.min()), int(weights.max())),
        depth=channels, scale=np.ones(len(weights)),
    )  # fmt: skip
    product = token_uniform.multiply(builder, "acc", "norm", spec, operand, (3, len(weights)))
    program = builder.finish(source, product.tensor, {})
    return dict(execute(program, fine.numpy())), product, program


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_encoder_makes_the_codec_s_codes_and_the_list_its_outliers(bits: int) -> None:
    spec, x = replace(codec(bits), threshold=2.1), rows(bits)
    fine = (x / spec.fine_scale).round().long() + FINE_ZERO
    least = math.floor(2.1 / spec.fine_scale)  # not an outlier yet, one more is
    fine[0, :, :4] = FINE_ZERO + torch.tensor([least, -least, least + 1, -least - 1])
    exact = (fine - FINE_ZERO).double() * spec.fine_scale
    tensors, _, _ = lowered(spec, np.ones((2, 40), np.int64), fine)
    codes = torch.from_numpy(tensors["norm"])
    assert codes.equal(spec.encode(exact))
    words = torch.from_numpy(tensors["norm_outliers"])
    values = spec.overlay(spec.decode(codes, torch.float64), words)
    assert values.equal(spec.fake(exact))
    assert int(spec.outliers(exact).sum()) == int((words != 0).sum()) > 0
    assert int((exact.abs() > 2.1).sum(-1).max()) > spec.capacity  # a list was full


def test_products_are_exact_to_the_scales_factors() -> None:
    """Dense codes with their zero points out times the token's factor, outliers as they are: in fractions."""
    spec, x = codec(), rows(9)
    weights = np.random.default_rng(2).integers(-7, 8, (6, 40))
    fine = (x / spec.fine_scale).round().long() + FINE_ZERO
    tensors, product, program = lowered(spec, weights, fine)
    scaler = program.operations[-1]
    assert scaler.unit == "token_scaler"
    assert scaler.parameters["shift"] == 0  # nothing is rounded here
    factors, g = token_uniform.token_multipliers(spec)
    assert 1 << 16 <= factors.max() < 1 << 17
    unit = Fraction(spec.fine_scale) / (1 << g)
    for factor, scale in zip(factors.tolist(), spec.scale[:, 0].tolist(), strict=True):
        assert abs(factor * unit - Fraction(scale)) <= unit / 2
    assert Fraction(float(product.scale[0])) == unit
    outlier = spec.outliers((fine - FINE_ZERO) * spec.fine_scale)
    dense = torch.from_numpy(tensors["norm"]) - spec.zero_point
    held = torch.where(outlier, (fine - FINE_ZERO) << g, dense * torch.from_numpy(factors)[:, None])
    assert tensors["acc"].tolist() == (held @ torch.from_numpy(weights).T).tolist()


def test_an_outlier_adds_exactly_its_value_times_its_weight() -> None:
    spec = codec()
    weights = np.random.default_rng(4).integers(-7, 8, (6, 40))
    fine = torch.full((1, 3, 40), FINE_ZERO)
    quiet = lowered(spec, weights, fine)[0]["acc"]
    assert not quiet.any()  # zeros are zero, whatever their tokens' zero points
    distance = torch.tensor([9000, -32768, 32767])
    fine[0, :, 11] += distance
    loud = lowered(spec, weights, fine)[0]["acc"][0]
    _, g = token_uniform.token_multipliers(spec)
    assert loud.tolist() == [[(d << g) * w for w in weights[:, 11].tolist()] for d in distance.tolist()]


def test_totals_fit_the_requantizer() -> None:
    """A wide layer at 8 bits is rounded to what an 18-bit multiplier leaves of 62 bits, and not beyond."""
    spec = replace(codec(8, capacity=64), scale=torch.tensor([[0.1], [0.5], [1.0]], dtype=torch.float64))
    weights = np.full((2, 4096), 255)
    tensors, product, program = lowered(spec, weights, torch.full((1, 3, 4096), 1 << 16) - 1)
    scaler, total = program.operations[-1], program.tensors["acc"].format
    assert total.bits == token_uniform.TOTAL_BITS
    assert 0 < scaler.parameters["shift"] < 12
    real = spec.fake((torch.full((3, 4096), FINE_ZERO - 1) * spec.fine_scale).double()).sum(-1) * 255
    assert (tensors["acc"][0, :, 0] * product.scale[0]).tolist() == pytest.approx(real.tolist(), rel=1e-4)


@pytest.fixture(scope="module")
def vit() -> Model:
    return from_timm(load_model("vitrtl_digits", None))


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return calibration_batch(images("calib"), 32, seed=0)


def with_threshold(scheme: Scheme, threshold: float) -> Scheme:
    """The digits model has no value beyond 5: one that parts some of its values, without the rule for norm2."""
    norm = TokenUniformSite(format="token_uniform", outlier_threshold=threshold)
    return scheme.model_copy(update={"sites": {**scheme.sites, "post_layernorm": norm}, "layers": ()})


def simulated(
    calibrated: Calibrated, program: Program, count: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    codes = calibrated.activations[program.input].encode(images("test").images[:count]).numpy()
    return codes, dict(Executor(program).run(codes, capture="all").tensors)


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_every_site_agrees_with_outliers_beside_the_codes(bits: int, vit: Model, batch: torch.Tensor) -> None:
    scheme = with_threshold(load_scheme("adfq"), 2.0)
    calibrated = calibrate(vit, batch, scheme, weight_bits=bits, act_bits=bits)
    program = lower(calibrated, {})
    codes, tensors = simulated(calibrated, program, 200)
    assert np.count_nonzero(tensors["blocks.0.norm1_outliers"]) > 2000
    reference = dict(execute(program, codes[:6]))
    assert sum(int((reference[name] != tensors[name][:6]).sum()) for name in reference) == 0
    for found in site_agreement(calibrated, program, tensors):
        assert found.largest <= 1, found
        # 16-bit fine codes against 8-bit codes of a fourth of their range; the class token of the first block is the
        # same row in every image, so two of its codes on a boundary are 0.2 % of all.
        most = 0.01 if bits == 8 and "norm" in found.site else 0.005
        assert found.different <= most * found.codes, found


def test_a_list_that_is_wrong_is_seen(vit: Model, batch: torch.Tensor) -> None:
    calibrated = calibrate(vit, batch, with_threshold(load_scheme("adfq"), 2.0), weight_bits=8, act_bits=8)
    program = lower(calibrated, {})
    _, tensors = simulated(calibrated, program, 6)
    words = tensors["blocks.1.norm2_outliers"]
    tensors["blocks.1.norm2_outliers"] = np.where(words == words.max(), 0, words)
    wrong = [found.site for found in site_agreement(calibrated, program, tensors) if found.largest > 1]
    assert "blocks.1.norm2" in wrong


def test_outliers_count_in_fidelity_and_values(vit: Model, batch: torch.Tensor) -> None:
    calibrated = calibrate(
        vit, batch, with_threshold(load_scheme("adfq"), 2.0), weight_bits=8, act_bits=8
    ).with_zero("hardware")
    program = lower(calibrated, {})
    _, tensors = simulated(calibrated, program, 6)
    site = "blocks.0.norm1"
    values = site_values(calibrated, program, tensors, site)
    spec = calibrated.activations[site]
    assert isinstance(spec, TokenUniformCodec)
    fine = torch.from_numpy(tensors[f"{site}_fine"] - FINE_ZERO).double() * spec.fine_scale
    outlier = spec.outliers(fine)
    assert outlier.any()
    assert values[outlier].equal(fine[outlier])
    assert (values - fine)[~outlier].abs().max() > 0
    meter = FidelityMeter(calibrated=calibrated, program=program)
    meter.add(images("test").images[:6], tensors)
    decibels = {name: (fake, integer) for name, fake, integer in meter.decibels()}
    fake, integer = decibels[site]
    assert fake is not None
    assert integer is not None
    # Without the list, one value in twenty would be 0 and the noise near the signal.
    assert fake > 30
    assert integer == pytest.approx(fake, abs=1)


def test_a_user_s_mixture(tmp_path: Path, vit: Model, batch: torch.Tensor) -> None:
    mixture = tmp_path / "mixture.toml"
    mixture.write_text(
        """
        name = "mixture"
        paper = "none"
        [calibration]
        percentiles = [0.999, 1.0]
        images = 32
        [sites]
        patch_input = { format = "uniform", bits = 8 }
        residual = { format = "channel_shift", rule = "outlier", bits = 8 }
        post_layernorm = { format = "token_uniform", outlier_threshold = 2.5 }
        q = { format = "uniform" }
        k = { format = "uniform" }
        v = { format = "uniform" }
        softmax = { format = "tan" }
        proj_input = { format = "uniform" }
        gelu = { format = "shift_log2", base = "2" }
        head_input = { format = "uniform", bits = 8 }
        [[layers]]
        match = "blocks.0.*"
        act_bits = 3
        weight_bits = 5
        [[layers]]
        match = "blocks.3.*"
        act_bits = 7
        sites = { gelu = { format = "shift_log2", base = "sqrt2", bits = 6 } }
        """
    )
    calibrated = calibrate(vit, batch, load_scheme(str(mixture)), weight_bits=4, act_bits=4)
    program = lower(calibrated, {})
    widths = [program.tensors[f"blocks.{i}.mlp.gelu"].format.bits for i in range(4)]
    assert widths == [3, 4, 4, 6]
    assert [program.tensors[f"blocks.{i}.norm1"].format.bits for i in range(4)] == [3, 4, 4, 7]
    units = {op.unit for op in program.operations}
    assert units >= {
        "token_encoder",
        "outlier_list",
        "outlier_mac",
        "token_scaler",
        "log2_encoder",
        "log2_mac",
    }
    assert units >= {"probability", "threshold_encoder", "table_mac"}
    codes, tensors = simulated(calibrated, program, 6)
    reference = dict(execute(program, codes))
    assert sum(int((reference[name] != tensors[name]).sum()) for name in reference) == 0
    assert max(found.largest for found in site_agreement(calibrated, program, tensors)) <= 1

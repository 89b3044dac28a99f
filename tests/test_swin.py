"""Swin: our forward pass is timm's, what has no integer form is refused by name, golden and sim agree on integers."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from golden.agreement import SiteAgreement, site_agreement
from golden.calibrate import Calibrated, calibrate
from golden.errors import UserError
from golden.families import from_timm
from golden.lowering import lower
from golden.model import Recorder, Through, forward, sites_of
from golden.pretrained import timm
from golden.program import Operation, Program
from golden.reference import execute
from golden.scheme import load_scheme
from golden.swin import Swin
from sim.accelerator import Accelerator
from sim.network import Executor
from sim.schedule import schedule

SMALL: dict[str, Any] = {
    "img_size": 32, "patch_size": 2, "num_classes": 7, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4),
    "window_size": 4, "mlp_ratio": 2.0,
}  # fmt: skip
IMAGES = 8


def random_timm(**options: Any) -> nn.Module:
    """A small model whose every parameter is random, biases and position biases too, so that none can be forgotten."""
    torch.manual_seed(7)
    model = timm.models.swin_transformer.SwinTransformer(**SMALL | options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            spread = 1.0 if name.endswith("bias_table") else 0.2
            parameter.copy_(around + spread * torch.randn_like(parameter))
            if (
                name == "layers.0.blocks.0.mlp.fc2.bias"
            ):  # a channel of the residual stream stands out, as trained ones do
                parameter[0] = 20.0
    return model.eval()  # type: ignore[no-any-return]


def relative_difference(model: nn.Module, x: Tensor) -> float:
    with torch.inference_mode():
        expected = model(x)
    assert float(expected.std()) > 0.1
    return float((forward(from_timm(model), x, Through()) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"depths": (1, 1)},
        {"depths": (2, 2, 4), "num_heads": (2, 3, 4), "window_size": 2},
        {"img_size": 16, "window_size": 8},
        {"img_size": 16, "window_size": 4, "always_partition": True},
        {"img_size": (16, 32), "depths": (2, 1)},
        {"img_size": (16, 48), "depths": (2,), "num_heads": (2,)},
        {"window_size": (8, 2)},
        {"head_dim": 5},
        {"qkv_bias": False},
        {"in_chans": 1},
        {"norm_layer": partial(nn.LayerNorm, eps=1e-2)},
        {"drop_rate": 0.5, "proj_drop_rate": 0.5, "attn_drop_rate": 0.5, "drop_path_rate": 0.5},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_forward_is_timms_on_random_models(options: dict[str, Any]) -> None:
    if options.get("window_size") == (8, 2):  # timm takes two numbers for one oblong window
        options = {"window_size": ((8, 8), (2, 2))}
    model = random_timm(**options)
    x = torch.randn(3, options.get("in_chans", 3), *model.patch_embed.img_size)  # type: ignore[misc,union-attr]
    assert relative_difference(model, x) <= 1e-4


class OtherEmbed(timm.layers.PatchEmbed):  # type: ignore[misc,name-defined]
    pass


def with_relu() -> nn.Module:
    model = random_timm()
    model.layers[1].blocks[0].mlp.act = nn.ReLU()  # type: ignore[union-attr,index]
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "dynamic size": (lambda: random_timm(dynamic_img_size=True), "dynamic image sizes"),
    "oblong patches": (lambda: random_timm(patch_size=(2, 4)), "patches that are not square"),
    "other embedding": (lambda: random_timm(embed_layer=OtherEmbed), "a OtherEmbed"),
    "left over pixels": (lambda: random_timm(img_size=33), "an image that patches do not fill"),
    "maximum": (lambda: random_timm(global_pool="max"), "pooling other than the mean"),
    "no pooling": (lambda: random_timm(global_pool=""), "pooling other than the mean"),
    "no head": (lambda: random_timm(num_classes=0), "a head that is not one linear layer"),
    "norm without bias": (lambda: random_timm(norm_layer=partial(nn.LayerNorm, bias=False)), "a norm other than"),
    "padded windows": (lambda: random_timm(window_size=5), "windows of 5 x 5 on 16 x 16 tokens, which need padding"),
    "oblong windows": (lambda: random_timm(window_size=(4, 8)), "windows of 4 x 8 tokens, which are not square"),
    "oblong shift": (lambda: random_timm(img_size=(16, 32)), "a shift of 0 x 2 tokens"),
    "padded merging": (lambda: random_timm(img_size=6, window_size=3), "merging of 3 x 3 tokens"),
    "no blocks": (lambda: random_timm(depths=(2, 0)), "a stage without blocks"),
    "relu": (with_relu, "an activation other than exact GELU"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_lowered_is_refused_by_name(name: str) -> None:
    make, what = REFUSED[name]
    with pytest.raises(UserError) as raised:
        from_timm(make())
    assert what in str(raised.value)
    assert "\n" not in str(raised.value)


def swin() -> Swin:
    model = from_timm(random_timm())
    assert isinstance(model, Swin)
    return model


def test_shape_and_sites() -> None:
    model, recorder = swin(), Recorder()
    stages = model.shape.stages
    assert [(s.grid, s.dim, s.heads, s.head_dim, s.window, s.shifts) for s in stages] == [
        ((16, 16), 24, 2, 12, 4, (0, 2)),
        ((8, 8), 48, 4, 12, 4, (0, 2)),
    ]
    x = torch.randn(2, *model.image)
    assert forward(model, x, recorder).equal(forward(model, x, Through()))
    inside = ("norm1", "attn.q", "attn.k", "attn.v", "attn.softmax", "attn.proj_input", "attn.residual",
              "norm2", "mlp.gelu", "mlp.residual")  # fmt: skip
    blocks = [[f"layers.{i}.blocks.{j}.{site}" for j in range(2) for site in inside] for i in range(2)]
    merging = ["layers.1.downsample.norm", "layers.1.downsample.residual"]
    assert list(recorder.values) == ["patch_embed.input", "embed", *blocks[0], *merging, *blocks[1], "norm"]
    assert recorder.values["layers.0.blocks.1.norm1"].shape == (2, 16, 16, 24)
    assert recorder.values["layers.0.blocks.1.attn.softmax"].shape == (2, 16, 2, 16, 16)
    assert recorder.values["layers.1.downsample.norm"].shape == (2, 64, 96)
    assert recorder.values["norm"].shape == (2, 48)
    names = [step.name for step in model.steps()]
    assert names[:3] == ["embed", "layers.0.blocks.0.attn", "layers.0.blocks.0.mlp"]
    assert names[5:7] == ["layers.1.downsample", "layers.1.blocks.0.attn"]
    assert len(names) == 11


@cache
def calibrated(scheme: str, bits: int) -> Calibrated:
    batch = torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return calibrate(swin(), batch, load_scheme(scheme), weight_bits=bits, act_bits=bits)


def codes_of(calibration: Calibrated, count: int) -> np.ndarray:
    images = torch.randn(count, *calibration.model.image, generator=torch.Generator().manual_seed(2))
    return calibration.activations["patch_embed.input"].encode(images).numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("scheme", ["repq", "dopq", "tsptq", "fqvit"])
def test_golden_equals_sim(scheme: str, bits: int) -> None:
    calibration = calibrated(scheme, bits)
    program = lower(calibration, {"model": "random"})
    codes = codes_of(calibration, 2)
    simulated = Executor(program).run(codes, capture="all").tensors
    reference = dict(execute(program, codes))
    assert set(simulated) == {*reference, program.input}
    for name, expected in reference.items():
        assert np.array_equal(expected, simulated[name]), name
        assert expected.shape == (2, *program.tensors[name].shape), name
    assert {n for n, t in program.tensors.items() if t.site} == set(sites_of(calibration.model).activations)
    assert max(site.largest for site in site_agreement(calibration, program, simulated)) <= 1


def agreement(program: Program) -> dict[str, SiteAgreement]:
    tensors = Executor(program).run(codes_of(calibrated("repq", 8), 6), capture="all").tensors
    return {found.site: found for found in site_agreement(calibrated("repq", 8), program, tensors)}


def broken(sites: dict[str, SiteAgreement]) -> set[str]:
    """Sites with more other codes than rounding explains.

    The embedding's norm makes 16-bit codes with an inverse root of 16 bits: 1 to 2 % of them move, by one in 65,536.
    """
    most = {name: 0.02 if name == "embed" else 0.005 for name in sites}
    return {s.site for s in sites.values() if s.different > most[s.site] * s.codes + 1 or s.largest > 1}


@cache
def program() -> Program:
    return lower(calibrated("repq", 8), {})


def test_every_site_agrees() -> None:
    sites = agreement(program())
    assert set(sites) == {n for n, t in program().tensors.items() if t.site} - {program().input}
    assert max(site.largest for site in sites.values()) <= 1
    assert broken(sites) == set()


def with_operation(name: str, **parameters: Any) -> Program:
    def changed(operation: Operation) -> Operation:
        if operation.name != name:
            return operation
        return replace(operation, parameters={**operation.parameters, **parameters})

    return replace(program(), operations=tuple(changed(o) for o in program().operations))


def without_mask(name: str) -> Program:
    constant = f"{name}.score_bias"
    bias = program().constants[constant]
    # The first window lies inside the image and needs no mask.
    return replace(
        program(), constants={**program().constants, constant: np.broadcast_to(bias[:1], bias.shape)}
    )


BLOCK = "layers.1.blocks.1"


@pytest.mark.parametrize(
    ("fault", "sites"),
    [
        (lambda: with_operation(f"{BLOCK}.attn.windows", shift=-2), {f"{BLOCK}.norm1"}),
        (lambda: with_operation(f"{BLOCK}.attn.windows", shift=0), {f"{BLOCK}.norm1"}),
        (lambda: with_operation(f"{BLOCK}.attn.unwindows", shift=-2), {f"{BLOCK}.attn.residual"}),
        (
            lambda: with_operation("layers.1.downsample.merged", height=8, width=32),
            {"layers.1.downsample.norm"},
        ),
        (lambda: with_operation("norm_sums", a_zero_point=0), {"norm"}),
    ],
    ids=["sign of the shift", "no shift", "sign of the shift back", "other squares", "no zero point"],
)
def test_a_wrong_operation_is_seen_where_it_is(fault: Callable[[], Program], sites: set[str]) -> None:
    assert broken(agreement(fault())) == sites


def test_a_mask_covers_what_the_shift_brought_together() -> None:
    """Without it the program still agrees with itself: what it holds as mask is what the comparison takes."""
    probabilities = {}
    for name, run in (("masked", program()), ("open", without_mask(f"{BLOCK}.attn"))):
        tensors = Executor(run).run(codes_of(calibrated("repq", 8), 2), capture="all").tensors
        codec = calibrated("repq", 8).activations[f"{BLOCK}.attn.softmax"]
        probabilities[name] = codec.decode(torch.from_numpy(tensors[f"{BLOCK}.attn.softmax"]), torch.float64)
    weights = swin().weights[f"{BLOCK}.attn.score_bias"]
    hidden = (weights < -50).expand_as(probabilities["masked"])
    assert float(probabilities["masked"][hidden].max()) < 2.0**-24
    assert float(probabilities["open"][hidden].mean()) > 0.01


def test_the_program_holds_the_biases() -> None:
    """In 1/512 octave, the whole mask of -100 with them."""
    for name, stage, block in swin().shape.blocks():
        octaves = swin().weights[f"{name}.attn.score_bias"].double().numpy() / np.log(2)
        assert (octaves.min() < -140) == bool(stage.shifts[block])
        held = program().constants[f"{name}.attn.score_bias"]
        assert held.shape == octaves.shape
        assert np.abs(held - 512 * octaves).max() <= 0.5 + 1e-9


def test_epsilon_is_in_the_units_of_what_it_is_added_to() -> None:
    """Patches have a scale of their own, the residual stream another."""
    model = from_timm(random_timm(norm_layer=partial(nn.LayerNorm, eps=0.5)))
    images = torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    calibration = calibrate(model, images, load_scheme("repq"), weight_bits=8, act_bits=8)
    program = lower(calibration, {})
    tensors = Executor(program).run(codes_of(calibration, 2), capture="all").tensors
    assert max(site.largest for site in site_agreement(calibration, program, tensors)) <= 1


def test_cycles_are_counted() -> None:
    entries = schedule(program(), Accelerator.load())
    assert {e.operation for e in entries} == {o.name for o in program().operations if o.unit != "move"}
    products = {e.operation: e.work for e in entries}
    assert products["layers.0.blocks.1.attn.scores_acc"] == 16 * 2 * 16 * 16 * 12
    assert products["layers.1.downsample.reduction_acc"] == 64 * 96 * 48
    assert products["norm_sums"] == 64 * 48


def test_folded_scales_leave_the_function() -> None:
    """One scale behind the LayerNorm of a merging, by way of its gamma and a reduction that had no bias."""
    before, after = swin().to(torch.float64), calibrated("repq", 8).model.to(torch.float64)
    for name in ("norm.weight", "norm.bias", "reduction.weight", "reduction.bias"):
        assert not before.weights[f"layers.1.downsample.{name}"].equal(
            after.weights[f"layers.1.downsample.{name}"]
        )
    assert calibrated("repq", 8).activations["layers.1.downsample.norm"].scale.ndim == 0  # type: ignore[attr-defined]
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected, found = (forward(model, x, Through()) for model in (before, after))
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "deit_small_patch16_224"])
def test_real_sizes(name: str) -> None:
    torch.manual_seed(0)
    model = from_timm(timm.create_model(name, pretrained=False).eval())
    images = torch.randn(3, *model.image)
    calibration = calibrate(model, images[:2], load_scheme("repq"), weight_bits=4, act_bits=4)
    program = lower(calibration, {"model": name})
    codes = calibration.activations[program.input].encode(images[2:]).numpy()
    simulated = Executor(program).run(codes, capture="all").tensors
    assert sum(int((expected != simulated[name]).sum()) for name, expected in execute(program, codes)) == 0
    assert max(site.largest for site in site_agreement(calibration, program, simulated)) <= 1

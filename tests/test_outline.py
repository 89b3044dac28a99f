"""Programs without weights: operation for operation what lowering gives, and the same cycles and bytes."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from golden.calibrate import calibrate
from golden.digits import build, images
from golden.errors import UserError
from golden.families import from_timm
from golden.images import calibration_batch
from golden.lowering import lower
from golden.lowering import scores as lowering_scores
from golden.model import Model
from golden.pretrained import load_model, timm
from golden.program import Program
from golden.scheme import Scheme, load_scheme
from golden.swin import Swin
from golden.vit import Vit
from reports.outline import outline
from reports.outline import steps as outline_steps
from reports.outline.codes import FINE_BITS
from reports.outline.formats import KINDS, Formats, read_scheme
from reports.outline.sizes import Sizes, StageSizes, SwinSizes, VitSizes, model_names, sizes_of
from sim.accelerator import Accelerator, Memory
from sim.schedule import OperationCycles, schedule

SCHEMES = ("uniform", "uniform_percentile", "repq", "fqvit", "ptq4vit", "tsptq", "dopq", "adfq")
MEMORIES = {
    "none": None,
    "small": Memory(
        bandwidth_bytes_per_cycle=3, weight_buffer_kib=1, activation_buffer_kib=1, double_buffered=True
    ),
    "middle": Memory(
        bandwidth_bytes_per_cycle=8, weight_buffer_kib=2, activation_buffer_kib=4, double_buffered=False
    ),
}


def without_learning(name: str) -> Scheme:
    """The scheme without its reconstruction, which moves codes and no shape."""
    return load_scheme(name).model_copy(update={"reconstruction": None})


def lowered(model: Model, scheme: Scheme, batch: torch.Tensor, weight_bits: int, act_bits: int) -> Program:
    return lower(calibrate(model, batch, scheme, weight_bits=weight_bits, act_bits=act_bits), {})


def capacities(program: Program) -> Callable[[str], int]:
    """What calibration found, by site."""
    lists = [o for o in program.operations if o.unit == "outlier_list"]
    found: Mapping[str, Any] = {o.output.removesuffix("_outliers"): o.parameters["capacity"] for o in lists}
    return found.__getitem__


def costs(program: Program, memory: str) -> tuple[OperationCycles, ...]:
    return schedule(program, replace(Accelerator.load(), memory=MEMORIES[memory]))


def outlined(
    real: Program, sizes: Sizes, scheme: Mapping[str, Any], weight_bits: int, act_bits: int
) -> Program:
    formats = Formats(scheme=scheme, weight_bits=weight_bits, act_bits=act_bits, capacity_at=capacities(real))
    return outline(sizes, formats)


def assert_same(real: Program, plain: Program) -> None:
    """Names, wiring, shapes, sites, and what every operation costs with and without memory."""
    for one, other in zip(real.operations, plain.operations, strict=True):
        assert (one.name, one.unit, one.inputs, one.output) == (
            other.name, other.unit, other.inputs, other.output
        )  # fmt: skip
    assert {n: (t.shape, t.site) for n, t in real.tensors.items()} == {
        n: (t.shape, t.site) for n, t in plain.tensors.items()
    }
    assert {n: c.shape for n, c in real.constants.items()} == {n: c.shape for n, c in plain.constants.items()}
    for memory in MEMORIES:
        assert costs(plain, memory) == costs(real, memory)


@pytest.fixture(scope="module")
def digits_vit() -> Model:
    return from_timm(load_model("vitrtl_digits", None))


@pytest.mark.parametrize(("weight_bits", "act_bits"), [(3, 4), (8, 8)])
@pytest.mark.parametrize("name", SCHEMES)
def test_the_digits_model(digits_vit: Model, name: str, weight_bits: int, act_bits: int) -> None:
    batch = calibration_batch(images("calib"), 4, seed=0)
    real = lowered(digits_vit, without_learning(name), batch, weight_bits, act_bits)
    assert_same(real, outlined(real, sizes_of("vitrtl_digits"), read_scheme(name), weight_bits, act_bits))


def test_rules_of_layers(digits_vit: Model) -> None:
    """Another width of q alone, of a layer's weights, and another format in one block."""
    rules = [
        {"match": "blocks.1.attn.q", "act_bits": 6},
        {"match": "head", "weight_bits": 8},
        {"match": "blocks.*.attn.softmax", "sites": {"softmax": {"format": "log2", "base": "2"}}},
        {"match": "blocks.0.attn.softmax", "sites": {"softmax": {"format": "tan", "bits": 5}}},
    ]
    table = {**read_scheme("repq"), "layers": rules}
    batch = calibration_batch(images("calib"), 4, seed=0)
    real = lowered(digits_vit, Scheme.model_validate(table), batch, 4, 4)
    assert_same(real, outlined(real, sizes_of("vitrtl_digits"), table, 4, 4))


def random_model(model: Any) -> Model:
    """A timm model with random parameters."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    return from_timm(model.eval())


def golden_sizes(model: Model) -> Sizes:
    """The sizes of a float model in the words of the outline."""
    if isinstance(model, Vit):
        return VitSizes(**asdict(model.shape))
    assert isinstance(model, Swin)
    given = {f.name: getattr(model.shape, f.name) for f in dataclasses.fields(model.shape)}
    return SwinSizes(**{**given, "stages": tuple(StageSizes(**asdict(s)) for s in model.shape.stages)})


@pytest.mark.parametrize("name", ["repq", "fqvit"])
def test_a_distilled_model(name: str) -> None:
    small = timm.models.deit.VisionTransformerDistilled(
        img_size=16, patch_size=4, num_classes=7, embed_dim=24, depth=1, num_heads=2
    )
    model, batch = random_model(small), torch.randn(2, 3, 16, 16)
    real = lowered(model, load_scheme(name), batch, 4, 4)
    assert_same(real, outlined(real, golden_sizes(model), read_scheme(name), 4, 4))


@pytest.mark.parametrize("name", ["repq", "fqvit", "adfq", "ptq4vit"])
def test_a_swin_model(name: str) -> None:
    small = timm.models.swin_transformer.SwinTransformer(
        img_size=32, patch_size=2, num_classes=7, embed_dim=12, depths=(2, 2), num_heads=(2, 4), window_size=4
    )
    model, batch = random_model(small), torch.randn(2, 3, 32, 32)
    real = lowered(model, without_learning(name), batch, 4, 4)
    assert_same(real, outlined(real, golden_sizes(model), read_scheme(name), 4, 4))


def test_deit_tiny() -> None:
    torch.manual_seed(5)
    model, batch = from_timm(timm.create_model("deit_tiny_patch16_224")), torch.randn(1, 3, 224, 224)
    real = lowered(model, load_scheme("repq"), batch, 4, 4)
    assert_same(real, outlined(real, sizes_of("deit_tiny_patch16_224"), read_scheme("repq"), 4, 4))


FAULTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "one more bit of the sum": lambda m: m.setattr(
        outline_steps, "LOG_CODES", replace(outline_steps.LOG_CODES, exp_base=1 << 30, exp_bits=30)
    ),
    "half the log segments": lambda m: m.setattr(
        outline_steps, "LOG_CODES", replace(outline_steps.LOG_CODES, log_segments=8)
    ),
    "a base of 2": lambda m: m.setattr(
        Formats,
        "at",
        lambda self, site, kind, at=Formats.at: replace(at(self, site, kind), steps_per_octave=1),
    ),
    "a narrower residual stream": lambda m: m.setattr(
        outline_steps, "RESIDUAL", replace(outline_steps.RESIDUAL, bits=15)
    ),
    "one more bit of a weight": lambda m: m.setattr(
        Formats, "weight_bits_at", lambda self, layer, at=Formats.weight_bits_at: at(self, layer) + 1
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_parameter_off_by_one_shows(
    monkeypatch: pytest.MonkeyPatch, digits_program: Callable[[int], Program], fault: str
) -> None:
    real, sizes = digits_program(4), sizes_of("vitrtl_digits")
    assert_same(real, outlined(real, sizes, read_scheme("repq"), 4, 4))
    FAULTS[fault](monkeypatch)
    plain = outlined(real, sizes, read_scheme("repq"), 4, 4)
    assert any(costs(plain, memory) != costs(real, memory) for memory in MEMORIES)


@pytest.mark.parametrize("name", model_names())
def test_sizes_are_timms(name: str) -> None:
    with torch.device("meta"):
        model = from_timm(build() if name == "vitrtl_digits" else timm.create_model(name))
    assert sizes_of(name) == golden_sizes(model)
    if isinstance(model, Swin):
        assert all(len(model.weights[f"layers.{i}.blocks.0.mlp.fc1.bias"]) == 4 * s.dim
                   for i, s in enumerate(model.shape.stages))  # fmt: skip


def test_names_that_are_not_known() -> None:
    with pytest.raises(
        UserError, match=r"the sizes of 'deit_bas_patch16_224' are not known .* deit_base_patch16_224"
    ):
        sizes_of("deit_bas_patch16_224")
    with pytest.raises(UserError, match=r"'vit_base_patch16_224\.augreg_in21k' are not known"):
        sizes_of("vit_base_patch16_224.augreg_in21k")
    assert sizes_of("deit_base_patch16_224.fb_in1k") == sizes_of("deit_base_patch16_224")


def test_lists_of_outliers_need_a_length() -> None:
    formats = Formats(scheme=read_scheme("adfq"), weight_bits=4, act_bits=4)
    with pytest.raises(UserError, match=r"blocks\.0\.norm1.*--outlier-capacity"):
        outline(sizes_of("deit_tiny_patch16_224"), formats)


def test_a_format_of_which_nothing_is_known() -> None:
    sites = {**read_scheme("repq")["sites"], "gelu": {"format": "posit"}}
    formats = Formats(scheme={**read_scheme("repq"), "sites": sites}, weight_bits=4, act_bits=4)
    with pytest.raises(UserError, match=r"format 'posit' at blocks\.0\.mlp\.gelu need a calibration"):
        outline(sizes_of("deit_tiny_patch16_224"), formats)


def test_every_format_is_outlined() -> None:
    from golden.codecs.registry import site_formats

    assert set(site_formats()) == KINDS
    assert FINE_BITS.keys() < KINDS


@pytest.mark.parametrize("name", ["LOG_CODES", "PROBABILITIES"])
def test_rows_of_scores_have_the_widths_of_lowering(name: str) -> None:
    real, plain = (getattr(module, name).parameters(197) for module in (lowering_scores, outline_steps))
    assert real.keys() == plain.keys()
    for key, value in real.items():
        if key == "exp_base":
            assert plain[key][0] == value[0] == max(value)
        if isinstance(value, list):
            assert (len(plain[key]), any(plain[key])) == (len(value), any(value))
        else:
            assert plain[key] == value


def test_a_scheme_file_is_checked(tmp_path: Any) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"mine\.toml"):
        read_scheme(str(file))
    with pytest.raises(UserError, match="unknown scheme 'repk'"):
        read_scheme("repk")

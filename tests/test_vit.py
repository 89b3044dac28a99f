"""Our step-by-step forward pass is timm's; what has no integer form is refused by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from golden.digits import images
from golden.errors import UserError
from golden.families import from_timm
from golden.model import Recorder, Through, forward
from golden.pretrained import VisionTransformer, load_model, timm
from golden.vit import Vit

SMALL: dict[str, Any] = {
    "img_size": 8, "patch_size": 2, "in_chans": 3, "num_classes": 7,
    "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0,
}  # fmt: skip


def random_model(**options: Any) -> nn.Module:
    """A small model whose every parameter is random, biases and LayerScale too, so that none can be forgotten."""
    torch.manual_seed(7)
    model = VisionTransformer(**SMALL | options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(around + 0.3 * torch.randn_like(parameter))
    return model.eval()


def largest_difference(model: nn.Module, x: torch.Tensor) -> float:
    with torch.inference_mode():
        expected = model(x)
    assert float(expected.std()) > 0.1
    return float((forward(from_timm(model), x, Through()) - expected).abs().max())


def test_forward_is_timms_on_the_digits_model() -> None:
    assert largest_difference(load_model("vitrtl_digits", None), images("test").images) <= 1e-5


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reg_tokens": 4},
        {"reg_tokens": 4, "no_embed_class": True},
        {"no_embed_class": True},
        {"init_values": 1e-5},
        {"qkv_bias": False},
        {"proj_bias": False},
        {"img_size": (4, 12)},
        {"norm_layer": partial(nn.LayerNorm, eps=1e-3)},
        {"drop_rate": 0.5, "attn_drop_rate": 0.5, "drop_path_rate": 0.5, "patch_drop_rate": 0.5},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_forward_is_timms_on_random_models(options: dict[str, Any]) -> None:
    model = random_model(**options)
    x = torch.randn(5, 3, *model.patch_embed.img_size)  # type: ignore[misc,union-attr]
    assert largest_difference(model, x) <= 1e-5


def test_forward_is_timms_with_two_heads() -> None:
    """DeiT's distillation token has a head of its own; the logits are the mean of both."""
    torch.manual_seed(8)
    model = timm.create_model("deit_tiny_distilled_patch16_224", depth=2, img_size=48, num_classes=9).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert largest_difference(model, torch.randn(3, 3, 48, 48)) <= 1e-5


def test_shape_is_read_from_the_model() -> None:
    vit = from_timm(random_model(reg_tokens=4))
    assert isinstance(vit, Vit)
    shape = vit.shape
    assert (shape.image, shape.patch, shape.dim, shape.depth, shape.heads) == ((3, 8, 8), 2, 24, 2, 3)
    assert (shape.hidden, shape.classes, shape.prefix, shape.tokens, shape.head_dim) == (48, 7, 5, 21, 8)
    assert vit.norm_eps == 1e-6


def test_a_recorder_sees_every_site_once_and_changes_nothing() -> None:
    vit, recorder = from_timm(random_model()), Recorder()
    x = torch.randn(2, 3, 8, 8)
    assert forward(vit, x, recorder).equal(forward(vit, x, Through()))
    assert len(recorder.values) == 3 + 10 * 2
    assert recorder.values["blocks.1.attn.softmax"].shape == (2, 3, 17, 17)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "swin v2": (lambda: timm.create_model("swinv2_tiny_window8_256", depths=(1, 1, 1, 1)), "SwinTransformerV2"),
    "resnet": (lambda: timm.create_model("resnet10t"), "ResNet"),
    "pooled": (lambda: random_model(global_pool="avg"), "pooling other than the class token"),
    "no class token": (lambda: random_model(global_pool="avg", class_token=False), "pooling other than"),
    "no positions": (lambda: random_model(pos_embed="none"), "no position embedding"),
    "norm before": (lambda: random_model(pre_norm=True), "a norm before the blocks"),
    "no norm after": (lambda: random_model(final_norm=False), "no norm before the head"),
    "norm after pooling": (lambda: random_model(fc_norm=True), "no norm before the head"),
    "no head": (lambda: random_model(num_classes=0), "a head that is not one linear layer"),
    "dynamic size": (lambda: random_model(dynamic_img_size=True), "dynamic image sizes"),
    "oblong patches": (lambda: random_model(patch_size=(2, 4)), "patches that are not square"),
    "normalised queries": (lambda: random_model(qk_norm=True, norm_layer=nn.LayerNorm), "normalised queries and keys"),
    "norm in attention": (lambda: random_model(scale_attn_norm=True, norm_layer=nn.LayerNorm), "a norm inside"),
    "norm in the MLP": (lambda: random_model(scale_mlp_norm=True), "an MLP with gates or norms"),
    "relu": (lambda: random_model(act_layer=nn.ReLU), "an activation other than exact GELU"),
    "tanh gelu": (lambda: random_model(act_layer=partial(nn.GELU, approximate="tanh")), "an activation other than"),
    "norm on patches": (lambda: random_model(embed_norm_layer=nn.LayerNorm), "a norm on the patches"),
    "gated MLP": (lambda: random_model(mlp_layer=timm.layers.SwiGLU), "an MLP with gates or norms"),
    "other blocks": (lambda: random_model(block_fn=timm.models.vision_transformer.ResPostBlock), "a ResPostBlock"),
    "hybrid": (lambda: timm.create_model("vit_tiny_r_s16_p8_224", depth=1), "HybridEmbed"),
    "norm without bias": (lambda: random_model(norm_layer=partial(nn.LayerNorm, bias=False)), "LayerNorm with scale"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_lowered_is_refused_by_name(name: str) -> None:
    make, what = REFUSED[name]
    with pytest.raises(UserError) as raised:
        from_timm(make())
    assert what in str(raised.value)
    assert "\n" not in str(raised.value)

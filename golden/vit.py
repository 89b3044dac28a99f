"""The float Vision Transformer, spelled out step by step, with a tap at every quantisation site.

The parameters come from an unmodified timm model; the forward pass is ours so that calibration, fake
quantisation and capture all see the same named tensors. It equals timm's to float precision (tested).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from golden.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of one Vision Transformer."""

    image: tuple[int, int, int]
    """Channels, height, width of the input."""
    patch: int
    """Side of a square patch in pixels."""
    dim: int
    depth: int
    heads: int
    hidden: int
    """Width of the MLP."""
    classes: int
    prefix: int
    """Tokens in front of the patches: class token and registers."""
    norm_eps: float

    @property
    def tokens(self) -> int:
        """Tokens of the sequence, prefix included."""
        return self.prefix + (self.image[1] // self.patch) * (self.image[2] // self.patch)

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.heads


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vit:
    """Sizes and parameters; names as in timm, LayerScale folded into the layer before it."""

    shape: Shape
    weights: Mapping[str, Tensor]

    def to(self, dtype: torch.dtype) -> "Vit":
        """The same model in another float type."""
        return Vit(shape=self.shape, weights={k: v.to(dtype) for k, v in self.weights.items()})


class Tap(Protocol):
    """What happens at a site: nothing, observation, fake quantisation."""

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        """What flows on from activation site `site` of `kind` (golden.codecs.base.ACTIVATION_SITES or `residual`).

        `partner` is what a post-softmax tensor is about to be multiplied with: V.
        """
        ...

    def weight(self, layer: str, w: Tensor) -> Tensor:
        """Weight [out, in] that layer `layer` multiplies with."""
        ...


class Through:
    """The tap that changes nothing: the float model."""

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        """`x` itself."""
        return x

    def weight(self, layer: str, w: Tensor) -> Tensor:
        """`w` itself."""
        return w


class Recorder(Through):
    """The float model, keeping every site's tensor."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        """`x` itself, remembered under the site's name."""
        self.values[site] = x
        return x


@torch.inference_mode()
def forward(vit: Vit, images: Tensor, tap: Tap) -> Tensor:
    """Logits [B, classes] of normalised `images` [B, C, H, W], every site passed through `tap`; no gradients."""
    return differentiable(vit, images, tap)


def differentiable(vit: Vit, images: Tensor, tap: Tap) -> Tensor:
    """The same where gradients are wanted."""
    x = tap.activation(
        "embed", "residual", embed(vit, tap.activation("patch_embed.input", "patch_input", images), tap)
    )
    for index in range(vit.shape.depth):
        x = block(vit, f"blocks.{index}", x, tap)
    x = tap.activation("norm", "head_input", layernorm(vit, "norm", x)[:, 0])
    return linear(vit, "head", x, tap)


def block(vit: Vit, name: str, x: Tensor, tap: Tap) -> Tensor:
    """One encoder block on the residual stream [B, N, C]."""
    y = tap.activation(f"{name}.norm1", "post_layernorm", layernorm(vit, f"{name}.norm1", x))
    q, k, v = split_heads(linear(vit, f"{name}.attn.qkv", y, tap), vit.shape.heads)
    q = tap.activation(f"{name}.attn.q", "q", q)
    k = tap.activation(f"{name}.attn.k", "k", k)
    v = tap.activation(f"{name}.attn.v", "v", v)
    p = tap.activation(f"{name}.attn.softmax", "softmax", attention(vit, q, k), v)
    y = tap.activation(f"{name}.attn.proj_input", "proj_input", merge_heads(p @ v))
    x = tap.activation(f"{name}.attn.residual", "residual", x + linear(vit, f"{name}.attn.proj", y, tap))
    y = tap.activation(f"{name}.norm2", "post_layernorm", layernorm(vit, f"{name}.norm2", x))
    y = tap.activation(f"{name}.mlp.gelu", "gelu", F.gelu(linear(vit, f"{name}.mlp.fc1", y, tap)))
    return tap.activation(f"{name}.mlp.residual", "residual", x + linear(vit, f"{name}.mlp.fc2", y, tap))


def embed(vit: Vit, images: Tensor, tap: Tap) -> Tensor:
    """Tokens [B, N, C]: patches through the embedding layer, prefix rows in front, positions added."""
    patches = F.unfold(images, vit.shape.patch, stride=vit.shape.patch).transpose(1, 2)
    x = linear(vit, "patch_embed.proj", patches, tap)
    prefix = vit.weights["prefix"].expand(len(x), -1, -1)
    return torch.cat([prefix, x], dim=1) + vit.weights["pos_embed"]


def attention(vit: Vit, q: Tensor, k: Tensor) -> Tensor:
    """Attention probabilities [B, H, N, N]; scaled after the product, as in RepQ-ViT's released code."""
    scores = q @ k.transpose(-1, -2) * vit.shape.head_dim**-0.5
    return torch.softmax(scores, dim=-1)


def layernorm(vit: Vit, name: str, x: Tensor) -> Tensor:
    """LayerNorm over channels."""
    w, b = vit.weights[f"{name}.weight"], vit.weights[f"{name}.bias"]
    return F.layer_norm(x, (vit.shape.dim,), w, b, vit.shape.norm_eps)


def linear(vit: Vit, name: str, x: Tensor, tap: Tap) -> Tensor:
    """Fully connected layer with the tapped weight and the float bias."""
    return F.linear(x, tap.weight(name, vit.weights[f"{name}.weight"]), vit.weights[f"{name}.bias"])


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Q, K, V, each [B, H, N, D], of [B, N, 3·H·D]."""
    b, n, c = qkv.shape
    q, k, v = qkv.reshape(b, n, 3, heads, c // (3 * heads)).permute(2, 0, 3, 1, 4)
    return q, k, v


def merge_heads(x: Tensor) -> Tensor:
    """[B, N, H·D] of [B, H, N, D]."""
    return x.transpose(1, 2).flatten(2)


def from_timm(model: Any) -> Vit:
    """Sizes and parameters of a timm VisionTransformer; anything this line cannot lower is refused by name."""
    _refuse_unsupported(model)
    patch, first = model.patch_embed, model.blocks[0]
    prefix = [t[0] for t in (model.cls_token, getattr(model, "reg_token", None)) if t is not None]
    prefix_rows = torch.cat(prefix)
    pos = model.pos_embed[0]
    if model.no_embed_class:  # positions belong to the patches alone
        pos = torch.cat([torch.zeros_like(prefix_rows), pos])
    weights = {
        "prefix": prefix_rows,
        "pos_embed": pos,
        "patch_embed.proj.weight": patch.proj.weight.flatten(1),
    }
    weights["patch_embed.proj.bias"] = _bias(patch.proj)
    for i, block in enumerate(model.blocks):
        for name, module, scale in (
            ("attn.qkv", block.attn.qkv, None),
            ("attn.proj", block.attn.proj, block.ls1),
            ("mlp.fc1", block.mlp.fc1, None),
            ("mlp.fc2", block.mlp.fc2, block.ls2),
        ):
            factor = getattr(scale, "gamma", torch.ones(()))
            weights[f"blocks.{i}.{name}.weight"] = module.weight * factor.reshape(-1, 1)
            weights[f"blocks.{i}.{name}.bias"] = _bias(module) * factor
        for norm in ("norm1", "norm2"):
            weights |= _norm(f"blocks.{i}.{norm}", getattr(block, norm))
    weights |= _norm("norm", model.norm)
    weights |= {"head.weight": model.head.weight, "head.bias": _bias(model.head)}
    shape = Shape(
        image=(model.in_chans, *patch.img_size),
        patch=patch.patch_size[0],
        dim=model.embed_dim,
        depth=len(model.blocks),
        heads=first.attn.num_heads,
        hidden=first.mlp.fc1.out_features,
        classes=model.num_classes,
        prefix=len(prefix_rows),
        norm_eps=model.norm.eps,
    )
    return Vit(shape=shape, weights={name: w.detach().clone() for name, w in weights.items()})


def _bias(layer: Any) -> Tensor:
    return torch.zeros(layer.weight.shape[0]) if layer.bias is None else layer.bias


def _norm(name: str, module: nn.LayerNorm) -> dict[str, Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def _refuse_unsupported(model: Any) -> None:
    """UserError naming the first feature that has no integer form here."""
    kind = type(model).__name__
    if kind != "VisionTransformer":
        raise UserError(
            f"{kind} is not supported: this version lowers timm's VisionTransformer (ViT, DeiT, DeiT-3)"
        )
    block, embedding = model.blocks[0], model.patch_embed
    problems = {
        f"a {type(embedding).__name__}": type(embedding).__name__ != "PatchEmbed",
        "a norm on the patches": not isinstance(getattr(embedding, "norm", None), nn.Identity),
        "pooling other than the class token": model.global_pool != "token",
        "no position embedding": model.pos_embed is None,
        "a norm before the blocks": not isinstance(model.norm_pre, nn.Identity),
        "no norm before the head": not isinstance(model.norm, nn.LayerNorm)
        or not isinstance(model.fc_norm, nn.Identity),
        "a head that is not one linear layer": not isinstance(model.head, nn.Linear),
        "dynamic image sizes": model.dynamic_img_size,
        "patches that are not square": len(set(model.patch_embed.patch_size)) != 1,
        f"a {type(block).__name__}": type(block).__name__ != "Block",
        f"attention of kind {type(block.attn).__name__}": type(block.attn).__name__ != "Attention",
        "normalised queries and keys": not isinstance(getattr(block.attn, "q_norm", None), nn.Identity),
        "a norm inside attention": not isinstance(getattr(block.attn, "norm", None), nn.Identity),
        "gated attention": getattr(block.attn, "gate", None) is not None,
        "an MLP with gates or norms": type(block.mlp).__name__ != "Mlp"
        or not isinstance(getattr(block.mlp, "norm", None), nn.Identity),
        "an activation other than exact GELU": not isinstance(getattr(block.mlp, "act", None), nn.GELU)
        or block.mlp.act.approximate != "none",
        "a norm other than LayerNorm with scale and bias": not isinstance(block.norm1, nn.LayerNorm)
        or block.norm1.bias is None,
    }
    for what, present in problems.items():
        if present:
            raise UserError(f"this model uses {what}, which this version cannot lower to integers")

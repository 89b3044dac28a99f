"""The float Vision Transformer, spelled out step by step, with a tap at every quantisation site: ViT, DeiT, DeiT-3."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from golden.errors import UserError
from golden.model import Model, Step, Tap


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
    """Tokens in front of the patches: class token, distillation token, registers."""
    distilled: bool
    """Whether the second token has a head of its own; the logits are then the mean of both heads'."""

    @property
    def tokens(self) -> int:
        """Tokens of the sequence, prefix included."""
        return self.prefix + (self.image[1] // self.patch) * (self.image[2] // self.patch)

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.heads

    @property
    def classifiers(self) -> tuple[tuple[str, str], ...]:
        """(norm, head) of each token that is classified, in the order of the tokens."""
        return (("norm", "head"), ("norm_dist", "head_dist")) if self.distilled else (("norm", "head"),)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vit(Model):
    """Sizes and parameters; LayerScale is folded into the layer before it."""

    shape: Shape

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height, width of the input."""
        return self.shape.image

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.shape.classes

    def layernorm_pairs(self) -> list[tuple[str, str]]:
        """Both LayerNorms of every block, with the layers that read them."""
        pairs = (("norm1", "attn.qkv"), ("norm2", "mlp.fc1"))
        depth = range(self.shape.depth)
        return [(f"blocks.{i}.{norm}", f"blocks.{i}.{layer}") for i in depth for norm, layer in pairs]

    def steps(self) -> Sequence[Step]:
        """Embedding, attention and MLP of every block, classifier."""
        chain = [Step("embed", self.embed)]
        for index in range(self.shape.depth):
            chain.append(Step(f"blocks.{index}.attn", partial(self.attention, f"blocks.{index}")))
            chain.append(Step(f"blocks.{index}.mlp", partial(self.mlp, f"blocks.{index}")))
        return [*chain, Step("head", self.classify)]

    def embed(self, images: Tensor, tap: Tap) -> Tensor:
        """Tokens [B, N, C]: patches through the embedding layer, prefix rows in front, positions added."""
        pixels = tap.activation("patch_embed.input", "patch_input", images)
        patches = F.unfold(pixels, self.shape.patch, stride=self.shape.patch).transpose(1, 2)
        x = self.linear("patch_embed.proj", patches, tap)
        prefix = self.weights["prefix"].expand(len(x), -1, -1)
        return tap.activation("embed", "residual", torch.cat([prefix, x], dim=1) + self.weights["pos_embed"])

    def attention(self, block: str, x: Tensor, tap: Tap) -> Tensor:
        """Attention of `block` on the residual stream [B, N, C], added to it."""
        name = f"{block}.attn"
        y = tap.activation(f"{block}.norm1", "post_layernorm", self.layernorm(f"{block}.norm1", x))
        q, k, v = split_heads(self.linear(f"{name}.qkv", y, tap), self.shape.heads)
        q = tap.activation(f"{name}.q", "q", q)
        k = tap.activation(f"{name}.k", "k", k)
        v = tap.activation(f"{name}.v", "v", v)
        # Scaled after the product, as in RepQ-ViT's released code.
        p = torch.softmax(q @ k.transpose(-1, -2) * self.shape.head_dim**-0.5, dim=-1)
        p = tap.activation(f"{name}.softmax", "softmax", p, v)
        y = tap.activation(f"{name}.proj_input", "proj_input", merge_heads(p @ v))
        return tap.activation(f"{name}.residual", "residual", x + self.linear(f"{name}.proj", y, tap))

    def mlp(self, block: str, x: Tensor, tap: Tap) -> Tensor:
        """MLP of `block` on the residual stream [B, N, C], added to it."""
        name = f"{block}.mlp"
        y = tap.activation(f"{block}.norm2", "post_layernorm", self.layernorm(f"{block}.norm2", x))
        y = tap.activation(f"{name}.gelu", "gelu", F.gelu(self.linear(f"{name}.fc1", y, tap)))
        return tap.activation(f"{name}.residual", "residual", x + self.linear(f"{name}.fc2", y, tap))

    def classify(self, x: Tensor, tap: Tap) -> Tensor:
        """Logits [B, classes] from the first token, or the first two."""
        logits = [
            self.linear(head, tap.activation(norm, "head_input", self.layernorm(norm, x[:, token])), tap)
            for token, (norm, head) in enumerate(self.shape.classifiers)
        ]
        return torch.stack(logits).mean(0)


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Q, K, V, each [.., H, N, D], of [.., N, 3·H·D]."""
    q, k, v = qkv.reshape(*qkv.shape[:-1], 3, heads, -1).movedim(-3, 0).transpose(-3, -2)
    return q, k, v


def merge_heads(x: Tensor) -> Tensor:
    """[.., N, H·D] of [.., H, N, D]."""
    return x.transpose(-3, -2).flatten(-2)


def vit_from_timm(model: Any) -> Vit:
    """Sizes and parameters of a timm VisionTransformer, plain or distilled; UserError for what cannot be lowered."""
    _refuse_unsupported(model)
    patch, first = model.patch_embed, model.blocks[0]
    extra = (model.cls_token, getattr(model, "dist_token", None), getattr(model, "reg_token", None))
    prefix = [t[0] for t in extra if t is not None]
    prefix_rows = torch.cat(prefix)
    pos = model.pos_embed[0]
    if model.no_embed_class:  # positions belong to the patches alone
        pos = torch.cat([torch.zeros_like(prefix_rows), pos])
    shape = Shape(
        image=(model.in_chans, *patch.img_size),
        patch=patch.patch_size[0],
        dim=model.embed_dim,
        depth=len(model.blocks),
        heads=first.attn.num_heads,
        hidden=first.mlp.fc1.out_features,
        classes=model.num_classes,
        prefix=len(prefix_rows),
        distilled=type(model).__name__ == "VisionTransformerDistilled",
    )
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
    for norm, head in shape.classifiers:  # both heads read the same norm
        layer = getattr(model, head)
        weights |= _norm(norm, model.norm) | {f"{head}.weight": layer.weight, f"{head}.bias": _bias(layer)}
    return Vit(
        shape=shape,
        norm_eps=model.norm.eps,
        weights={name: w.detach().clone() for name, w in weights.items()},
    )


def _bias(layer: Any) -> Tensor:
    return torch.zeros(layer.weight.shape[0]) if layer.bias is None else layer.bias


def _norm(name: str, module: nn.LayerNorm) -> dict[str, Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def _refuse_unsupported(model: Any) -> None:
    """UserError naming the first feature that has no integer form here."""
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

"""The float Swin Transformer, spelled out step by step, with a tap at every quantisation site.

The residual stream is [B, tokens, C], row-major. Attention's sites lie behind its cut into windows [B, windows, w², C].
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from golden.errors import UserError
from golden.model import Model, Step, Tap
from golden.movement import move
from golden.vit import merge_heads, split_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Sizes of one stage; every stage but the first starts by merging each 2 x 2 tokens into one."""

    grid: tuple[int, int]
    """Tokens down and across, after merging."""
    dim: int
    heads: int
    head_dim: int
    window: int
    """Side of a square window in tokens."""
    shifts: tuple[int, ...]
    """Per block: by how many tokens its windows are shifted, down and to the right."""

    @property
    def tokens(self) -> int:
        """Tokens of the whole image."""
        return self.grid[0] * self.grid[1]

    @property
    def windows(self) -> int:
        """Windows that the image is cut into."""
        return self.tokens // self.window**2

    def cut(self, block: int) -> dict[str, int]:
        """Parameters of the movements `windows` and `unwindows` of `block`."""
        height, width = self.grid
        return {"height": height, "width": width, "window": self.window, "shift": self.shifts[block]}

    @property
    def merging(self) -> dict[str, int]:
        """Parameters of the movement `merge_patches` that this stage starts with."""
        return {"height": 2 * self.grid[0], "width": 2 * self.grid[1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class SwinShape:
    """Sizes of one Swin Transformer."""

    image: tuple[int, int, int]
    """Channels, height, width of the input."""
    patch: int
    """Side of a square patch in pixels."""
    stages: tuple[Stage, ...]
    classes: int

    def blocks(self) -> Iterator[tuple[str, Stage, int]]:
        """(name, stage, index in the stage) of every block in order."""
        for index, stage in enumerate(self.stages):
            for block in range(len(stage.shifts)):
                yield f"layers.{index}.blocks.{block}", stage, block


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Swin(Model):
    """Sizes and parameters; relative position bias and the mask of shifted windows are one addend of the scores."""

    shape: SwinShape

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height, width of the input."""
        return self.shape.image

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.shape.classes

    def layernorm_pairs(self) -> list[tuple[str, str]]:
        """Both LayerNorms of every block and that of every merging, with the layers that read them."""
        pairs = (("norm1", "attn.qkv"), ("norm2", "mlp.fc1"))
        blocks = [(f"{b}.{norm}", f"{b}.{layer}") for b, _, _ in self.shape.blocks() for norm, layer in pairs]
        merging = [f"layers.{index}.downsample" for index in range(1, len(self.shape.stages))]
        return blocks + [(f"{name}.norm", f"{name}.reduction") for name in merging]

    def steps(self) -> Sequence[Step]:
        """Embedding; merging, attention and MLP of every block of each stage; classifier."""
        chain = [Step("embed", self.embed)]
        for index, stage in enumerate(self.shape.stages):
            if index:
                name = f"layers.{index}.downsample"
                chain.append(Step(name, partial(self.downsample, name, stage)))
            for block in range(len(stage.shifts)):
                name = f"layers.{index}.blocks.{block}"
                chain.append(Step(f"{name}.attn", partial(self.attention, name, stage, block)))
                chain.append(Step(f"{name}.mlp", partial(self.mlp, name)))
        return [*chain, Step("head", self.classify)]

    def embed(self, images: Tensor, tap: Tap) -> Tensor:
        """Tokens [B, T, C]: patches through the embedding layer and its norm."""
        pixels = tap.activation("patch_embed.input", "patch_input", images)
        patches = F.unfold(pixels, self.shape.patch, stride=self.shape.patch).transpose(1, 2)
        x = self.linear("patch_embed.proj", patches, tap)
        return tap.activation("embed", "residual", self.layernorm("patch_embed.norm", x))

    def downsample(self, name: str, stage: Stage, x: Tensor, tap: Tap) -> Tensor:
        """Merging at the start of `stage`: [B, 4 T, C] to [B, T, dim]."""
        y = move({"x": x}, {"kind": "merge_patches", **stage.merging})
        y = tap.activation(f"{name}.norm", "post_layernorm", self.layernorm(f"{name}.norm", y))
        return tap.activation(f"{name}.residual", "residual", self.linear(f"{name}.reduction", y, tap))

    def attention(self, block: str, stage: Stage, index: int, x: Tensor, tap: Tap) -> Tensor:
        """Attention of `block` inside windows of the residual stream [B, T, C], added to it."""
        name = f"{block}.attn"
        y = self.layernorm(f"{block}.norm1", move({"x": x}, {"kind": "windows", **stage.cut(index)}))
        y = tap.activation(f"{block}.norm1", "post_layernorm", y)
        q, k, v = split_heads(self.linear(f"{name}.qkv", y, tap), stage.heads)
        q = tap.activation(f"{name}.q", "q", q)
        k = tap.activation(f"{name}.k", "k", k)
        v = tap.activation(f"{name}.v", "v", v)
        scores = q @ k.transpose(-1, -2) * stage.head_dim**-0.5 + self.weights[f"{name}.score_bias"]
        p = tap.activation(f"{name}.softmax", "softmax", torch.softmax(scores, dim=-1), v)
        y = tap.activation(f"{name}.proj_input", "proj_input", merge_heads(p @ v))
        y = self.linear(f"{name}.proj", y, tap)
        y = move({"x": y}, {"kind": "unwindows", **stage.cut(index)})
        return tap.activation(f"{name}.residual", "residual", x + y)

    def mlp(self, block: str, x: Tensor, tap: Tap) -> Tensor:
        """MLP of `block` on the residual stream [B, T, C], added to it."""
        name = f"{block}.mlp"
        y = tap.activation(f"{block}.norm2", "post_layernorm", self.layernorm(f"{block}.norm2", x))
        y = tap.activation(f"{name}.gelu", "gelu", F.gelu(self.linear(f"{name}.fc1", y, tap)))
        return tap.activation(f"{name}.residual", "residual", x + self.linear(f"{name}.fc2", y, tap))

    def classify(self, x: Tensor, tap: Tap) -> Tensor:
        """Logits [B, classes] from the mean of the normalised tokens."""
        pooled = tap.activation("norm", "head_input", self.layernorm("norm", x).mean(1))
        return self.linear("head", pooled, tap)


def swin_from_timm(model: Any) -> Swin:
    """Sizes and parameters of a timm SwinTransformer; UserError for what cannot be lowered."""
    _refuse_unsupported(model)
    embedding = model.patch_embed
    shape = SwinShape(
        image=(model.in_chans, *embedding.img_size),
        patch=embedding.patch_size[0],
        stages=tuple(_stage(layer) for layer in model.layers),
        classes=model.num_classes,
    )
    weights = {"patch_embed.proj.weight": embedding.proj.weight.flatten(1)}
    weights["patch_embed.proj.bias"] = _bias(embedding.proj)
    weights |= _norm("patch_embed.norm", embedding.norm)
    for i, layer in enumerate(model.layers):
        if i:
            name = f"layers.{i}.downsample"
            weights |= _norm(f"{name}.norm", layer.downsample.norm)
            weights |= _linear(f"{name}.reduction", layer.downsample.reduction)
        for j, block in enumerate(layer.blocks):
            weights |= _block(f"layers.{i}.blocks.{j}", block)
    weights |= _norm("norm", model.norm) | _linear("head", model.head.fc)
    return Swin(
        shape=shape,
        norm_eps=model.norm.eps,
        weights={name: w.detach().clone() for name, w in weights.items()},
    )


def _stage(layer: Any) -> Stage:
    attention = layer.blocks[0].attn
    return Stage(
        grid=tuple(layer.output_resolution),
        dim=attention.qkv.in_features,
        heads=attention.num_heads,
        head_dim=attention.qkv.out_features // (3 * attention.num_heads),
        window=layer.blocks[0].window_size[0],
        shifts=tuple(block.shift_size[0] for block in layer.blocks),
    )


def _block(name: str, block: Any) -> dict[str, Tensor]:
    """Parameters of one block; `score_bias` is [H, N, N], or [windows, H, N, N] where shifted windows need a mask."""
    attention = block.attn
    position = attention.relative_position_bias_table[attention.relative_position_index].permute(2, 0, 1)
    mask = block.attn_mask
    weights = {f"{name}.attn.score_bias": position if mask is None else position + mask.unsqueeze(1)}
    for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        weights |= _linear(f"{name}.{layer}", block.get_submodule(layer))
    return weights | _norm(f"{name}.norm1", block.norm1) | _norm(f"{name}.norm2", block.norm2)


def _bias(layer: Any) -> Tensor:
    return torch.zeros(layer.weight.shape[0]) if layer.bias is None else layer.bias


def _linear(name: str, layer: Any) -> dict[str, Tensor]:
    return {f"{name}.weight": layer.weight, f"{name}.bias": _bias(layer)}


def _norm(name: str, module: nn.LayerNorm) -> dict[str, Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def _refuse_unsupported(model: Any) -> None:
    """UserError naming the first feature that has no integer form here."""
    embedding, head = model.patch_embed, model.head
    problems = {
        f"a {type(embedding).__name__}": type(embedding).__name__ != "PatchEmbed",
        "dynamic image sizes": model.dynamic_img_size or getattr(embedding, "dynamic_img_pad", False),
        "patches that are not square": len(set(embedding.patch_size)) != 1,
        "an image that patches do not fill": any(
            side % patch for side, patch in zip(embedding.img_size, embedding.patch_size, strict=True)
        ),
        "pooling other than the mean": type(head.global_pool.pool).__name__ != "FastAdaptiveAvgPool",
        "a head that is not one linear layer": not isinstance(head.fc, nn.Linear),
        "no norm before the head": isinstance(model.norm, nn.Identity),
        "a norm other than LayerNorm with scale and bias": any(
            not isinstance(norm, nn.LayerNorm) or norm.bias is None for norm in _norms(model)
        ),
        "a stage without blocks": any(len(layer.blocks) == 0 for layer in model.layers),
    }
    merging = [layer.input_resolution for layer in model.layers[1:]]
    problems |= {
        f"merging of {_by(grid)} tokens, which needs padding": any(side % 2 for side in grid)
        for grid in merging
    }
    blocks = [block for layer in model.layers for block in layer.blocks]
    for found in (problems, *(_block_problems(block) for block in blocks)):
        for what, present in found.items():
            if present:
                raise UserError(f"this model uses {what}, which this version cannot lower to integers")


def _block_problems(block: Any) -> dict[str, bool]:
    window, grid = block.window_size, block.input_resolution
    act = getattr(block.mlp, "act", None)
    return {
        f"a {type(block).__name__}": type(block).__name__ != "SwinTransformerBlock",
        f"attention of kind {type(block.attn).__name__}": type(block.attn).__name__ != "WindowAttention",
        f"windows of {_by(window)} tokens, which are not square": window[0] != window[1],
        f"windows of {_by(window)} on {_by(grid)} tokens, which need padding": any(
            side % part for side, part in zip(grid, window, strict=True)
        ),
        f"a shift of {_by(block.shift_size)} tokens, which differs down and across": len(
            set(block.shift_size)
        )
        != 1,
        "an MLP with gates or norms": type(block.mlp).__name__ != "Mlp"
        or not isinstance(getattr(block.mlp, "norm", None), nn.Identity),
        "an activation other than exact GELU": not isinstance(act, nn.GELU) or act.approximate != "none",
    }


def _norms(model: Any) -> Iterator[Any]:
    """Every place where a norm belongs."""
    yield model.patch_embed.norm
    for layer in model.layers:
        if hasattr(layer.downsample, "norm"):
            yield layer.downsample.norm
        for block in layer.blocks:
            yield from (block.norm1, block.norm2)
    yield model.norm


def _by(sides: Sequence[int]) -> str:
    return f"{sides[0]} x {sides[1]}"

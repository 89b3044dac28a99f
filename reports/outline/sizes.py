"""Sizes of models by name, without torch or timm: `sizes.toml`, facts of timm's configurations."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from typing import Any

from golden.errors import UserError

NEAREST = 3
"""Names that an unknown one is answered with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VitSizes:
    """Sizes of a ViT, DeiT or DeiT-3, as `golden.vit.Shape` has them."""

    image: tuple[int, int, int]
    """Channels, height, width."""
    patch: int
    dim: int
    depth: int
    heads: int
    hidden: int
    """Width of the MLP."""
    classes: int
    prefix: int
    """Tokens in front of the patches."""
    distilled: bool
    """Whether the second token has a head of its own."""

    @property
    def tokens(self) -> int:
        """Tokens of the sequence, prefix included."""
        return self.prefix + (self.image[1] // self.patch) * (self.image[2] // self.patch)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSizes:
    """Sizes of one stage of a Swin Transformer, as `golden.swin.Stage` has them."""

    grid: tuple[int, int]
    """Tokens down and across."""
    dim: int
    heads: int
    head_dim: int
    window: int
    """Side of a window in tokens."""
    shifts: tuple[int, ...]
    """Per block."""

    @property
    def tokens(self) -> int:
        """Tokens of the whole image."""
        return self.grid[0] * self.grid[1]

    @property
    def windows(self) -> int:
        """Windows that the image is cut into."""
        return self.tokens // self.window**2


@dataclass(frozen=True, slots=True, kw_only=True)
class SwinSizes:
    """Sizes of a Swin Transformer, as `golden.swin.SwinShape` has them."""

    image: tuple[int, int, int]
    """Channels, height, width."""
    patch: int
    stages: tuple[StageSizes, ...]
    classes: int


Sizes = VitSizes | SwinSizes


def model_names() -> tuple[str, ...]:
    """Every model whose sizes are known."""
    return tuple(sorted({**_table()["vit"], **_table()["swin"]}))


def sizes_of(model: str) -> Sizes:
    """Sizes of `model`, a timm name with or without an ImageNet-1k tag.

    Raises:
        UserError: its sizes are not known; the nearest names are given.
    """
    name, _, tag = model.partition(".")
    table = _table()
    if not tag or tag.endswith("in1k"):
        if name in table["vit"]:
            return _vit({**table["vit_defaults"], **table["vit"][name]})
        if name in table["swin"]:
            return _swin(table["swin"][name])
    near = get_close_matches(model, model_names(), n=NEAREST, cutoff=0)
    raise UserError(
        f"the sizes of {model!r} are not known without its weights; the nearest known names are {', '.join(near)} "
        "(vitrtl simulate counts the cycles of any model that it can lower)"
    )


def _table() -> Mapping[str, Any]:
    return tomllib.loads((resources.files("reports") / "outline" / "sizes.toml").read_text(encoding="utf-8"))


def _vit(given: Mapping[str, Any]) -> VitSizes:
    channels, side, dim = given["channels"], given["image"], given["dim"]
    return VitSizes(
        image=(channels, side, side),
        patch=given["patch"],
        dim=dim,
        depth=given["depth"],
        heads=given["heads"],
        hidden=given["mlp_ratio"] * dim,
        classes=given["classes"],
        prefix=given["prefix"],
        distilled=given["distilled"],
    )


def _swin(given: Mapping[str, Any]) -> SwinSizes:
    side, patch, classes = given["image"], 4, 1000
    stages = []
    for index, (depth, heads) in enumerate(zip(given["depths"], given["heads"], strict=True)):
        across, dim = side // patch >> index, given["dim"] << index
        # A window as large as the grid stays where it is; of the others every second one is shifted by half its side.
        window = min(given["window"], across)
        shift = 0 if window == across else window // 2
        stages.append(
            StageSizes(
                grid=(across, across),
                dim=dim,
                heads=heads,
                head_dim=dim // heads,
                window=window,
                shifts=tuple(shift * (block % 2) for block in range(depth)),
            )
        )
    return SwinSizes(image=(3, side, side), patch=patch, stages=tuple(stages), classes=classes)

"""Does the integer datapath compute what the fake-quantised model computes? Asked step by step.

End-to-end predictions hide the answer: one flipped 4-bit code grows to a different network. So every site's codes are
recomputed in float64 from the integer program's own input codes of that step, by the fake-quantised model's definition.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from golden.calibrate import Calibrated
from golden.program import Program
from golden.vit import Vit, attention, layernorm, linear, merge_heads, split_heads

DTYPE = torch.float64


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteAgreement:
    """How many codes of one site differ between the integer program and fake quantisation, from identical inputs."""

    site: str
    codes: int
    different: int
    largest: int
    """Largest distance between two codes, counted in the values that the format has between them."""

    def __add__(self, other: "SiteAgreement") -> "SiteAgreement":
        return SiteAgreement(
            site=self.site,
            codes=self.codes + other.codes,
            different=self.different + other.different,
            largest=max(self.largest, other.largest),
        )


def site_agreement(
    calibrated: Calibrated, program: Program, tensors: Mapping[str, NDArray[np.int64]]
) -> list[SiteAgreement]:
    """Compares every site of the integer `tensors` (name -> int64[B, ...], the image included), in order."""
    found = []
    for site, expected in _Expectation(calibrated, program, tensors).sites():
        difference = np.abs(
            ranks(calibrated, site, tensors[site]) - ranks(calibrated, site, expected.numpy())
        )
        found.append(
            SiteAgreement(
                site=site,
                codes=difference.size,
                different=int((difference > 0).sum()),
                largest=int(difference.max()),
            )
        )
    return found


def ranks(calibrated: Calibrated, site: str, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of each code's value among the values of its site's format; residual codes are positions already."""
    codec = calibrated.activations.get(site)
    if codec is None or codec.ordered:
        return codes
    values = codec.with_zero("hardware").decode(torch.arange(1 << codec.bits), DTYPE)
    # Two-scale formats have several codes for some values, and codes of neighbouring values may lie far apart.
    _, position = np.unique(values.numpy(), return_inverse=True)
    return position.astype(np.int64)[codes]


class _Expectation:
    """Fake quantisation in float64, one step at a time, every step from the program's codes."""

    def __init__(
        self, calibrated: Calibrated, program: Program, tensors: Mapping[str, NDArray[np.int64]]
    ) -> None:
        self.calibrated = calibrated.with_zero("hardware")
        self.program = program
        self.codes = {name: torch.from_numpy(values) for name, values in tensors.items()}
        self.vit: Vit = calibrated.vit.to(DTYPE)

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        """Tap of golden.vit: activations are handled step by step here, none passes through."""
        raise NotImplementedError(f"{site} is not reached")

    def weight(self, layer: str, w: Tensor) -> Tensor:
        """Tap of golden.vit: the fake-quantised weight."""
        codec = self.calibrated.weights[layer]
        return codec.decode(codec.encode(self.calibrated.vit.weights[f"{layer}.weight"]), DTYPE)

    def value(self, site: str) -> Tensor:
        """The program's codes of `site`, decoded."""
        return self.calibrated.activations[site].decode(self.codes[site], DTYPE)

    def encode(self, site: str, x: Tensor) -> tuple[str, Tensor]:
        return site, self.calibrated.activations[site].encode(x)

    def residual(self, name: str) -> Tensor:
        if name in self.calibrated.activations:
            return self.value(name)
        scale = float.fromhex(str(self.program.decoding[name]["scale"]))
        return self.codes[name].to(DTYPE) * scale

    def encode_residual(self, name: str, x: Tensor) -> tuple[str, Tensor]:
        if name in self.calibrated.activations:
            return self.encode(name, x)
        scale = float.fromhex(str(self.program.decoding[name]["scale"]))
        format = self.program.tensors[name].format
        return name, torch.round(x / scale).clamp(format.min_code, format.max_code).to(torch.int64)

    def sites(self) -> Iterator[tuple[str, Tensor]]:
        """(site, expected codes) in the model's order."""
        yield self.embedding()
        x = "embed"
        for index in range(self.vit.shape.depth):
            name = f"blocks.{index}"
            yield from self.attention(f"{name}.attn", x, f"{name}.norm1")
            x = f"{name}.attn.residual"
            yield from self.mlp(f"{name}.mlp", x, f"{name}.norm2")
            x = f"{name}.mlp.residual"
        yield self.encode("norm", layernorm(self.vit, "norm", self.residual(x)[:, :1]))

    def embedding(self) -> tuple[str, Tensor]:
        codec = self.calibrated.activations["patch_embed.input"]
        pixels = codec.decode(self.codes[self.program.input], DTYPE)
        patches = F.unfold(pixels, self.vit.shape.patch, stride=self.vit.shape.patch).transpose(1, 2)
        tokens = linear(self.vit, "patch_embed.proj", patches, self)
        # The prefix and the positions enter the program as constants in residual codes: identical input codes.
        total = "embed_sum" if "embed" in self.calibrated.activations else "embed"
        scale = float.fromhex(str(self.program.decoding[total]["scale"]))
        prefix, positions = (
            torch.from_numpy(self.program.constants[name]).to(DTYPE) * scale
            for name in ("prefix", "positions")
        )
        whole = torch.cat([prefix.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.encode_residual("embed", whole + positions)

    def attention(self, name: str, x: str, norm: str) -> Iterator[tuple[str, Tensor]]:
        yield self.encode(norm, layernorm(self.vit, norm, self.residual(x)))
        qkv = split_heads(linear(self.vit, f"{name}.qkv", self.value(norm), self), self.vit.shape.heads)
        for part, values in zip("qkv", qkv, strict=True):
            yield self.encode(f"{name}.{part}", values)
        yield self.encode(
            f"{name}.softmax", attention(self.vit, self.value(f"{name}.q"), self.value(f"{name}.k"))
        )
        mixed = self.value(f"{name}.softmax") @ self.value(f"{name}.v")
        yield self.encode(f"{name}.proj_input", merge_heads(mixed))
        branch = linear(self.vit, f"{name}.proj", self.value(f"{name}.proj_input"), self)
        yield self.encode_residual(f"{name}.residual", self.residual(x) + branch)

    def mlp(self, name: str, x: str, norm: str) -> Iterator[tuple[str, Tensor]]:
        yield self.encode(norm, layernorm(self.vit, norm, self.residual(x)))
        yield self.encode(f"{name}.gelu", F.gelu(linear(self.vit, f"{name}.fc1", self.value(norm), self)))
        branch = linear(self.vit, f"{name}.fc2", self.value(f"{name}.gelu"), self)
        yield self.encode_residual(f"{name}.residual", self.residual(x) + branch)

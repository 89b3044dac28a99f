"""The network executor: movement, capture, freeing, checks, and a whole small ViT as a program."""

import gc
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.errors import InvariantError, UserError
from golden.formats import Integer
from golden.program import Operation, Parameter, Program, Tensor
from golden.softmax_tables import softmax_tables
from sim.movement import move
from sim.network import Executor, run
from sim.unit import Codes

U4, U8, S16 = Integer(bits=4, signed=False), Integer(bits=8, signed=False), Integer(bits=16, signed=True)
ACC = Integer(bits=32, signed=True)


@dataclass
class Builder:
    """A ViT in integers with random weights; multipliers keep every site away from its ends."""

    channels: int = 8
    heads: int = 2
    hidden: int = 16
    patch: int = 2
    image: int = 4
    classes: int = 5
    blocks: int = 2
    steps_per_octave: int = 2
    seed: int = 1
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Codes] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.tokens = (self.image // self.patch) ** 2 + 1

    def add(self, name: str, unit: str, inputs: Mapping[str, str], shape: tuple[int, ...], format: Integer,
            **parameters: Parameter) -> str:  # fmt: skip
        self.tensors[name] = Tensor(shape=shape, format=format)
        self.operations.append(Operation(name=name, unit=unit, inputs=inputs, output=name, parameters=parameters))
        return name

    def constant(self, name: str, codes: Any) -> str:
        self.constants[name] = np.asarray(codes, np.int64)
        return name

    def requantize(self, acc: str, spread: float, zero_point: int, format: Integer, per_channel: bool) -> str:
        """A requantizer that turns accumulators of about ±`spread` into ±64 codes of 8 bits, ±2048 of 16."""
        shape, shift = self.tensors[acc].shape, 24
        target = 64 if format.bits == 8 else 2048
        n = shape[-1] if per_channel else 1
        multiplier = (np.full(n, target / spread * (1 << shift)) * self.rng.uniform(0.8, 1.2, n)).astype(np.int64)
        while multiplier.max() >= 1 << 17:
            multiplier, shift = multiplier >> 1, shift - 1
        name = acc.removesuffix(".acc")
        constants = {
            "multiplier": self.constant(f"{name}.multiplier", multiplier),
            "offset": self.constant(f"{name}.offset", np.full(n, (zero_point << shift) + (1 << (shift - 1)))),
            "shift": self.constant(f"{name}.shift", np.full(n, shift)),
        }
        return self.add(name, "requantizer", {"acc": acc, **constants}, shape, format,
                        out_bits=format.bits, out_signed=format.signed)  # fmt: skip

    def linear(self, name: str, x: str, outputs: int, zero_point: int, format: Integer, centre: int = 128) -> str:
        rows, depth = self.tensors[x].shape
        weights = self.rng.integers(-8, 8, (outputs, depth))
        bias = -centre * weights.sum(axis=1)
        inputs = {"a": x, "w": self.constant(f"{name}.w", weights), "bias": self.constant(f"{name}.bias", bias)}
        acc = self.add(f"{name}.acc", "mac", inputs, (rows, outputs), ACC,
                       a_zero_point=0, w_zero_point=0, acc_bits=32)  # fmt: skip
        spread = 4.6 * depth**0.5 * self.tensors[x].format.max_code / 4
        return self.requantize(acc, spread, zero_point, format, per_channel=True)

    def layernorm(self, name: str, x: str) -> str:
        n = self.channels
        inputs = {
            "x": x,
            "gain": self.constant(f"{name}.gain", self.rng.integers(900, 1100, n)),
            "offset": self.constant(f"{name}.offset", np.full(n, (128 << 17) + (1 << 16))),
        }
        return self.add(name, "layernorm", inputs, self.tensors[x].shape, U8, channels=n, epsilon=n * n,
                        norm_frac_bits=12, shift=17, in_bits=16, out_bits=8)  # fmt: skip

    def residual(self, name: str, a: str, b: str) -> str:
        return self.add(name, "residual_adder", {"a": a, "b": b}, self.tensors[a].shape, S16, bits=16)

    def attention(self, name: str, x: str) -> str:
        tokens, depth, heads = self.tokens, self.channels // self.heads, self.heads
        qkv = self.linear(f"{name}.qkv", x, 3 * self.channels, 128, U8)
        q, k, v = (
            self.add(f"{name}.{part}", "move", {"x": qkv}, (heads, tokens, depth), U8,
                     kind="heads", part=n, heads=heads)
            for n, part in enumerate("qkv")
        )  # fmt: skip
        scores = self.add(f"{name}.scores.acc", "mac", {"a": q, "w": k}, (heads, tokens, tokens), ACC,
                          a_zero_point=128, w_zero_point=128, acc_bits=32)  # fmt: skip
        scores = self.requantize(scores, depth**0.5 * 512, 0, S16, per_channel=False)
        tables = {key: list(entries) for key, entries in softmax_tables(15, 12).items()}
        weights = self.add(f"{name}.softmax", "softmax", {"x": scores}, (heads, tokens, tokens), U4,
                           score_bits=16, score_frac_bits=9, code_bits=4, steps_per_octave=self.steps_per_octave,
                           max_length=tokens, log2_scale=0, exp_bits=15, log_frac_bits=12, **tables)  # fmt: skip
        acc = self.add(f"{name}.mix.acc", "log2_mac", {"a": weights, "w": v}, (heads, tokens, depth), ACC,
                       code_bits=4, steps_per_octave=self.steps_per_octave, frac_bits=14 // self.steps_per_octave,
                       w_zero_point=128, acc_bits=32)  # fmt: skip
        mixed = self.requantize(acc, 64 << (14 // self.steps_per_octave), 128, U8, per_channel=False)
        merged = self.add(f"{name}.merge", "move", {"x": mixed}, (tokens, self.channels), U8, kind="merge_heads")
        return self.linear(f"{name}.proj", merged, self.channels, 0, S16)

    def mlp(self, name: str, x: str) -> str:
        hidden = self.linear(f"{name}.fc1", x, self.hidden, 0, S16)
        bump = [int(170 * 64 * u * 2.718 ** (-u * u / 1.2)) for u in np.arange(32) / 6]
        code = self.add(f"{name}.act", "gelu", {"h": hidden}, self.tensors[hidden].shape, U8, in_bits=16,
                        frac_bits=7, table_frac_bits=3, table=[*bump, 0], table_step=9, zero_point=12,
                        out_bits=8)  # fmt: skip
        return self.linear(f"{name}.fc2", code, self.channels, 0, S16, centre=12)

    def build(self) -> Program:
        side, tokens, channels = self.image // self.patch, self.tokens, self.channels
        self.tensors["image"] = Tensor(shape=(3, self.image, self.image), format=U8)
        patches = self.add("patches", "move", {"x": "image"}, (side**2, 3 * self.patch**2), U8,
                           kind="patches", patch_size=self.patch)  # fmt: skip
        embedded = self.linear("embed", patches, channels, 0, S16)
        rows = self.constant("cls", self.rng.integers(-9000, 9000, (1, channels)))
        x = self.add("tokens", "move", {"x": embedded, "rows": rows}, (tokens, channels), S16, kind="prepend")
        position = self.constant("position", self.rng.integers(-9000, 9000, (tokens, channels)))
        x = self.residual("positioned", x, position)
        for n in range(self.blocks):
            normed = self.layernorm(f"blocks.{n}.norm1", x)
            x = self.residual(f"blocks.{n}.add1", x, self.attention(f"blocks.{n}.attn", normed))
            normed = self.layernorm(f"blocks.{n}.norm2", x)
            x = self.residual(f"blocks.{n}.add2", x, self.mlp(f"blocks.{n}.mlp", normed))
        normed = self.layernorm("norm", x)
        token = self.add("token", "move", {"x": normed}, (1, channels), U8, kind="token", index=0)
        logits = self.linear("head", token, self.classes, 0, S16)
        return Program(tensors=self.tensors, constants=self.constants, operations=tuple(self.operations),
                       input="image", output=logits, provenance={}, decoding={})  # fmt: skip


@pytest.fixture(scope="module")
def program() -> Program:
    return Builder().build()


@pytest.fixture(scope="module")
def images() -> Codes:
    return np.random.default_rng(2).integers(0, 256, (6, 3, 4, 4))

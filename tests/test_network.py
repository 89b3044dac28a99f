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
from sim.checks import check_range
from sim.movement import move
from sim.network import Executor, run
from sim.registry import unit_of
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
        self.operations.append(
            Operation(name=name, unit=unit, inputs=inputs, output=name, parameters=parameters)
        )
        return name

    def constant(self, name: str, codes: Any) -> str:
        self.constants[name] = np.asarray(codes, np.int64)
        return name

    def requantize(self, acc: str, spread: float, zero_point: int, format: Integer, per_channel: bool) -> str:
        """A requantizer that turns accumulators of about ±`spread` into ±64 codes of 8 bits, ±2048 of 16."""
        shape, shift = self.tensors[acc].shape, 24
        target = 64 if format.bits == 8 else 2048
        n = shape[-1] if per_channel else 1
        multiplier = (np.full(n, target / spread * (1 << shift)) * self.rng.uniform(0.8, 1.2, n)).astype(
            np.int64
        )
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

    def linear(
        self, name: str, x: str, outputs: int, zero_point: int, format: Integer, centre: int = 128
    ) -> str:
        rows, depth = self.tensors[x].shape
        weights = self.rng.integers(-8, 8, (outputs, depth))
        bias = -centre * weights.sum(axis=1)
        inputs = {
            "a": x,
            "w": self.constant(f"{name}.w", weights),
            "bias": self.constant(f"{name}.bias", bias),
        }
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
        merged = self.add(
            f"{name}.merge", "move", {"x": mixed}, (tokens, self.channels), U8, kind="merge_heads"
        )
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


def test_every_kind_of_operation_occurs(program: Program) -> None:
    units = {operation.unit for operation in program.operations}
    kinds = {operation.parameters["kind"] for operation in program.operations if operation.unit == "move"}
    assert units == {
        "move",
        "mac",
        "log2_mac",
        "requantizer",
        "softmax",
        "layernorm",
        "gelu",
        "residual_adder",
    }
    assert kinds == {"patches", "heads", "merge_heads", "prepend", "token"}


def test_movement_by_hand() -> None:
    # One channel pair of 2 × 4 pixels, patches of 2: channel-major inside a patch, then row-major.
    x = np.arange(16).reshape(1, 2, 2, 4)
    assert move({"x": x}, {"kind": "patches", "patch_size": 2}).tolist() == [
        [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]
    ]
    # Two tokens of q q q q k k k k v v v v; head 1 of k is columns 6 and 7.
    x = np.arange(24).reshape(1, 2, 12)
    k = move({"x": x}, {"kind": "heads", "part": 1, "heads": 2})
    assert k.tolist() == [[[[4, 5], [16, 17]], [[6, 7], [18, 19]]]]
    assert move({"x": k}, {"kind": "merge_heads"}).tolist() == [[[4, 5, 6, 7], [16, 17, 18, 19]]]
    x = np.arange(8).reshape(2, 2, 2)
    assert move({"x": x, "rows": np.array([[7, 8]])}, {"kind": "prepend"}).tolist() == [
        [[7, 8], [0, 1], [2, 3]], [[7, 8], [4, 5], [6, 7]],
    ]  # fmt: skip
    assert move({"x": np.arange(6).reshape(1, 3, 2)}, {"kind": "token", "index": 1}).tolist() == [[[2, 3]]]


@pytest.mark.parametrize(
    ("shape", "parameters", "message"),
    [
        ((1, 2, 3), {"kind": "rotate"}, "kind must be one of .*, not 'rotate'"),
        ((1, 2, 3), {}, "not None"),
        ((1, 1, 3, 3), {"kind": "patches", "patch_size": 2}, "does not fit"),
        ((1, 2, 10), {"kind": "heads", "part": 0, "heads": 2}, "does not fit"),
        ((1, 2, 12), {"kind": "heads", "part": 3, "heads": 2}, "does not fit"),
        ((1, 2, 12), {"kind": "token", "index": 2}, "does not fit"),
        ((1, 2, 12), {"kind": "token"}, "does not fit"),
    ],
)
def test_movement_that_does_not_fit_raises(
    shape: tuple[int, ...], parameters: dict[str, Parameter], message: str
) -> None:
    with pytest.raises(InvariantError, match=message):
        move({"x": np.zeros(shape, np.int64)}, parameters)


def test_units_of_a_program_are_frozen_and_hashable(program: Program) -> None:
    """Tables come as lists; port formats that no parameter gives come from the operands."""
    units = {
        operation.name: unit_of(program, operation)
        for operation in program.operations
        if operation.unit != "move"
    }
    assert len(set(units.values())) < len(units)  # both blocks' softmax are one unit
    qkv: Any = units["blocks.0.attn.qkv.acc"]
    assert (str(qkv.a_format), str(qkv.w_format)) == ("u8", "s4")
    requantizer: Any = units["blocks.0.attn.qkv"]
    offset = program.constants["blocks.0.attn.qkv.offset"]
    assert requantizer.acc_format == ACC
    assert requantizer.offset_format == Integer.holding(int(offset.min()), int(offset.max()))


@pytest.mark.parametrize(("code", "fits"), [(-9, False), (-8, True), (7, True), (8, False)])
@pytest.mark.parametrize("kind", [np.int64, np.int16])
def test_range_check_at_the_ends(code: int, fits: bool, kind: type[np.signedinteger[Any]]) -> None:
    codes = np.array([[0, code, 1]], kind)
    for view in (codes, codes.T, np.repeat(codes, 2, axis=1)[:, ::2]):
        if fits:
            assert check_range("codes", view, Integer(bits=4, signed=True)) == (min(code, 0), max(code, 1))
        else:
            with pytest.raises(InvariantError, match=r"codes spans .*, outside s4 = \[-8, 7\]"):
                check_range("codes", view, Integer(bits=4, signed=True))


def test_operations_chain_as_the_program_says(program: Program, images: Codes) -> None:
    """Every output follows from the captured inputs by the unit alone, in its declared shape and format."""
    result = run(program, images, capture="all")
    assert set(result.tensors) == set(program.tensors)
    for operation in program.operations:
        operands = {
            name: result.tensors.get(source, program.constants.get(source))
            for name, source in operation.inputs.items()
        }
        if operation.unit == "move":
            expected = move(operands, operation.parameters)
        else:
            unit: Any = unit_of(program, operation)
            expected = unit.compute(*operands.values()) if len(operands) == 1 else unit.compute(**operands)
        assert np.array_equal(result.tensors[operation.output], expected), operation.name
        assert expected.shape == (len(images), *program.tensors[operation.output].shape)
    assert np.array_equal(result.logits, result.tensors["head"][:, 0])
    # The random network is alive: images give different logits, and no site sits at its ends only.
    assert len(np.unique(result.logits, axis=0)) == len(images)
    assert all(len(np.unique(codes)) > 3 for codes in result.tensors.values())


def test_same_bits_whatever_the_batch_and_the_threads(program: Program, images: Codes) -> None:
    whole = run(program, images, capture="all")
    executor = Executor(program)
    for threads in (1, 3):
        again = executor.run(images, capture="all", threads=threads)
        assert all(np.array_equal(again.tensors[name], whole.tensors[name]) for name in program.tensors)
    one_by_one = np.concatenate([executor.run(images[n : n + 1]).logits for n in range(len(images))])
    assert np.array_equal(one_by_one, whole.logits)
    assert np.array_equal(executor.run(images[::-1].astype(np.uint8)).logits, whole.logits[::-1])


def test_program_survives_saving(program: Program, images: Codes, tmp_path: Path) -> None:
    program.save(tmp_path / "small.safetensors")
    loaded = Program.load(tmp_path / "small.safetensors")
    assert loaded.operations == program.operations
    assert np.array_equal(run(loaded, images).logits, run(program, images).logits)


def test_only_captured_tensors_are_kept(program: Program, images: Codes) -> None:
    names = ["image", "blocks.0.attn.softmax", "head"]
    assert set(run(program, images, capture=names).tensors) == set(names)
    assert set(run(program, images, capture="token").tensors) == {"token"}
    assert run(program, images).tensors == {}
    with pytest.raises(
        UserError, match=r"no tensor 'blocks\.0\.attn\.softmx'; did you mean 'blocks\.0\.attn\.softmax'\?"
    ):
        run(program, images, capture=["blocks.0.attn.softmx"])


def test_spent_tensors_are_freed(program: Program, images: Codes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than five at once: the residual stream, q, k, v and what is being made."""
    alive: dict[str, weakref.ref[Any]] = {}
    most = []
    real = Executor._execute

    def watch(self: Executor, step: Any, live: Mapping[str, Codes], batch: int) -> Codes:
        output = real(self, step, live, batch)
        most.append(len(live))
        alive[step.operation.output] = weakref.ref(output)
        return output

    monkeypatch.setattr(Executor, "_execute", watch)
    result = Executor(program).run(images[:2], threads=1)
    gc.collect()
    assert max(most) == 4  # before the output is added: the residual stream, q, k, v
    assert {name for name, codes in alive.items() if codes() is not None} <= {"head"}
    assert result.logits.shape == (2, 5)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 4), (0, 3, 4, 4)])
def test_images_of_another_shape_are_a_users_mistake(program: Program, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"images have shape .*, this program takes \[batch, 3, 4, 4\]"):
        run(program, np.zeros(shape, np.int64))


def test_images_outside_their_format_raise(program: Program, images: Codes) -> None:
    with pytest.raises(InvariantError, match=r"image spans \[0, 256\], outside u8"):
        run(program, np.where(images == images[0, 0, 0, 0], 256, images * 0))
    with pytest.raises(InvariantError, match="image must hold integers, not float64"):
        run(program, images / 1)


def changed(program: Program, name: str, **changes: Any) -> Program:
    """The program with one operation changed."""
    operations = tuple(replace(o, **changes) if o.name == name else o for o in program.operations)
    return replace(program, operations=operations)


def test_wrong_programs_raise(program: Program) -> None:
    softmax = next(o for o in program.operations if o.name == "blocks.0.attn.softmax")
    for name, changes, message in (
        ("token", {"unit": "fft"}, "there is no unit 'fft'; the units are gelu, layernorm"),
        ("token", {"inputs": {"x": "norm9"}}, "token reads 'norm9' before anything makes it"),
        ("token", {"output": "norm"}, "token makes 'norm' twice or undeclared"),
        ("token", {"output": "elsewhere"}, "token makes 'elsewhere' twice or undeclared"),
        (
            "blocks.0.add1",
            {"parameters": {"bits": 99}},
            "blocks.0.add1: residual_adder refuses .* bits must be",
        ),
        ("blocks.0.add1", {"parameters": {"bite": 16}}, "blocks.0.add1: residual_adder refuses .* 'bite'"),
        (softmax.name, {"parameters": {**softmax.parameters, "code_bits": 9}}, "softmax refuses"),
    ):
        with pytest.raises(InvariantError, match=message):
            Executor(changed(program, name, **changes))
    with pytest.raises(InvariantError, match="no operation makes the program's output 'q'"):
        Executor(replace(program, output="q"))


def test_broken_invariants_while_running_raise(program: Program, images: Codes) -> None:
    narrow = {**program.tensors, "token": Tensor(shape=(1, 8), format=Integer(bits=2, signed=False))}
    with pytest.raises(InvariantError, match=r"token spans \[\d+, \d+\], outside u2"):
        run(replace(program, tensors=narrow), images)
    flat = {**program.tensors, "token": Tensor(shape=(8,), format=U8)}
    with pytest.raises(InvariantError, match=r"operation token gives token of shape \(1, 8\), not \[8\]"):
        run(replace(program, tensors=flat), images)
    parameters: dict[str, Parameter] = {"a_zero_point": 128, "w_zero_point": 128, "acc_bits": 9}
    with pytest.raises(InvariantError, match=r"attn\.scores\.acc: mac accumulator spans .* outside s9"):
        run(changed(program, "blocks.0.attn.scores.acc", parameters=parameters), images)
    missing = {"acc": "head.acc", "multiplier": "head.multiplier", "offset": "head.offset"}
    with pytest.raises(InvariantError, match=r"operation head: .*missing 1 required .*'shift'"):
        run(changed(program, "head", inputs=missing), images)


@pytest.mark.parametrize(
    ("constant", "bit"),
    [
        ("blocks.0.attn.qkv.w", 2),
        ("blocks.1.norm2.gain", 9),
        ("position", 12),
        ("cls", 12),
        ("head.shift", 0),
    ],
)
def test_one_flipped_bit_of_a_constant_is_seen(
    program: Program, images: Codes, constant: str, bit: int
) -> None:
    codes = program.constants[constant].copy()
    codes.reshape(-1)[0] ^= 1 << bit
    flipped = replace(program, constants={**program.constants, constant: codes})
    assert not np.array_equal(run(flipped, images).logits, run(program, images).logits)

"""Planted faults: one small change in the reference, or in the program that only the simulator gets, must be seen.

Equality of two implementations means something only if it can fail. Faults in the simulator's kernels are in
tests/units, faults in the RTL in tests/test_rtl_mutations.py and tests/test_rtl_mutations_handshakes.py.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from golden.calibrate import Calibrated
from golden.digits import images
from golden.errors import InvariantError
from golden.lowering import lower
from golden.program import Operation, Program
from golden.reference import execute
from sim.network import Executor

IMAGES = 12
Programs = Callable[[int], Program]


@pytest.fixture(scope="module")
def codes(digits_calibrated: Callable[[int], Calibrated]) -> NDArray[np.int64]:
    """Image codes: the patch input has 8 bits at every width, so these serve all."""
    few = images("test").images[::30]
    assert len(few) == IMAGES
    found: NDArray[np.int64] = digits_calibrated(8).activations["patch_embed.input"].encode(few).numpy()
    return found


def first_difference(
    program: Program, codes: NDArray[np.int64], simulated: Program | None = None
) -> str | None:
    """First tensor in which reference and simulator differ, `range` when the reference leaves one; else None."""
    tensors = Executor(simulated or program).run(codes, capture="all").tensors
    try:
        differing = [
            name for name, expected in execute(program, codes) if not np.array_equal(expected, tensors[name])
        ]
    except InvariantError as error:
        return f"range: {error}"
    return differing[0] if differing else None


def plant(monkeypatch: pytest.MonkeyPatch, unit: str, function: str, old: str, new: str) -> None:
    """Replaces a function of a reference by its own source with `old` changed to `new`."""
    module = import_module(f"golden.units.{unit}")
    source = inspect.getsource(getattr(module, function))
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in golden/units/{unit}.py"
    scope: dict[str, Any] = dict(vars(module))
    exec(compile(source.replace(old, new), f"<{unit} with {new!r}>", "exec"), scope)
    monkeypatch.setattr(module, function, scope[function])


@pytest.mark.parametrize("bits", [4, 8])
def test_without_a_fault_nothing_differs(
    bits: int, digits_program: Programs, codes: NDArray[np.int64]
) -> None:
    assert first_difference(digits_program(bits), codes) is None


@pytest.mark.parametrize(
    ("bits", "unit", "function", "old", "new", "where"),
    [
        (8, "requantizer", "golden", "+ offset)", "+ offset - (1 << (shift - 1)))", "patch_embed.proj"),
        (8, "requantizer", "golden", "acc * multiplier", "(acc + 1) * multiplier", "patch_embed.proj"),
        (4, "requantizer", "golden", "return saturate(", "return (lambda codes, _: codes)(", "range"),
        (8, "requantizer", "golden", "return saturate(", "return (lambda codes, _: codes & 255)(", "patch_embed.proj"),
        (8, "mac", "golden", "bias, acc_bits", "bias if bias is None else bias - 1, acc_bits", "patch_embed.proj_acc"),
        (8, "mac", "terms", "w - w_zero_point", "w", "blocks.0.attn.scores_acc"),
        (8, "softmax", "golden", "x.amax(-1, keepdim=True) - x", "x[..., :1] - x", "blocks.0.attn.softmax"),
        (8, "softmax", "golden", "round_shift(minus_log2, ", "torch.bitwise_right_shift(minus_log2, ",
         "blocks.0.attn.softmax"),
        (8, "softmax", "golden", "+ log2_sum", "+ log2_sum + (1 << (log_frac_bits - 6))", "blocks.0.attn.softmax"),
        (8, "softmax", "log2_of_sum", "(top - exp_bits)", "(top - exp_bits + 1)", "blocks.0.attn.softmax"),
        (4, "softmax", "golden", "return saturate(", "return (lambda codes, _: codes)(", "range"),
        (8, "log2_mac", "join", "round_shift(odd * SQRT2_Q15, 15)", "odd * SQRT2_Q15 >> 15", "blocks.0.attn.mix_acc"),
        (8, "log2_mac", "join", "(odd * SQRT2_Q15,", "(odd * (SQRT2_Q15 - 1),", "blocks.0.attn.mix_acc"),
        (4, "log2_mac", "terms", "set(range(log2.zero_code)) -", "set(range(log2.zero_code + 1)) -",
         "blocks.0.attn.mix_acc"),
        (8, "layernorm", "golden", "math.isqrt((1 << 62) // mantissa)", "math.isqrt((1 << 62) // mantissa) + 1",
         "blocks.0.norm1"),
        (8, "layernorm", "golden", "* r_row + half", "* r_row + half * 64", "blocks.0.norm1"),
        (8, "layernorm", "golden", "- total * total", "", "blocks.0.norm1"),
        (8, "gelu", "golden", "(right - left) * low", "(left - right) * low", "blocks.0.mlp.gelu"),
        (8, "gelu", "golden", "h.clamp(min=0)", "h", "blocks.0.mlp.gelu"),
    ],
)  # fmt: skip
def test_a_fault_in_a_reference_is_seen(
    bits: int,
    unit: str,
    function: str,
    old: str,
    new: str,
    where: str,
    digits_program: Programs,
    codes: NDArray[np.int64],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if new == "check_range_of(":  # no saturation at all
        old, new = (
            f"{old}Integer(bits=out_bits, signed=out_signed))",
            "((acc * multiplier + offset) >> shift)",
        )
    plant(monkeypatch, unit, function, old, new)
    seen = first_difference(digits_program(bits), codes)
    assert seen is not None
    assert seen.startswith(where)


def test_a_residual_stream_that_does_not_saturate_is_seen(
    digits_calibrated: Callable[[int], Calibrated], codes: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an eighth of the range the stream saturates: still equal, until one side forgets to."""
    calibrated = digits_calibrated(8)
    program = lower(replace(calibrated, residual_peak=calibrated.residual_peak / 8), {})
    residuals = (
        Executor(program).run(codes, capture=["blocks.0.mlp.residual"]).tensors["blocks.0.mlp.residual"]
    )
    assert 32767 in residuals
    assert first_difference(program, codes) is None
    plant(
        monkeypatch, "residual_adder", "golden", "saturate(a + b, Integer(bits=bits, signed=True))", "a + b"
    )
    assert (first_difference(program, codes) or "").startswith("range: ")


Change = Callable[[Any], Any]


def entry(index: int, by: int) -> Change:
    """One entry of a table, changed."""
    return lambda table: [*table[:index], table[index] + by, *table[index + 1 :]]


def with_parameter(program: Program, operation: str, parameter: str, change: Change) -> Program:
    def changed(o: Operation) -> Operation:
        return replace(o, parameters={**o.parameters, parameter: change(o.parameters[parameter])})

    assert operation in {o.name for o in program.operations}
    operations = tuple(changed(o) if o.name == operation else o for o in program.operations)
    return replace(program, operations=operations)


@pytest.mark.parametrize(
    ("operation", "parameter", "change"),
    [
        # Images hold few scores next to a boundary: 2^-8 of a power, where directed rows see the last bit.
        *(("blocks.1.attn.softmax", "exp_base", entry(segment, 1024)) for segment in (0, 3, 7)),
        ("blocks.1.attn.softmax", "exp_slope", entry(0, 16)),
        ("blocks.1.attn.softmax", "log_base", entry(3, 128)),
        ("blocks.1.attn.softmax", "log2_scale", lambda scale: scale + 64),
        ("blocks.1.norm1", "epsilon", lambda epsilon: 1000 * epsilon),
        ("blocks.1.norm1", "norm_frac_bits", lambda bits: bits - 1),
        ("blocks.1.norm1", "shift", lambda shift: shift + 1),
        ("blocks.1.mlp.gelu", "table", entry(0, 16)),
        ("blocks.1.mlp.gelu", "zero_point", lambda zero: zero + 1),
        ("blocks.1.attn.mix_acc", "frac_bits", lambda bits: bits - 1),
        ("blocks.1.attn.scores_acc", "a_zero_point", lambda zero: zero + 1),
        ("blocks.1.attn.k", "part", lambda part: 2),
        ("norm_token", "index", lambda index: 1),
    ],
)
def test_a_wrong_parameter_is_seen_where_it_is(
    operation: str, parameter: str, change: Change, digits_program: Programs, codes: NDArray[np.int64]
) -> None:
    program = digits_program(8)
    faulty = with_parameter(program, operation, parameter, change)
    assert first_difference(program, codes, faulty) == operation


@pytest.mark.parametrize("name", ["patch_embed.proj.weight", "blocks.2.mlp.fc2.weight", "head.weight"])
def test_one_flipped_weight_bit_is_seen(
    name: str, digits_program: Programs, codes: NDArray[np.int64]
) -> None:
    program = digits_program(8)
    weights = program.constants[name].copy()
    weights[2, 1] ^= 1
    faulty = replace(program, constants={**program.constants, name: weights})
    assert first_difference(program, codes, faulty) == f"{name.removesuffix('.weight')}_acc"


def test_a_half_that_is_one_too_small_is_seen_on_ties(
    digits_program: Programs, codes: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images hold few ties of long fractions, so the tie is made: factors of one half."""
    program = digits_program(8)
    constants = {
        name: np.full_like(constant, {"multiplier": 1, "offset": 1, "shift": 1}[name.rpartition(".")[2]])
        if name.rpartition(".")[0] == "patch_embed.proj"
        and name.rpartition(".")[2] in {"multiplier", "offset", "shift"}
        else constant
        for name, constant in program.constants.items()
    }
    ties = replace(program, constants=constants)
    assert first_difference(ties, codes) is None
    plant(monkeypatch, "requantizer", "golden", "+ offset)", "+ offset - 1)")
    assert first_difference(ties, codes) == "patch_embed.proj"

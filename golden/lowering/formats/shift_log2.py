"""Shifted log codes: made from GELU's output by its leading one, consumed by shifts; the shift joins the next bias."""

import math

import torch

from golden.codecs.shift_log2 import MAX_OCTAVES, UNITY_BITS, ShiftLog2Codec
from golden.codecs.uniform import UniformCodec
from golden.errors import InvariantError
from golden.formats import Integer
from golden.lowering.bounds import shifted_sum
from golden.lowering.builder import ProgramBuilder
from golden.lowering.wide import Operand, Wide
from golden.program import Tensor

IN_BITS = UNITY_BITS + 1
"""Width of what is encoded: up to twice the scale, beyond which every value has code 0 anyway."""
JOIN_BITS = 4
FRAC_BITS = MAX_OCTAVES + JOIN_BITS
"""Fraction bits of the accumulator: no shifted weight loses a bit, so nothing rounds towards minus infinity. What is
left to round is where the odd codes' √2 joins: at 3 bits a weight step is some 500 residual codes, and half of 2^-16
of it 0.004 of a code."""


def fine(codec: ShiftLog2Codec) -> UniformCodec:
    """Uniform codes of GELU's output whose zero point is the shift: the code itself is the shifted value."""
    return UniformCodec(
        bits=IN_BITS,
        scale=torch.tensor(codec.unit, dtype=torch.float64),
        zero_point=torch.tensor(codec.offset_units),
    )


def encode(
    builder: ProgramBuilder,
    name: str,
    wide: Wide,
    codec: ShiftLog2Codec,
    shape: tuple[int, ...],
    site: str | None,
) -> str:
    """Codes of the fine codes of `wide`."""
    return builder.operation(
        name,
        "log2_encoder",
        {"x": wide.tensor},
        Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site),
        in_bits=IN_BITS,
        code_bits=codec.bits,
        steps_per_octave=codec.steps_per_octave,
        unity=UNITY_BITS,
        thresholds=thresholds(codec.steps_per_octave),
        max_level=codec.with_zero("hardware").max_level,
    )


def thresholds(steps_per_octave: int) -> list[int]:
    """Least mantissas of IN_BITS bits whose logarithm rounds up, once or twice: 2^(n + 1/2), or 2^(n + 1/4, 3/4)."""
    n = IN_BITS - 1
    quarters = (4 * n + 2,) if steps_per_octave == 1 else (4 * n + 1, 4 * n + 3)
    # 2^(q/4) is the square root of a square root, and irrational: its ceiling is one more than its floor.
    return [math.isqrt(math.isqrt(1 << q)) + 1 for q in quarters]


def multiply(
    builder: ProgramBuilder,
    name: str,
    codes: str,
    codec: ShiftLog2Codec,
    operand: Operand,
    shape: tuple[int, ...],
) -> Wide:
    """Sums of weights shifted right by what each code says; minus the shift times the weights' sum as a bias."""
    if operand.weights is None:
        raise InvariantError(f"{name}: shifted log codes multiply with weights only")
    acc = shifted_sum(operand.depth, operand.reach, FRAC_BITS)
    tensor = builder.operation(
        name,
        "log2_mac",
        {"a": codes, "w": operand.columns(builder)},
        Tensor(shape=shape, format=acc),
        code_bits=codec.bits,
        steps_per_octave=codec.steps_per_octave,
        frac_bits=FRAC_BITS,
        w_zero_point=operand.zero_point,
        acc_bits=acc.bits,
    )
    bias = -codec.offset * operand.weights.sum(1) * operand.scale
    return Wide(tensor=tensor, scale=float(codec.scale) * 2.0**-FRAC_BITS * operand.scale, bias=bias)

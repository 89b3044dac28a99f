"""Log codes: made by the shift-based softmax itself, consumed by shifts instead of multiplications."""

import math

import numpy as np

from golden.codecs.log2 import Log2Codec
from golden.formats import Integer
from golden.lowering.bounds import shifted_sum
from golden.lowering.builder import ProgramBuilder
from golden.lowering.scores import LOG_CODES
from golden.lowering.wide import Operand, Wide
from golden.program import Tensor

MAX_SHIFTED_BITS, JOIN_BITS = 16, 7
"""Fraction bits kept when codes shift V: at most 16, and up to that all that the codes need, plus 7 that keep the
rounding where the √2 accumulator joins (half a unit, times up to 4 output codes per V code) near 0.1 % of the codes."""


def encode_scores(
    builder: ProgramBuilder, name: str, scores: str, codec: Log2Codec, shape: tuple[int, ...], site: str
) -> str:
    """Codes straight from attention scores in octaves."""
    return builder.operation(
        name,
        "softmax",
        {"x": scores},
        Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site),
        **LOG_CODES.parameters(shape[-1]),
        code_bits=codec.bits,
        steps_per_octave=codec.steps_per_octave,
        log2_scale=round(math.log2(float(codec.scale)) * (1 << LOG_CODES.log_frac_bits)),
    )


def multiply(
    builder: ProgramBuilder, name: str, codes: str, codec: Log2Codec, operand: Operand, shape: tuple[int, ...]
) -> Wide:
    """Sums of `operand` shifted right by what each code says."""
    needed = codec.format.shift(codec.format.zero_code - 1)
    frac_bits = min(needed + JOIN_BITS, MAX_SHIFTED_BITS)
    acc = shifted_sum(operand.depth, operand.reach, frac_bits)
    tensor = builder.operation(
        name,
        "log2_mac",
        {"a": codes, "w": operand.columns(builder)},
        Tensor(shape=shape, format=acc),
        code_bits=codec.bits,
        steps_per_octave=codec.steps_per_octave,
        frac_bits=frac_bits,
        w_zero_point=operand.zero_point,
        acc_bits=acc.bits,
    )
    return Wide(tensor=tensor, scale=float(codec.scale) * 2.0**-frac_bits * operand.scale, bias=np.zeros(1))

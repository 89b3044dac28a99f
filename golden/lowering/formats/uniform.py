"""Uniform codes: made by a requantizer, consumed by a plain multiply-accumulate."""

import numpy as np

from golden.codecs.uniform import UniformCodec
from golden.formats import Integer
from golden.lowering.bounds import centred_range, product_sum, weighted_sum
from golden.lowering.builder import ProgramBuilder
from golden.lowering.wide import Operand, Wide
from golden.program import Tensor


def encode(
    builder: ProgramBuilder,
    name: str,
    wide: Wide,
    codec: UniformCodec,
    shape: tuple[int, ...],
    site: str | None,
) -> str:
    """Codes of `wide`: scale, bias and zero point in one requantizer."""
    scale = float(codec.scale)
    output = Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site)
    steps = wide.bias / scale + int(codec.zero_point)
    return builder.requantize(name, wide.tensor, wide.scale / scale, steps, output)


def multiply(
    builder: ProgramBuilder,
    name: str,
    codes: str,
    codec: UniformCodec,
    operand: Operand,
    shape: tuple[int, ...],
) -> Wide:
    """Products with `operand`; for weights the codes' zero point is folded into the bias."""
    zero_point, w = int(codec.zero_point), operand.rows(builder)
    inputs = {"a": codes, "w": w}
    if operand.weights is None:
        a_zero_point = zero_point
        acc = product_sum(operand.depth, centred_range(codec.bits, zero_point), operand.reach)
    else:
        a_zero_point = 0
        bias = -zero_point * operand.weights.sum(1)
        inputs["bias"] = builder.constant(f"{name}.bias", bias)
        acc = weighted_sum(operand.weights, bias, (1 << codec.bits) - 1)
    tensor = builder.operation(
        name,
        "mac",
        inputs,
        Tensor(shape=shape, format=acc),
        a_zero_point=a_zero_point,
        w_zero_point=operand.zero_point,
        acc_bits=acc.bits,
    )
    return Wide(tensor=tensor, scale=float(codec.scale) * operand.scale, bias=np.zeros(1))

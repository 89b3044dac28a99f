"""Two-scale codes: a requantizer to the small step, then flag and payload; consumed by a multiplier and a shift."""

import numpy as np

from golden.codecs.two_scale import TwoScaleCodec
from golden.formats import Integer
from golden.lowering.bounds import product_sum
from golden.lowering.builder import ProgramBuilder
from golden.lowering.wide import Operand, Wide
from golden.program import Tensor


def encode(
    builder: ProgramBuilder,
    name: str,
    wide: Wide,
    codec: TwoScaleCodec,
    shape: tuple[int, ...],
    site: str | None,
) -> str:
    """Codes of non-negative `wide`."""
    scale = float(codec.scale)
    steps = Tensor(shape=shape, format=Integer(bits=codec.in_bits, signed=False))
    x = builder.requantize(f"{name}_steps", wide.tensor, wide.scale / scale, wide.bias / scale, steps)
    output = Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site)
    return builder.operation(
        name,
        "two_scale_encoder",
        {"x": x},
        output,
        in_bits=codec.in_bits,
        code_bits=codec.bits,
        shift=codec.shift,
    )


def multiply(
    builder: ProgramBuilder,
    name: str,
    codes: str,
    codec: TwoScaleCodec,
    operand: Operand,
    shape: tuple[int, ...],
) -> Wide:
    """Products with `operand`, in units of the small step."""
    largest = ((1 << (codec.bits - 1)) - 1) << codec.shift
    acc = product_sum(operand.depth, (0, largest), operand.reach)
    tensor = builder.operation(
        name,
        "two_scale_mac",
        {"a": codes, "w": operand.rows(builder)},
        Tensor(shape=shape, format=acc),
        code_bits=codec.bits,
        shift=codec.shift,
        signed_regions=False,
        w_zero_point=operand.zero_point,
        acc_bits=acc.bits,
    )
    return Wide(tensor=tensor, scale=float(codec.scale) * operand.scale, bias=np.zeros(1))

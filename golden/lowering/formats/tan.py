"""Tangent codes: comparators on the probability, consumed by a table in front of the multiplier."""

import math

import numpy as np

from golden.codecs.tan import TanCodec
from golden.errors import InvariantError
from golden.formats import Integer
from golden.lowering.bounds import product_sum
from golden.lowering.builder import ProgramBuilder
from golden.lowering.wide import Operand, Wide
from golden.program import Tensor


def encode(
    builder: ProgramBuilder, name: str, wide: Wide, codec: TanCodec, shape: tuple[int, ...], site: str | None
) -> str:
    """Codes of the unsigned integers of `wide`: a threshold t becomes the least integer whose value is at least t."""
    source = builder.tensors[wide.tensor].format
    if source.signed or wide.scale.size != 1 or wide.bias.any():
        raise InvariantError(f"{name}: tangent codes are made from unsigned integers of one scale")
    unit = float(codec.scale) / float(wide.scale[0])
    # A threshold beyond the input's range is never reached, and one more than the range says so.
    thresholds = [min(math.ceil(t * unit), source.max_code + 1) for t in codec.thresholds]
    reachable = [t for t in thresholds if t <= source.max_code]
    output = Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site)
    return builder.operation(
        name,
        "threshold_encoder",
        {"x": wide.tensor},
        output,
        in_bits=source.bits,
        code_bits=codec.bits,
        thresholds=reachable,
    )


def multiply(
    builder: ProgramBuilder, name: str, codes: str, codec: TanCodec, operand: Operand, shape: tuple[int, ...]
) -> Wide:
    """Table entries times `operand`."""
    acc = product_sum(operand.depth, (0, codec.entry_max), operand.reach)
    tensor = builder.operation(
        name,
        "table_mac",
        {"a": codes, "w": operand.rows(builder)},
        Tensor(shape=shape, format=acc),
        code_bits=codec.bits,
        entry_bits=codec.entry_bits,
        table=codec.table,
        w_zero_point=operand.zero_point,
        acc_bits=acc.bits,
    )
    unit = float(codec.scale) / codec.entry_max
    return Wide(tensor=tensor, scale=unit * operand.scale, bias=np.zeros(1))

"""Sign-scale codes: a requantizer to the negative step, then region and payload; consumed by a shift or a negation."""

import numpy as np

from golden.codecs.sign_scale import SignScaleCodec
from golden.formats import Integer
from golden.lowering.bounds import product_sum
from golden.lowering.builder import ProgramBuilder
from golden.lowering.wide import Operand, Wide
from golden.program import Tensor


def encode(
    builder: ProgramBuilder,
    name: str,
    wide: Wide,
    codec: SignScaleCodec,
    shape: tuple[int, ...],
    site: str | None,
) -> str:
    """Codes of `wide`."""
    scale = float(codec.scale)
    steps = Tensor(shape=shape, format=Integer(bits=codec.in_bits, signed=True))
    x = builder.requantize(f"{name}_steps", wide.tensor, wide.scale / scale, wide.bias / scale, steps)
    output = Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site)
    return builder.operation(
        name,
        "sign_scale_encoder",
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
    codec: SignScaleCodec,
    operand: Operand,
    shape: tuple[int, ...],
) -> Wide:
    """Products with `operand`, in units of the negative step."""
    payload = (1 << (codec.bits - 1)) - 1
    acc = product_sum(operand.depth, (-payload, payload << codec.shift), operand.reach)
    tensor = builder.operation(
        name,
        "two_scale_mac",
        {"a": codes, "w": operand.rows(builder)},
        Tensor(shape=shape, format=acc),
        code_bits=codec.bits,
        shift=codec.shift,
        signed_regions=True,
        w_zero_point=operand.zero_point,
        acc_bits=acc.bits,
    )
    return Wide(tensor=tensor, scale=float(codec.scale) * operand.scale, bias=np.zeros(1))

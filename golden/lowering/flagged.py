"""What the two formats of flag and payload share: a requantizer to the small step, their encoder, their products."""

import numpy as np
import torch

from golden.codecs.sign_scale import SignScaleCodec
from golden.codecs.two_scale import TwoScaleCodec
from golden.codecs.uniform import UniformCodec
from golden.formats import Integer
from golden.lowering.bounds import product_sum
from golden.lowering.builder import ProgramBuilder
from golden.lowering.wide import Operand, Wide
from golden.program import Tensor

Flagged = TwoScaleCodec | SignScaleCodec


def fine_codec(codec: Flagged) -> UniformCodec:
    """Uniform codes that hold every step of both regions, negative values down to GELU's -0.17."""
    zero_point = int(0.17 / float(codec.scale)) + 1
    return UniformCodec(
        bits=codec.in_bits + 1, scale=codec.scale.double(), zero_point=torch.tensor(zero_point)
    )


def encode_flagged(
    builder: ProgramBuilder, name: str, wide: Wide, codec: Flagged, shape: tuple[int, ...], site: str | None
) -> str:
    """Codes of `wide`: its integers in units of the small step, then the format's encoder."""
    scale, signed = float(codec.scale), isinstance(codec, SignScaleCodec)
    steps = Tensor(shape=shape, format=Integer(bits=codec.in_bits, signed=signed))
    x = builder.requantize(f"{name}_steps", wide.tensor, wide.scale / scale, wide.bias / scale, steps)
    return builder.operation(
        name,
        f"{codec.kind}_encoder",
        {"x": x},
        Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site),
        in_bits=codec.in_bits,
        code_bits=codec.bits,
        shift=codec.shift,
    )


def multiply_flagged(
    builder: ProgramBuilder, name: str, codes: str, codec: Flagged, operand: Operand, shape: tuple[int, ...]
) -> Wide:
    """Products with `operand`, in units of the small step."""
    signed = isinstance(codec, SignScaleCodec)
    payload = (1 << (codec.bits - 1)) - 1
    acc = product_sum(operand.depth, (-payload if signed else 0, payload << codec.shift), operand.reach)
    tensor = builder.operation(
        name,
        "two_scale_mac",
        {"a": codes, "w": operand.rows(builder)},
        Tensor(shape=shape, format=acc),
        code_bits=codec.bits,
        shift=codec.shift,
        signed_regions=signed,
        w_zero_point=operand.zero_point,
        acc_bits=acc.bits,
    )
    return Wide(tensor=tensor, scale=float(codec.scale) * operand.scale, bias=np.zeros(1))

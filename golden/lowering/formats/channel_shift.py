"""Codes with a power of two per channel: made by a requantizer per channel, read back by another one."""

import numpy as np

from golden.codecs.channel_shift import ChannelShiftCodec
from golden.formats import Integer
from golden.lowering.builder import ProgramBuilder
from golden.lowering.wide import Wide
from golden.program import Tensor


def encode(
    builder: ProgramBuilder,
    name: str,
    wide: Wide,
    codec: ChannelShiftCodec,
    shape: tuple[int, ...],
    site: str | None,
) -> str:
    """Codes of `wide` [.., C]."""
    steps = float(codec.scale) * np.exp2(codec.shifts.numpy())
    output = Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site)
    return builder.requantize(
        name, wide.tensor, wide.scale / steps, wide.bias / steps + int(codec.zero_point), output
    )


def decode(codes: str, codec: ChannelShiftCodec) -> Wide:
    """The values of `codes` as wide integers."""
    steps = float(codec.scale) * np.exp2(codec.shifts.numpy())
    return Wide(tensor=codes, scale=steps, bias=-steps * int(codec.zero_point))

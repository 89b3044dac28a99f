"""Token-wise codes: parted from their outliers by one encoder, scaled per token behind the product, outliers added."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from golden.codecs.token_uniform import FINE_BITS, FINE_ZERO, VALUE_BITS, TokenUniformCodec
from golden.codecs.uniform import UniformCodec
from golden.errors import InvariantError
from golden.formats import MAX_BITS, Integer
from golden.lowering.bounds import weighted_sum
from golden.lowering.builder import ProgramBuilder
from golden.lowering.multipliers import MULTIPLIER_BITS, fixed_offset, fixed_point
from golden.lowering.wide import Operand, Wide
from golden.program import Parameter, Tensor

TOTAL_BITS = MAX_BITS - MULTIPLIER_BITS - 1
"""Widest total that the requantizer behind takes: its product with an 18-bit multiplier, plus an offset, in 62 bits."""


def fine(codec: TokenUniformCodec) -> UniformCodec:
    """Uniform codes that hold every value, outliers included."""
    scale = torch.tensor(codec.fine_scale, dtype=torch.float64)
    return UniformCodec(bits=FINE_BITS, scale=scale, zero_point=torch.tensor(FINE_ZERO))


def encode(
    builder: ProgramBuilder,
    name: str,
    wide: Wide,
    codec: TokenUniformCodec,
    shape: tuple[int, ...],
    site: str | None,
) -> str:
    """Codes of the fine codes of `wide`, and beside them tensor `{name}_outliers`: each row's list."""
    apart: dict[str, Parameter] = {
        "in_bits": FINE_BITS,
        "in_zero_point": FINE_ZERO,
        # |d| > floor(t) and |d| > t are the same for an integer d.
        "threshold": min(math.floor(codec.threshold / codec.fine_scale), (1 << FINE_BITS) - 1),
        "capacity": codec.capacity,
    }
    channels = shape[-1]
    word = Integer(bits=VALUE_BITS + index_bits(channels), signed=False)
    builder.operation(
        f"{name}_outliers",
        "outlier_list",
        {"x": wide.tensor},
        Tensor(shape=(*shape[:-1], codec.capacity), format=word),
        **apart,
        channels=channels,
    )
    zero_code = codec.zero_point[:, 0].numpy()
    multiplier, shift = fixed_point(codec.fine_scale / codec.scale[:, 0].double().numpy())
    constants = {
        "multiplier": multiplier,
        "offset": fixed_offset(zero_code.astype(np.float64), shift),
        "shift": shift,
        "zero_code": zero_code,
    }
    ports = {port: builder.constant(f"{name}.token_{port}", values) for port, values in constants.items()}
    return builder.operation(
        name,
        "token_encoder",
        {"x": wide.tensor, **ports},
        Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site),
        **apart,
        code_bits=codec.bits,
    )


def multiply(
    builder: ProgramBuilder,
    name: str,
    codes: str,
    codec: TokenUniformCodec,
    operand: Operand,
    shape: tuple[int, ...],
) -> Wide:
    """Products with weights: dense with the zero points in them, sparse of the outliers, then both in one unit."""
    if operand.weights is None:
        raise InvariantError(f"{name}: codes with listed outliers multiply with weights only")
    weights, w = operand.weights, operand.rows(builder)
    dense = weighted_sum(weights, np.zeros(len(weights), np.int64), (1 << codec.bits) - 1)
    acc = builder.operation(
        f"{name}_dense",
        "mac",
        {"a": codes, "w": w},
        Tensor(shape=shape, format=dense),
        a_zero_point=0,
        w_zero_point=0,
        acc_bits=dense.bits,
    )
    sparse_bound = _largest_sums(weights, codec.capacity) * FINE_ZERO
    sparse = Integer.holding(-int(sparse_bound.max()), int(sparse_bound.max()))
    outlier = builder.operation(
        f"{name}_sparse",
        "outlier_mac",
        {"a": f"{codes}_outliers", "w": w},
        Tensor(shape=shape, format=sparse),
        value_bits=VALUE_BITS,
        index_bits=index_bits(operand.depth),
        acc_bits=sparse.bits,
    )
    multiplier, outlier_shift = token_multipliers(codec)
    zero_point = codec.zero_point[:, 0].numpy()
    # A code is at most this far from its zero point.
    distance = np.maximum(zero_point, (1 << codec.bits) - 1 - zero_point)
    dense_bound = np.abs(weights).sum(1) * int((distance * multiplier).max())
    bound = int((dense_bound + (sparse_bound << outlier_shift)).max())
    shift = max(0, Integer.holding(-bound, bound).bits - TOTAL_BITS)
    # The rounding half may lift a total by one.
    reach = (bound >> shift) + 1
    total = Integer.holding(-reach, reach)
    constants = {"multiplier": multiplier, "zero_point": zero_point, "column_sum": weights.sum(1)}
    ports = {port: builder.constant(f"{name}.{port}", values) for port, values in constants.items()}
    tensor = builder.operation(
        name,
        "token_scaler",
        {"acc": acc, "outlier": outlier, **ports},
        Tensor(shape=shape, format=total),
        outlier_shift=outlier_shift,
        shift=shift,
        out_bits=total.bits,
    )
    unit = math.ldexp(codec.fine_scale, shift - outlier_shift)
    return Wide(tensor=tensor, scale=unit * operand.scale, bias=np.zeros(1))


def token_multipliers(codec: TokenUniformCodec) -> tuple[NDArray[np.int64], int]:
    """(multiplier [T], g) with scale_t = multiplier_t * 2^-g * fine_scale; the largest fills the 18-bit signed word.

    The relative error is at most 2^-17 for the largest scale, and grows as scales fall behind it.
    """
    ratio = codec.scale[:, 0].double().numpy() / codec.fine_scale
    _, shift = fixed_point(ratio.max(keepdims=True))
    g = int(shift[0])
    return np.maximum(np.rint(np.ldexp(ratio, g)).astype(np.int64), 1), g


def index_bits(channels: int) -> int:
    """Width of a channel's index in a word."""
    return max(1, (channels - 1).bit_length())


def _largest_sums(weights: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Sum of the `count` largest magnitudes of each row: the most that so many units of the input can add."""
    sums: NDArray[np.int64] = np.sort(np.abs(weights), axis=1)[:, -count:].sum(1)
    return sums

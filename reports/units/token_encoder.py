"""Token encoder in reports: sweep over code widths and capacities; rows around threshold, capacity and code changes."""

from collections.abc import Mapping

import numpy as np

from golden.formats import Integer
from reports.outliers import outlier_rows, outlier_volume
from reports.registry import reference_parameters
from reports.stimuli import column, row_lengths, rows, steps, uniform
from sim.unit import Beats, Codes
from sim.units.requantizer import MULTIPLIER
from sim.units.token_encoder import TokenEncoder

OFFSET = Integer(bits=40, signed=True)

SWEEP = [
    TokenEncoder(
        in_bits=in_bits,
        in_zero_point=zero_point,
        threshold=threshold,
        capacity=capacity,
        code_bits=code_bits,
        offset_format=OFFSET,
    )
    for in_bits, zero_point, threshold, capacity, code_bits in (
        # LayerNorm's fine codes, at the widths of a published scheme; then outliers of one sign only.
        (16, 1 << 15, 5000, 8, 4),
        (16, 1 << 15, 5000, 6, 8),  # no power of two: a count that runs down would reach one as well
        (8, 3, 40, 1, 6),
    )
]


def label(spec: TokenEncoder) -> str:
    """Such as `u16-z32768-t5000-p8-to-u4`: input, zero point, threshold, capacity, code."""
    kept = f"{spec.in_format}-z{spec.in_zero_point}-t{spec.threshold}-p{spec.capacity}"
    return f"{kept}-to-{spec.code_format}"


def stimuli(spec: TokenEncoder, rng: np.random.Generator) -> dict[str, Beats]:
    """Rows of every number of outliers, short ones, both sides of code changes, ends of all operands."""
    x = [row for length in (24, 5, 1) for row in outlier_rows(spec, length, rng)]
    constants = [_spread(spec, rng)[1] for _ in x]
    d = np.arange(spec.in_format.max_code + 1) - spec.in_zero_point
    for _ in range(8):
        value, (multiplier, offset, shift, zero_code) = _spread(spec, rng)
        both_sides = steps(((d * multiplier + offset) >> shift).clip(0, spec.code_format.max_code))
        x.append(np.append(rng.permutation(both_sides)[:31], value + spec.in_zero_point))
        constants.append((multiplier, offset, shift, zero_code))
    for shift in (1, 40, 62):
        for offset in (OFFSET.min_code, OFFSET.max_code):
            x.append(uniform(spec.in_format, rng, 6))
            constants.append((MULTIPLIER.max_code, offset, shift, spec.code_format.max_code))
    columns = np.array(constants).T
    return {
        "x": rows(x),
        **{name: column(codes) for name, codes in zip(spec.constants, columns, strict=True)},
    }


def _spread(spec: TokenEncoder, rng: np.random.Generator) -> tuple[int, tuple[int, int, int, int]]:
    """A value and constants that put it just at the begin of its code, or one below.

    The codes spread over about the values that are no outliers, around a random zero code.
    """
    multiplier = int(rng.integers(1 << 14, MULTIPLIER.max_code, endpoint=True))
    shift = max((2 * spec.threshold * multiplier).bit_length() - spec.code_bits, 1)
    zero_code = int(rng.integers(0, spec.code_format.max_code, endpoint=True))
    value = int(rng.integers(max(-spec.threshold, -spec.in_zero_point), spec.threshold, endpoint=True))
    code = zero_code + (value * multiplier >> shift)
    offset = (code << shift) - value * multiplier - int(rng.integers(0, 2))
    return value, (multiplier, offset, shift, zero_code)


def volume(spec: TokenEncoder, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` codes in rows of 1 to 64 of any share of outliers, each with constants that spread its codes."""
    lengths = row_lengths(count, 64, rng)
    columns = np.array([_spread(spec, rng)[1] for _ in lengths]).T
    return {
        "x": outlier_volume(spec, lengths, rng),
        **{name: column(codes) for name, codes in zip(spec.constants, columns, strict=True)},
    }


def reference(spec: TokenEncoder, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Codes by golden's reference, row by row."""
    import torch

    from golden.units.token_encoder import golden

    parameters = reference_parameters(golden, spec)
    x: list[Codes] = np.split(inputs["x"].codes[:, 0], np.flatnonzero(inputs["x"].last)[:-1] + 1)
    codes = []
    for n, row in enumerate(x):
        constants = [torch.from_numpy(inputs[name].codes[n]) for name in spec.constants]
        codes.append(golden(torch.from_numpy(row[None]), *constants, **parameters).numpy()[0])
    return {"o": Beats(np.concatenate(codes)[:, None], inputs["x"].last)}

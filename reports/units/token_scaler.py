"""Token scaler in reports: sweep over accumulator widths and shifts; stimuli at corners and ties of the rounding."""

from collections.abc import Mapping

import numpy as np

from golden.formats import Integer
from reports.registry import reference_parameters
from reports.stimuli import column, crossed, ends, stream, uniform
from sim.unit import Beats, Codes
from sim.units.token_scaler import MULTIPLIER, TokenScaler


def _spec(acc: int, outlier: int, column_sum: int, outlier_shift: int, shift: int, out: int) -> TokenScaler:
    formats = (Integer(bits=bits, signed=True) for bits in (acc, outlier, column_sum))
    names = ("acc_format", "outlier_format", "column_sum_format")
    return TokenScaler(
        **dict(zip(names, formats, strict=True)), outlier_shift=outlier_shift, shift=shift, out_bits=out
    )


SWEEP = [
    _spec(13, 22, 9, 0, 1, 43),
    _spec(17, 29, 13, 6, 0, 44),
    _spec(17, 29, 13, 6, 3, 44),
    _spec(24, 36, 18, 10, 12, 40),
]


def label(spec: TokenScaler) -> str:
    """Such as `s17-s29-s13-l6-r3-to-s44`: accumulators, outliers, column sums, both shifts, result."""
    formats = f"{spec.acc_format}-{spec.outlier_format}-{spec.column_sum_format}"
    return f"{formats}-l{spec.outlier_shift}-r{spec.shift}-to-{spec.out_format}"


def stimuli(spec: TokenScaler, rng: np.random.Generator) -> dict[str, Beats]:
    """Random operands, ties of the rounding and their neighbours, corners; those whose total fits `out_bits`."""
    return _fitting(spec, [_random(spec, rng, 200), _ties(spec, rng, 120), _corners(spec)])


def volume(spec: TokenScaler, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """Up to `count` totals, half of them random, half ties of the rounding and their neighbours."""
    return _fitting(spec, [_random(spec, rng, count // 2), _ties(spec, rng, count // 2)])


def _fitting(spec: TokenScaler, parts: list[list[Codes]]) -> dict[str, Beats]:
    """Operands whose total fits `out_bits`."""
    acc, outlier, multiplier, zero_point, column_sum = (
        np.concatenate(operand) for operand in zip(*parts, strict=True)
    )
    scaled = (acc - zero_point * column_sum) * multiplier
    totals = (scaled + (outlier << spec.outlier_shift) + spec.half) >> spec.shift
    fits = (totals >= spec.out_format.min_code) & (totals <= spec.out_format.max_code)
    operands = (acc, outlier, multiplier, zero_point, column_sum)
    return {name: stream(codes[fits]) for name, codes in zip(spec.inputs, operands, strict=True)}


def reference(spec: TokenScaler, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Totals by golden's reference, beat by beat: every one has constants of its own."""
    import torch

    from golden.units.token_scaler import golden

    parameters = reference_parameters(golden, spec)
    totals = []
    for beat in zip(*(inputs[name].codes[:, 0].tolist() for name in spec.inputs), strict=True):
        acc, outlier, *constants = (torch.tensor([code]) for code in beat)
        totals.append(golden(acc[None], outlier[None], *constants, **parameters).item())
    return {"o": column(np.array(totals))}


def _random(spec: TokenScaler, rng: np.random.Generator, count: int) -> list[Codes]:
    """The first half of any magnitude; the others with multipliers of every length, as large ones seldom fit."""
    operands = [uniform(port.format, rng, count) for port in spec.inputs.values()]
    powers = 1 << rng.integers(0, MULTIPLIER.bits, count)
    any_length = rng.integers(powers, 2 * powers)
    first = np.arange(count) < count // 2
    operands[2] = np.where(first, np.maximum(operands[2], 1), any_length)
    return operands


def _ties(spec: TokenScaler, rng: np.random.Generator, count: int) -> list[Codes]:
    """Totals whose bits shifted out are a half, one more and one less, none and all: solved for the accumulator."""
    _, outlier, _, zero_point, column_sum = (
        uniform(port.format, rng, count) for port in spec.inputs.values()
    )
    multiplier = 1 + 2 * rng.integers(0, 1 << 6, count)  # odd, so it has an inverse in the bits shifted out
    place = 1 << spec.shift
    wanted = np.resize([spec.half, spec.half + 1, spec.half - 1, 0, place - 1], count)
    inverse = np.array([pow(int(m), -1, place) for m in multiplier])
    scaled = (wanted - (outlier << spec.outlier_shift)) % place
    least = (scaled * inverse + zero_point * column_sum) % place
    low, high = spec.acc_format.min_code // place, spec.acc_format.max_code // place
    acc = least + place * rng.integers(low, high, count, endpoint=True)
    return [acc, outlier, multiplier, zero_point, column_sum]


def _corners(spec: TokenScaler) -> list[Codes]:
    acc, outlier, multiplier, zero_point, column_sum = (ends(port.format) for port in spec.inputs.values())
    return crossed(
        [acc[0], 0, acc[-1]], [outlier[0], 0, outlier[-1]], [1, 1 << 16, multiplier[-1]],
        [0, zero_point[-1]], [column_sum[0], -1, column_sum[-1]],
    )  # fmt: skip

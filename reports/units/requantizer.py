"""Requantizer in reports: sweep over code widths and signs; stimuli at every change of the code."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from golden.formats import Integer
from reports.registry import reference_parameters
from reports.stimuli import column, crossed, ends, stream, uniform
from sim.unit import Beats, Codes
from sim.units.requantizer import MULTIPLIER, Requantizer

ACC, OFFSET = Integer(bits=24, signed=True), Integer(bits=42, signed=True)

SWEEP = [
    Requantizer(acc_format=ACC, offset_format=OFFSET, out_bits=bits, out_signed=signed)
    for bits, signed in ((4, False), (8, False), (16, True))
]


def label(spec: Requantizer) -> str:
    """Such as `s24-to-u4`."""
    return f"{spec.acc_format}-to-{spec.out_format}"


def stimuli(spec: Requantizer, rng: np.random.Generator) -> dict[str, Beats]:
    """Both sides of changes of the code for several constants, corners of all operands, random ones."""
    parts = [_random(spec, rng, 60), *(_steps(spec, rng, 40) for _ in range(6)), _corners(spec)]
    names = ("acc", "multiplier", "offset", "shift")
    return {name: stream(*(part[n] for part in parts)) for n, name in enumerate(names)}


def volume(spec: Requantizer, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """Up to `count` codes: a quarter of random operands, the others at the begin of a code or one before."""
    count //= 4
    out = spec.out_format
    shift = rng.integers(*_shifts(spec), 3 * count)
    multiplier = uniform(MULTIPLIER, rng, shift.size)
    acc = uniform(spec.acc_format, rng, shift.size) >> rng.integers(0, spec.acc_format.bits, shift.size)
    acc, offset = _at_steps(spec, uniform(out, rng, shift.size) << shift, acc, multiplier)
    offset -= rng.integers(0, 2, shift.size)
    fits = _fits(spec, offset)
    at_steps = [operand[fits] for operand in (acc, multiplier, offset, shift)]
    names = ("acc", "multiplier", "offset", "shift")
    parts = zip(names, _random(spec, rng, count), at_steps, strict=True)
    return {name: stream(random, step) for name, random, step in parts}


def reference(spec: Requantizer, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Codes by golden's reference."""
    import torch

    from golden.units.requantizer import golden

    operands = [torch.from_numpy(inputs[name].codes[:, 0]) for name in spec.inputs]
    return {"o": column(golden(*operands, **reference_parameters(golden, spec)).numpy())}


def _random(spec: Requantizer, rng: np.random.Generator, count: int) -> list[Codes]:
    formats = (spec.acc_format, MULTIPLIER, spec.offset_format)
    drawn = [rng.integers(f.min_code, f.max_code, count, endpoint=True) for f in formats]
    return [*drawn, rng.integers(1, 63, count)]


def _steps(spec: Requantizer, rng: np.random.Generator, most: int) -> list[Codes]:
    """One set of constants that spreads the codes over the accumulators; offsets just at and before changes."""
    shift = int(rng.integers(*_shifts(spec)))
    multiplier = int(rng.integers(1, MULTIPLIER.max_code)) * int(rng.choice((-1, 1)))
    out = spec.out_format
    codes = np.unique(
        np.r_[out.min_code, out.max_code, rng.integers(out.min_code, out.max_code + 1, most // 2)]
    )
    acc = rng.integers(spec.acc_format.min_code, spec.acc_format.max_code, len(codes), endpoint=True)
    acc, offset = _at_steps(spec, codes << shift, acc, np.int64(multiplier))
    acc, offset = np.tile(acc, 2), np.concatenate((offset, offset - 1))
    fits = _fits(spec, offset)
    count = int(fits.sum())
    return [acc[fits], offset[fits] * 0 + multiplier, offset[fits], np.full(count, shift)]


def _shifts(spec: Requantizer) -> tuple[int, int]:
    """Range of shifts with which the sum reaches many codes; at least one, however narrow the operands."""
    sum_bits = max(spec.offset_format.bits, spec.acc_format.bits + MULTIPLIER.bits)
    stop = max(min(sum_bits, 40) - 2, 2)
    return min(spec.out_bits + 4, stop - 1), stop


def _at_steps(
    spec: Requantizer, begin: Codes, acc: Codes, multiplier: Codes | np.int64
) -> tuple[Codes, Codes]:
    """Accumulators and offsets whose sum is where a code begins; one less in the offset is the code before.

    Where the offset that `acc` asks for does not fit, the accumulator next to the begin is taken.
    """
    divisor = np.where(multiplier == 0, 1, multiplier)
    near = np.clip(begin // divisor, spec.acc_format.min_code, spec.acc_format.max_code)
    acc = np.where(_fits(spec, begin - acc * multiplier), acc, near)
    return acc, begin - acc * multiplier


def _fits(spec: Requantizer, offset: Codes) -> NDArray[np.bool_]:
    return (offset >= spec.offset_format.min_code) & (offset <= spec.offset_format.max_code)


def _corners(spec: Requantizer) -> list[Codes]:
    formats = (spec.acc_format, MULTIPLIER, spec.offset_format)
    return crossed(*([*ends(f)[::3], 0] for f in formats), [1, 17, 62])

"""LayerNorm in reports: sweep over channels and widths; rows of every spread, equal, and at the ends."""

from collections.abc import Mapping
from math import isqrt

import numpy as np

from golden.formats import Integer
from reports.registry import reference_parameters
from reports.stimuli import rows, stream, uniform
from sim.unit import Beats, Codes
from sim.units.layernorm import GAIN, Layernorm

SHIFT = 20

SWEEP = [
    Layernorm(
        channels=channels,
        epsilon=channels * channels,  # 1 in units of scale²: far below any real variance
        norm_frac_bits=norm_frac_bits,
        shift=SHIFT,
        in_bits=in_bits,
        offset_format=Integer(bits=32, signed=True),
        out_bits=out_bits,
    )
    for channels, in_bits, norm_frac_bits, out_bits in (
        (64, 16, 12, 4),
        (64, 16, 12, 8),
        (192, 16, 16, 8),  # as lowered for DeiT-Tiny
        # Every product within one DSP, and rows so short that one is solved while the one before is given.
        (3, 8, 8, 6),
    )
]


def label(spec: Layernorm) -> str:
    """Such as `c192-s16-to-u8`."""
    return f"c{spec.channels}-s{spec.in_bits}-to-u{spec.out_bits}"


def stimuli(spec: Layernorm, rng: np.random.Generator) -> dict[str, Beats]:
    """Rows of spreads from a fraction of a code to the whole format, equal codes, one outlier, both ends.

    Most offsets put a code's normalised value, times its gain, exactly at the begin of a code or one below.
    """
    return _with_affine(spec, [np.asarray(row, np.int64) for row in _rows(spec, rng)], rng)


def volume(spec: Layernorm, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` codes: rows of every spread and centre, some with one outlier, a quarter uniform."""
    format = spec.inputs["x"].format
    x = []
    for _ in range(max(count // spec.channels, 1)):
        spread, centre = format.max_code * 2.0 ** -rng.uniform(0, format.bits), rng.uniform(-1, 1)
        normal = np.rint(rng.normal(centre * format.max_code, spread, spec.channels))
        row = np.clip(normal, format.min_code, format.max_code).astype(np.int64)
        kind = rng.integers(0, 4)
        if kind == 0:
            row = uniform(format, rng, spec.channels)
        elif kind == 1:
            row[rng.integers(spec.channels)] = rng.choice((format.min_code, format.max_code))
        x.append(row)
    return _with_affine(spec, x, rng)


def _with_affine(spec: Layernorm, x: list[Codes], rng: np.random.Generator) -> dict[str, Beats]:
    """Rows with gains, and offsets at the begins of codes."""
    gain = [_gains(spec, rng) for _ in x]
    offset = [_offsets(spec, row, gains, rng) for row, gains in zip(x, gain, strict=True)]
    return {"x": rows(x), "gain": stream(*gain), "offset": stream(*offset)}


def _rows(spec: Layernorm, rng: np.random.Generator) -> list[Codes]:
    low, high = spec.inputs["x"].format.min_code, spec.inputs["x"].format.max_code
    c = spec.channels
    spreads = [high * factor for factor in (0.1, 1e-3, 1e-4, 0.01, 1.0)]
    random = [np.clip(rng.normal(rng.normal(0, spread), spread, c).round(), low, high) for spread in spreads]
    outlier = np.zeros(c)
    outlier[c // 2] = high
    # Of many rows those in which a root one too small moves the most normalised values.
    candidates = [rng.integers(low, high, c, endpoint=True) for _ in range(100)]
    candidates.sort(key=lambda row: -int((_normalised(spec, row) != _normalised(spec, row, 1)).sum()))
    alternating = np.where(np.arange(c) % 2, low, high)  # the largest variance
    return [*random, np.full(c, low), np.full(c, high), outlier, alternating, *candidates[:2]]


def _gains(spec: Layernorm, rng: np.random.Generator) -> Codes:
    """Of the size that maps ±4 standard deviations onto the output codes, and some ends of the format."""
    usual = 2.0 ** (spec.out_bits - 3 + spec.shift - spec.norm_frac_bits)
    gain = np.clip(rng.normal(0, usual, spec.channels).round(), GAIN.min_code, GAIN.max_code).astype(np.int64)
    gain[:2] = GAIN.min_code, GAIN.max_code
    return rng.permutation(gain)


def _offsets(spec: Layernorm, row: Codes, gain: Codes, rng: np.random.Generator) -> Codes:
    """Offsets that make each t · gain + offset the begin of some code or one less, where the format allows it."""
    begins = rng.integers(1, 1 << spec.out_bits, spec.channels) << spec.shift
    normalised = _normalised(spec, row)
    rise = (_normalised(spec, row, 1) - normalised) * gain
    # Where a root one too small would raise the value, one below the begin shows it; where it lowers it, the begin.
    below = np.where(rise == 0, rng.integers(0, 2, spec.channels), rise > 0)
    offset = begins - normalised * gain - below
    offset[:2] = spec.offset_format.min_code, spec.offset_format.max_code
    fitting: Codes = np.clip(offset, spec.offset_format.min_code, spec.offset_format.max_code)
    return fitting


def _normalised(spec: Layernorm, row: Codes, short: int = 0) -> Codes:
    """t of each code (docs/datapath.md, layernorm steps 1 to 3) in Python's integers; with a root `short` too small."""
    x = row.tolist()
    variance = spec.channels * sum(code * code for code in x) - sum(x) ** 2 + spec.epsilon
    j = (variance.bit_length() - 1) // 2 - 15
    r = isqrt((1 << 62) // (variance >> 2 * j if j >= 0 else variance << -2 * j)) - short
    down = 31 + j - spec.norm_frac_bits
    return np.array([((spec.channels * code - sum(x)) * r + (1 << down >> 1)) >> down for code in x])


def reference(spec: Layernorm, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Codes by golden's reference, each row with gains and offsets of its own."""
    import torch

    from golden.units.layernorm import golden

    x, gain, offset = (
        torch.from_numpy(inputs[name].codes.reshape(-1, spec.channels)) for name in ("x", "gain", "offset")
    )
    codes = golden(x, gain, offset, **reference_parameters(golden, spec)).numpy()
    return {"o": Beats(codes.reshape(-1, 1), inputs["x"].last)}

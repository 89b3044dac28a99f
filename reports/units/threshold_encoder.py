"""Threshold encoder in reports: sweep over code bits with tangent thresholds; stimuli around every threshold."""

from collections.abc import Mapping
from math import atan, ceil, tan

import numpy as np

from reports.encoder import encoder_reference
from reports.stimuli import ends, stream, uniform
from sim.unit import Beats
from sim.units.threshold_encoder import ThresholdEncoder

ALPHA, BETA = 1.5, 1.2
"""Angles in radians of a tangent quantiser that is fine near 0 and, a little less, near 1."""
PROBABILITY_BITS = 17
"""A probability of 16 fraction bits, 1 included."""


def tangent(u: float) -> float:
    """Value in [0, 1] of the level u in [0, 1]: the arctangent decoder of the tangent codes."""
    low, high = tan(ALPHA), tan(BETA)
    return (atan(u * (low + high) - low) + ALPHA) / (ALPHA + BETA)


def _spec(code_bits: int) -> ThresholdEncoder:
    """Thresholds half a level below each code but 0."""
    top = (1 << code_bits) - 1
    one = 1 << (PROBABILITY_BITS - 1)
    return ThresholdEncoder(
        in_bits=PROBABILITY_BITS,
        code_bits=code_bits,
        thresholds=tuple(ceil(tangent((code - 0.5) / top) * one) for code in range(1, top + 1)),
    )


SWEEP = [
    *(_spec(code_bits) for code_bits in (4, 6, 8)),
    # Thresholds at both ends of the input, equal ones that leave codes out, and codes beyond the last one.
    ThresholdEncoder(in_bits=8, code_bits=4, thresholds=(0, 1, 7, 7, 7, 100, 127, 128, 254, 255, 255)),
]


def label(spec: ThresholdEncoder) -> str:
    """Such as `u17-to-u4-t15`: input, code, thresholds."""
    return f"u{spec.in_bits}-to-u{spec.code_bits}-t{len(spec.thresholds)}"


def stimuli(spec: ThresholdEncoder, rng: np.random.Generator) -> dict[str, Beats]:
    """Random; each threshold, the integers either side of it and its complements of one bit; ends of the format."""
    format = spec.inputs["x"].format
    starts = np.array(spec.thresholds, np.int64)
    # A comparator that ignores one bit of its threshold gives itself away at the threshold with that bit changed.
    changed = (starts[:, None] ^ (1 << np.arange(spec.in_bits))).ravel()
    near = np.concatenate((starts - 1, starts, starts + 1, rng.permutation(changed)[:500]))
    inside = near[(near >= 0) & (near <= format.max_code)]
    return {"x": stream(uniform(format, rng, 100), inside, np.array(ends(format)))}


def reference(spec: ThresholdEncoder, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Codes by golden's reference."""
    from golden.units.threshold_encoder import golden

    return encoder_reference(golden, spec, inputs)

"""Log2 encoder in reports: sweep over code widths and bases; stimuli at every change of the code."""

from collections.abc import Mapping
from math import isqrt

import numpy as np

from reports.encoder import encoder_reference, encoder_stimuli
from reports.stimuli import stream
from sim.unit import Beats
from sim.units.log2_encoder import Log2Encoder


def thresholds(in_bits: int, steps_per_octave: int) -> tuple[int, ...]:
    """Mantissas from which on the logarithm rounds up: `ceil(2^(in_bits − 1 + q/4))`, at half steps.

    >>> thresholds(8, 1), thresholds(8, 2)
    ((182,), (153, 216))
    """
    quarters = (2,) if steps_per_octave == 1 else (1, 3)
    # The least t with t^4 ≥ v is the fourth root of v − 1 (FLOOR), plus 1; FLOOR twice is FLOOR of the whole.
    powers = (1 << (4 * (in_bits - 1) + q) for q in quarters)
    return tuple(isqrt(isqrt(power - 1)) + 1 for power in powers)


SWEEP = [
    Log2Encoder(in_bits=19, code_bits=bits, steps_per_octave=steps, unity=unity,
                thresholds=thresholds(19, steps), max_level=max_level)
    for bits, steps, unity, max_level in ((4, 1, 18, 14), (4, 2, 16, 14), (8, 1, 18, 254), (8, 2, 18, 30))
]  # fmt: skip


def label(spec: Log2Encoder) -> str:
    """Such as `u19-to-u4-log2-p18-l14`: input, code, base, unity, last level."""
    base = "log2" if spec.steps_per_octave == 1 else "logsqrt2"
    return f"{spec.in_format}-to-{spec.code_format}-{base}-p{spec.unity}-l{spec.max_level}"


def stimuli(spec: Log2Encoder, rng: np.random.Generator) -> dict[str, Beats]:
    """Both sides of every change of the code; 0 and all ones; powers of two; random ones of every length."""
    powers = 1 << np.arange(spec.in_bits)
    around = np.concatenate((powers - 1, powers, powers + powers // 2))
    scattered = rng.integers(powers, 2 * powers, (4, spec.in_bits)).ravel()
    return {"x": stream(encoder_stimuli(spec, rng)["x"].codes[:, 0], around, scattered)}


def reference(spec: Log2Encoder, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Codes by golden's reference."""
    from golden.units.log2_encoder import golden

    return encoder_reference(golden, spec, inputs)

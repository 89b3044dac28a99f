"""Two-scale encoder in reports: sweep over code widths and shifts; stimuli at every change of the code."""

from collections.abc import Mapping

import numpy as np

from reports.encoder import encoder_reference, encoder_stimuli
from sim.unit import Beats
from sim.units.two_scale_encoder import TwoScaleEncoder

SWEEP = [
    TwoScaleEncoder(in_bits=bits - 1 + shift, code_bits=bits, shift=shift)
    for bits, shift in ((4, 5), (6, 4), (8, 1), (8, 4))
]


def label(spec: TwoScaleEncoder) -> str:
    """Such as `u8-to-u4-m5`: input, code, shift."""
    return f"{spec.in_format}-to-{spec.code_format}-m{spec.shift}"


def stimuli(spec: TwoScaleEncoder, rng: np.random.Generator) -> dict[str, Beats]:
    """Every input, or both sides of every change of the code; random ones."""
    return encoder_stimuli(spec, rng)


def reference(spec: TwoScaleEncoder, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Codes by golden's reference."""
    from golden.units.two_scale_encoder import golden

    return encoder_reference(golden, spec, inputs)

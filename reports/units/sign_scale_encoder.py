"""Sign-scale encoder in reports: sweep over code widths and shifts; stimuli at every change of the code."""

from collections.abc import Mapping

import numpy as np

from reports.encoder import encoder_reference, encoder_stimuli
from sim.unit import Beats
from sim.units.sign_scale_encoder import SignScaleEncoder

SWEEP = [
    SignScaleEncoder(in_bits=in_bits, code_bits=bits, shift=shift)
    # Inputs that just reach the positive end; one wider, whose negative side saturates far before its end.
    for in_bits, bits, shift in ((8, 4, 4), (10, 6, 4), (8, 8, 0), (12, 8, 4), (16, 8, 5))
]


def label(spec: SignScaleEncoder) -> str:
    """Such as `s8-to-u4-m4`: input, code, shift."""
    return f"{spec.in_format}-to-{spec.code_format}-m{spec.shift}"


def stimuli(spec: SignScaleEncoder, rng: np.random.Generator) -> dict[str, Beats]:
    """Every input, or both sides of every change of the code; random ones."""
    return encoder_stimuli(spec, rng)


def reference(spec: SignScaleEncoder, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Codes by golden's reference."""
    from golden.units.sign_scale_encoder import golden

    return encoder_reference(golden, spec, inputs)

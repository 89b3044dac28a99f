"""Stimuli and reference of element-wise encoders: both sides of every change of the code."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reports.registry import reference_parameters
from reports.stimuli import column, ends, steps, stream, uniform
from sim.encoder import Encoder
from sim.unit import Beats


def encoder_stimuli(spec: Encoder, rng: np.random.Generator) -> dict[str, Beats]:
    """Random inputs, then both sides of every change of the code, and both ends; every input of up to 8 bits."""
    every = np.arange(spec.in_format.min_code, spec.in_format.max_code + 1)
    chosen = every if spec.in_bits <= 8 else every[steps(spec.compute(every))]
    return {"x": stream(uniform(spec.in_format, rng, 64), chosen, np.array(ends(spec.in_format)))}


def encoder_reference(
    golden: Callable[..., Any], spec: Encoder, inputs: Mapping[str, Beats]
) -> dict[str, Beats]:
    """Codes by `golden`."""
    import torch

    x = torch.from_numpy(inputs["x"].codes[:, 0])
    return {"o": column(golden(x, **reference_parameters(golden, spec)).numpy())}

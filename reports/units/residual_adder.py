"""Residual adder in reports: sweep over the residual's width; stimuli at and around both ends of the sum."""

from collections.abc import Mapping

import numpy as np

from reports.registry import reference_parameters
from reports.stimuli import column, crossed, ends, stream, uniform
from sim.unit import Beats
from sim.units.residual_adder import ResidualAdder

SWEEP = [ResidualAdder(bits=bits) for bits in (8, 16)]


def label(spec: ResidualAdder) -> str:
    """Such as `s16`."""
    return str(spec.format)


def stimuli(spec: ResidualAdder, rng: np.random.Generator) -> dict[str, Beats]:
    """Every pair of ends and near-ends; sums one off each limit; random pairs."""
    low, high = spec.format.min_code, spec.format.max_code
    a, b = crossed([*ends(spec.format), 0, 1, -1], [*ends(spec.format), 0, 1, -1])
    some = rng.integers(low, high + 1, 40)
    # b that brings the sum to each limit, one short of it and one beyond it.
    near = np.concatenate([limit - some + step for limit in (low, high) for step in (-1, 0, 1)])
    fits = (near >= low) & (near <= high)
    random = rng.integers(low, high + 1, (2, 100))
    return {
        "a": stream(random[0, :40], a, np.tile(some, 6)[fits], random[0]),
        "b": stream(random[1, :40], b, near[fits], random[1]),
    }


def volume(spec: ResidualAdder, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """`count` pairs: half random, half with a sum up to two codes from a limit."""
    a, b = uniform(spec.format, rng, count), uniform(spec.format, rng, count)
    limit = rng.choice((spec.format.min_code, spec.format.max_code), count)
    near = np.clip(limit - a + rng.integers(-2, 3, count), spec.format.min_code, spec.format.max_code)
    return {"a": stream(a), "b": stream(np.where(np.arange(count) % 2, b, near))}


def reference(spec: ResidualAdder, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Sums by golden's reference."""
    import torch

    from golden.units.residual_adder import golden

    a, b = (torch.from_numpy(inputs[name].codes[:, 0]) for name in ("a", "b"))
    return {"o": column(golden(a, b, **reference_parameters(golden, spec)).numpy())}

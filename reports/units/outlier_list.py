"""Outlier list in reports: sweep over channels and capacities; rows of every number of outliers."""

from collections.abc import Mapping

import numpy as np

from reports.outliers import outlier_rows, outlier_volume
from reports.registry import reference_parameters
from reports.stimuli import rows
from sim.unit import Beats
from sim.units.outlier_list import OutlierList

SWEEP = [
    OutlierList(
        in_bits=in_bits,
        in_zero_point=zero_point,
        threshold=threshold,
        capacity=capacity,
        channels=channels,
    )
    for in_bits, zero_point, threshold, capacity, channels in (
        (16, 1 << 15, 5000, 8, 192),
        # Outliers of one sign only and one place; places to spare, of which some are never filled.
        (8, 3, 40, 1, 24),
        (12, 1 << 11, 300, 11, 5),
    )
]


def label(spec: OutlierList) -> str:
    """Such as `c192-u16-z32768-t5000-p8`: channels, input, zero point, threshold, capacity."""
    kept = f"z{spec.in_zero_point}-t{spec.threshold}-p{spec.capacity}"
    return f"c{spec.channels}-{spec.in_format}-{kept}"


def stimuli(spec: OutlierList, rng: np.random.Generator) -> dict[str, Beats]:
    """Rows with numbers of outliers around the capacity, at both ends and anywhere."""
    return {"x": rows(outlier_rows(spec, spec.channels, rng))}


def volume(spec: OutlierList, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` codes in rows of any share of outliers."""
    return {"x": outlier_volume(spec, np.full(max(count // spec.channels, 1), spec.channels), rng)}


def reference(spec: OutlierList, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Lists by golden's reference."""
    import torch

    from golden.units.outlier_list import golden

    x = torch.from_numpy(inputs["x"].codes.reshape(-1, spec.channels))
    words = golden(x, **reference_parameters(golden, spec)).numpy()
    return {"o": Beats(words.reshape(-1, 1), np.arange(1, words.size + 1) % spec.capacity == 0)}

"""Stimuli of the units that part a row's outliers: rows with none, few, exactly as many as fit, and more."""

import numpy as np
from numpy.typing import NDArray

from reports.stimuli import closing, uniform
from sim.outliers import OutlierUnit
from sim.unit import Beats, Codes


def outlier_rows(spec: OutlierUnit, length: int, rng: np.random.Generator) -> list[Codes]:
    """Rows of `length` codes: numbers of outliers around the capacity, at both ends and anywhere, of either sign.

    Outliers are the codes just beyond the threshold and the input's ends, other values those just within and random.
    """
    d = np.arange(spec.in_format.max_code + 1) - spec.in_zero_point
    near, far = np.flatnonzero(abs(d) <= spec.threshold), np.flatnonzero(abs(d) > spec.threshold)
    rows = [rng.choice(near, length), near[[0, -1]][np.arange(length) % 2]]
    if not far.size:
        return rows
    beyond = np.unique([far[0], far[-1], *(far[abs(d[far]) == spec.threshold + 1])])
    first, last = np.arange(length) == 0, np.arange(length) == length - 1
    for count in (1, spec.capacity - 1, spec.capacity, spec.capacity + 1, length // 2, length):
        places = rng.permutation(np.arange(length) < count)
        rows.append(np.where(places, rng.choice(beyond, length), rng.choice(near, length)))
    for places in (first, last, first | last):
        rows.append(np.where(places, rng.choice(far, length), rows[0]))
    # Just within and just beyond by turns, and any code at all.
    rows.append(np.where(np.arange(length) % 3 == 1, rng.choice(beyond, length), rows[1]))
    return [*rows, rng.integers(0, len(d), length), rows[0]]


def outlier_volume(spec: OutlierUnit, lengths: Codes, rng: np.random.Generator) -> Beats:
    """Rows of these lengths: a quarter of any codes, the others of outliers at a rate of their own among other values.

    Half of the outliers lie just beyond the threshold, half of the other values just within it.
    """
    d = np.arange(spec.in_format.max_code + 1) - spec.in_zero_point
    far = abs(d) > spec.threshold
    last = closing(lengths)
    x = uniform(spec.in_format, rng, last.size)
    if far.any():
        rate = np.repeat(rng.choice((0.0, 0.02, 0.1, 0.5, 1.0), lengths.size), lengths)
        parts = [
            _half_at(np.flatnonzero(part), abs(abs(d) - spec.threshold) <= 1, last.size, rng)
            for part in (~far, far)
        ]
        chosen = np.where(rng.random(last.size) < rate, parts[1], parts[0])
        x = np.where(np.repeat(rng.random(lengths.size) < 0.25, lengths), x, chosen)
    return Beats(x[:, None], last)


def _half_at(codes: Codes, edge: NDArray[np.bool_], count: int, rng: np.random.Generator) -> Codes:
    """`count` of `codes`, half of them of those at an edge."""
    edges = codes[edge[codes]]
    anywhere = rng.choice(codes, count)
    return np.where(rng.random(count) < 0.5, rng.choice(edges, count), anywhere) if edges.size else anywhere

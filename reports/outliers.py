"""Stimuli of the units that part a row's outliers: rows with none, few, exactly as many as fit, and more."""

import numpy as np

from sim.outliers import OutlierUnit
from sim.unit import Codes


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

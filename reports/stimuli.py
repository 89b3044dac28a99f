"""Building blocks of stimuli: streams of one code per beat, ends of a format, all pairs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from golden.formats import Integer
from sim.unit import Beats, Codes


def column(codes: Codes) -> Beats:
    """One code per beat, in no rows."""
    return Beats(codes.reshape(-1, 1), np.ones(codes.size, np.bool_))


def stream(*parts: Codes) -> Beats:
    """One code per beat of `parts`, one after the other."""
    return column(np.concatenate(parts))


def rows(parts: Sequence[Codes]) -> Beats:
    """One row per part, closed by `last`."""
    last = np.zeros(sum(len(part) for part in parts), np.bool_)
    last[np.cumsum([len(part) for part in parts]) - 1] = True
    return Beats(np.concatenate(parts)[:, None], last)


def ends(format: Integer) -> list[int]:
    """Both ends of a format and their neighbours."""
    low, high = format.min_code, format.max_code
    return sorted({low, min(low + 1, high), max(high - 1, low), high})


def crossed(*choices: Sequence[int]) -> list[Codes]:
    """Every combination of one from each, as one array per choice."""
    return [axis.ravel() for axis in np.meshgrid(*(np.array(c, np.int64) for c in choices), indexing="ij")]


def uniform(format: Integer, rng: np.random.Generator, count: int) -> Codes:
    """Random codes over the whole format."""
    return rng.integers(format.min_code, format.max_code, count, endpoint=True)


def steps(outputs: Codes) -> Codes:
    """Indices on both sides of every change of `outputs`, and both ends."""
    changes = np.flatnonzero(np.diff(outputs))
    return np.unique(np.concatenate((changes, changes + 1, [0, len(outputs) - 1])))


def row_lengths(count: int, longest: int, rng: np.random.Generator) -> Codes:
    """Lengths of rows, about `count` codes together: every length up to `longest` as often as any other, mixed."""
    rounds = max(2 * count // (longest * (longest + 1)), 1)
    return rng.permutation(np.tile(np.arange(1, longest + 1), rounds))


def closing(lengths: Codes) -> NDArray[np.bool_]:
    """`last` of rows of these lengths."""
    last = np.zeros(int(lengths.sum()), np.bool_)
    last[np.cumsum(lengths) - 1] = True
    return last

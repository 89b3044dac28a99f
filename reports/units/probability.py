"""Probability in reports: sweep over fraction bits and tables; stimuli at changes of the result and at the ends."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from golden.softmax_tables import softmax_tables
from reports.log_domain import (
    end_rows,
    gap_rows,
    in_beats,
    random_rows,
    row_reference,
    telling_rows,
    volume_rows,
)
from reports.stimuli import rows, steps
from sim.unit import Beats, Codes
from sim.units.probability import Probability


def _spec(prob_bits: int, exp_bits: int, log_frac_bits: int, *segments: int) -> Probability:
    return Probability(
        score_bits=16,
        score_frac_bits=9,
        max_length=197,  # a class token and 14 x 14 patches
        prob_bits=prob_bits,
        exp_bits=exp_bits,
        log_frac_bits=log_frac_bits,
        lanes=1,
        **softmax_tables(exp_bits, log_frac_bits, *segments),
    )


SWEEP = [
    *(_spec(prob_bits, 18, 12, 8, 16) for prob_bits in (8, 12, 16)),
    # 2^0 a little above 1, and its logarithm rounded to 0: a lone score's probability saturates.
    replace(_spec(12, 12, 12, 8, 16), exp_base=(4097, *_spec(12, 12, 12, 8, 16).exp_base[1:])),
    # No fraction bit beyond the result's, a straight line per octave of 2^-d: a lone score's logarithm is negative.
    _spec(12, 12, 9, 1, 16),
    replace(_spec(8, 12, 12, 8, 16), max_length=50, lanes=4),
]


def label(spec: Probability) -> str:
    """Such as `w16-p18-g12-t8x16-s16.9-n197`: fraction bits, tables' segments, score format, longest row, lanes."""
    tables = f"t{len(spec.exp_base)}x{len(spec.log_base)}"
    score = f"s{spec.score_bits}.{spec.score_frac_bits}"
    lanes = f"-x{spec.lanes}" if spec.lanes > 1 else ""
    return (
        f"w{spec.prob_bits}-p{spec.exp_bits}-g{spec.log_frac_bits}-{tables}-{score}-n{spec.max_length}{lanes}"
    )


def stimuli(spec: Probability, rng: np.random.Generator) -> dict[str, Beats]:
    """Rows: random, ends of the format, equal, one dominant, changes of the result, each table entry, gaps."""
    parts = [
        *random_rows(spec, rng),
        *end_rows(spec),
        *pair_rows(spec, rng, 80),
        *table_rows(spec, rng),
        *gap_rows(spec, rng),
    ]
    return {"i": in_beats(spec, rows(parts))}


def volume(spec: Probability, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` scores in rows of every length and spread."""
    return {"i": in_beats(spec, volume_rows(spec, rng, count))}


def reference(spec: Probability, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Probabilities by golden's reference, row by row."""
    from golden.units.probability import golden

    return row_reference(golden, spec, inputs)


def pair_rows(spec: Probability, rng: np.random.Generator, most: int) -> list[Codes]:
    """Rows of two, on both sides of changes of either result: the ones around the last 1 and the first 0, and others.

    At most `most` and those.
    """
    if spec.max_length < 2:
        return []
    high = spec.score_format.max_code
    d = np.arange(min(1 << spec.score_bits, 1 << 18))
    pairs = np.stack((np.full(len(d), high), high - d), axis=1)
    results = spec.compute(pairs)
    ends = [steps(results[:, 0] == 1 << spec.prob_bits), steps(results[:, 1] == 0)]
    chosen = steps((results[:, 0] << (spec.prob_bits + 1)) + results[:, 1])
    return list(pairs[np.unique(np.concatenate((*ends, rng.permutation(chosen)[:most])))])


def table_rows(spec: Probability, rng: np.random.Generator) -> list[Codes]:
    """Rows of four scores, half of them within an octave, the others within eight, that show each table entry."""
    if spec.max_length < 4:
        return []
    count, octave = 1 << 16, 1 << spec.score_frac_bits
    reach = np.minimum(np.where(np.arange(count) % 2, octave, 8 * octave), (1 << spec.score_bits) - 1)
    d = np.zeros((count, 4), np.int64)
    d[:, 1:] = rng.integers(0, reach[:, None], (count, 3), endpoint=True)
    return telling_rows(spec, spec.score_format.max_code - d)

"""Softmax in reports: sweep over code bits and base, a small unit; stimuli at changes of the code and at the ends."""

from collections.abc import Iterator, Mapping

import numpy as np

from golden.softmax_tables import softmax_tables, stair_tables
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
from sim.units.softmax import Softmax

EXP_BITS, LOG_FRAC_BITS = 18, 12
SMALL = Softmax(
    score_bits=8,
    score_frac_bits=4,  # 16 octaves, as many as 4-bit codes of base 2 tell apart
    code_bits=4,
    steps_per_octave=1,
    max_length=197,
    log2_scale=0,
    exp_bits=14,
    log_frac_bits=4,
    lanes=2,
    **stair_tables(exp_bits=14, frac_bits=4, index_bits=8),
)
"""8-bit scores to 4-bit log2 codes, two a cycle: what HG-PIPE (arXiv 2407.17879) has a unit for."""
SWEEP = [
    *(
        Softmax(
            score_bits=16,
            score_frac_bits=9,
            code_bits=code_bits,
            steps_per_octave=steps,
            max_length=197,  # a class token and 14 x 14 patches
            # A scale of 1 but for the last, whose is what a calibration may find.
            log2_scale=-1234 if (steps, code_bits) == (2, 8) else 0,
            exp_bits=EXP_BITS,
            log_frac_bits=LOG_FRAC_BITS,
            lanes=1,
            **softmax_tables(EXP_BITS, LOG_FRAC_BITS),
        )
        for steps in (1, 2)
        for code_bits in (4, 6, 8)
    ),
    SMALL,
]


def label(spec: Softmax) -> str:
    """Such as `log2-4b-s16.9-n197`: base, code bits, score format, longest row, and lanes where there are several."""
    base = "log2" if spec.steps_per_octave == 1 else "logsqrt2"
    lanes = f"-x{spec.lanes}" if spec.lanes > 1 else ""
    return f"{base}-{spec.code_bits}b-s{spec.score_bits}.{spec.score_frac_bits}-n{spec.max_length}{lanes}"


def stimuli(spec: Softmax, rng: np.random.Generator) -> dict[str, Beats]:
    """Rows: random, ends of the format, equal, one dominant, each change of the code, each table entry, gaps."""
    parts = [
        *random_rows(spec, rng),
        *end_rows(spec),
        *pair_rows(spec),
        *step_rows(spec),
        *table_rows(spec, rng),
        *gap_rows(spec, rng),
    ]
    return {"i": in_beats(spec, rows(parts))}


def volume(spec: Softmax, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` scores in rows of every length and spread."""
    return {"i": in_beats(spec, volume_rows(spec, rng, count))}


def reference(spec: Softmax, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Codes by golden's reference, row by row."""
    from golden.units.softmax import golden

    return row_reference(golden, spec, inputs)


def pair_rows(spec: Softmax) -> list[Codes]:
    """Rows of two, for each change of either code: the difference just before it and at it.

    Of the codes up to that of a score among `max_length` equal ones; `step_rows` has the ones from there.
    """
    if spec.max_length < 2:
        return []
    high = spec.inputs["i"].format.max_code
    d = np.arange(min(1 << spec.score_bits, 1 << 18))
    pairs = np.stack((np.full(len(d), high), high - d), axis=1)
    codes = spec.compute(pairs)
    most = spec.steps_per_octave * (spec.max_length - 1).bit_length() + 1
    chosen = steps((codes[:, 0] << spec.code_bits) + codes[:, 1])
    return list(pairs[chosen[codes[chosen, 1] <= most]])


def step_rows(spec: Softmax) -> Iterator[Codes]:
    """Rows of maxima, then the differences d just before and at each change of the code.

    A quarter of a row is at the maximum, so the others hardly move the sum. They still may, and with it the
    changes: the differences are found again until they stay.
    """
    high = spec.inputs["i"].format.max_code
    maxima = max(spec.max_length // 4, 1)
    most = spec.max_length - maxima
    codes = np.arange(1, 1 << spec.code_bits)
    per_row = max(most // 2, 1)
    for start in range(0, len(codes), per_row) if most >= 2 else ():
        differences = np.zeros(2 * len(codes[start : start + per_row]), np.int64)
        for _ in range(8):
            row = high - np.concatenate((np.zeros(maxima, np.int64), differences))
            again = _steps(spec, codes[start : start + per_row], int(spec.levels(row[None])[0]))
            if np.array_equal(again, differences):
                break
            differences = again
        yield row


def table_rows(spec: Softmax, rng: np.random.Generator) -> list[Codes]:
    """Rows that tell the tables from every table with one entry off by one, as far as such rows are found.

    Among random rows of four scores, whose last is put at a change of its code, the few that show the faults.
    """
    if spec.max_length < 4:
        return []
    # Fewer where the tables are long: a fault each.
    entries = 2 * (len(spec.exp_base) + len(spec.log_base))
    return telling_rows(spec, _probes(spec, rng, (1 << 22) // max(entries, 64)))


def _probes(spec: Softmax, rng: np.random.Generator, count: int) -> Codes:
    """Rows of the maximum, two scores up to four octaves below, and one at or just before a change of its code."""
    octave, furthest = 1 << spec.score_frac_bits, (1 << spec.score_bits) - 1
    d = np.zeros((count, 4), np.int64)
    # Half of the rows within an octave, where the sum feels each step of the power's tables.
    reach = np.where(np.arange(count) % 4 < 2, octave, 4 * octave)
    d[:, 1:3] = np.minimum(rng.integers(0, reach[:, None], (count, 2)), furthest)
    d[:, 3] = furthest
    # Codes of probes far below the maximum, which hardly weigh, as far as the scores reach.
    most = min((1 << spec.code_bits) - 1, spec.steps_per_octave * (furthest >> spec.score_frac_bits))
    codes = rng.integers(most // 2, most, count, endpoint=True)
    for _ in range(3):  # the probe moves the sum that it is placed for, hence again
        d[:, 3] = _steps(spec, codes, spec.levels(-d))[:count]
    d[:, 3] = np.maximum(d[:, 3] - np.arange(count) // 4 % 2, 0)
    return spec.inputs["i"].format.max_code - d


def _steps(spec: Softmax, codes: Codes, level: Codes | int) -> Codes:
    """Smallest d whose code is at least each of `codes`, and the d before; within the format."""
    finer = spec.log_frac_bits - spec.score_frac_bits
    # (d << finer) + level + half ≥ code << h, solved for d with a ceiling.
    need = (codes << spec.code_shift) - ((1 << spec.code_shift) >> 1) - level
    first = -(-need >> finer)
    return np.clip(np.concatenate((first, first - 1)), 0, (1 << spec.score_bits) - 1)

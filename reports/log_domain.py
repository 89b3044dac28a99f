"""Stimuli and reference of the row units in the log domain: rows that reach every end and show every table entry."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from reports.registry import reference_parameters
from reports.stimuli import closing, row_lengths, uniform
from sim.log_domain_rows import LogDomainRows
from sim.unit import Beats, Codes


def random_rows(spec: LogDomainRows, rng: np.random.Generator) -> Iterator[Codes]:
    """Spreads of 1/2 to 32 octaves, lengths up to the longest; the first two are short, for the resets."""
    port = spec.score_format
    for n, octaves in enumerate((2, 8, 0.5, 2, 8, 32)):
        length = int(rng.integers(4, 12)) if n < 5 else spec.max_length
        spread = rng.normal(0, octaves, min(length, spec.max_length)) * (1 << spec.score_frac_bits)
        yield np.clip(np.rint(spread), port.min_code, port.max_code).astype(np.int64)
    yield rng.integers(port.min_code, port.max_code + 1, min(16, spec.max_length))


def end_rows(spec: LogDomainRows) -> Iterator[Codes]:
    """Single scores, equal ones, one dominant, alternating ones, and the largest sum, at both ends of the format."""
    low, high = spec.score_format.min_code, spec.score_format.max_code
    for row in (
        [low],
        [high],
        [0],
        [low] * 5,
        [high] * 4,
        [0] * 3,
        [high, low, low],
        [low, low, high],
        [low, high] * 3,
    ):
        yield np.array(row[: spec.max_length], np.int64)
    yield np.full(spec.max_length, high)  # the largest sum


def volume_rows(spec: LogDomainRows, rng: np.random.Generator, count: int) -> Beats:
    """About `count` scores in rows of every length: a quarter uniform, the others of 1/4 to 64 octaves' spread."""
    format = spec.score_format
    lengths = row_lengths(count, spec.max_length, rng)
    spread = 2.0 ** rng.uniform(-2, 6, lengths.size) * (1 << spec.score_frac_bits)
    centre = rng.uniform(format.min_code, format.max_code, lengths.size)
    last = closing(lengths)
    normal = np.repeat(centre, lengths) + rng.normal(0, 1, last.size) * np.repeat(spread, lengths)
    scores = np.clip(np.rint(normal), format.min_code, format.max_code).astype(np.int64)
    anywhere = np.repeat(rng.random(lengths.size) < 0.25, lengths)
    scores[anywhere] = uniform(format, rng, int(anywhere.sum()))
    return Beats(scores[:, None], last)


def in_beats(spec: LogDomainRows, rows: Beats) -> Beats:
    """Rows of one score a beat with `spec.lanes` scores a beat, each row's last beat filled up with no score.

    A row of nothing but the lowest score, which with several lanes is none, has the next one first.
    """
    if spec.lanes == 1:
        return rows
    starts = np.concatenate(([0], np.flatnonzero(rows.last) + 1))
    lengths = np.diff(starts)
    beats = -(-lengths // spec.lanes)
    first = np.concatenate(([0], np.cumsum(beats)[:-1]))
    codes = np.full(int(beats.sum()) * spec.lanes, spec.absent, np.int64)
    codes[np.arange(rows.last.size) + np.repeat(first * spec.lanes - starts[:-1], lengths)] = rows.codes[:, 0]
    empty = first[np.maximum.reduceat(codes, first * spec.lanes) == spec.absent]
    codes[empty * spec.lanes] += 1
    last = np.zeros(int(beats.sum()), np.bool_)
    last[np.cumsum(beats) - 1] = True
    return Beats(codes.reshape(-1, spec.lanes), last)


def gap_rows(spec: LogDomainRows, rng: np.random.Generator) -> list[Codes]:
    """Rows of five scores near the lowest, of which a sum one larger would show: what fills a last beat adds nothing.

    One larger is one with a score so many octaves below the maximum that of the first entry the leading one is left.
    None where scores do not reach as far.
    """
    octave = 1 << spec.score_frac_bits
    furthest = octave * (spec.exp_base[0].bit_length() - 1)
    if spec.lanes == 1 or spec.max_length < 6 or furthest >= 1 << spec.score_bits:
        return []
    # The lowest score, which is none, is less than an octave below all of them: its power would be an entry.
    found = spec.score_format.min_code + rng.integers(1, octave, (1 << 12, 5))
    higher = found - found.max(axis=1, keepdims=True) + spec.score_format.max_code
    one_more = np.concatenate(
        (higher, np.full((len(found), 1), spec.score_format.max_code - furthest)), axis=1
    )
    shown = (spec.compute(one_more)[:, :-1] != spec.compute(found)).any(axis=1)
    return list(found[shown][:4])


def telling_rows(spec: LogDomainRows, candidates: Codes) -> list[Codes]:
    """Of the rows `candidates`, a few that tell the tables from every table with one entry off by one.

    As far as any of them do: each row chosen shows most of the faults not shown yet.
    """
    results = spec.compute(candidates)
    shown = np.array([(fault.compute(candidates) != results).any(axis=1) for fault in off_by_one(spec)])
    chosen = []
    while shown.any():
        best = int(shown.sum(axis=0).argmax())
        chosen.append(candidates[best])
        shown = shown[~shown[:, best]]
    return chosen


def off_by_one(spec: LogDomainRows) -> Iterator[LogDomainRows]:
    """Every spec with one table entry one higher or one lower that is still a spec."""
    for name in ("exp_base", "exp_slope", "log_base", "log_slope"):
        entries = getattr(spec, name)
        for n in range(len(entries)):
            for step in (1, -1):
                try:
                    changed: dict[str, Any] = {name: (*entries[:n], entries[n] + step, *entries[n + 1 :])}
                    yield replace(spec, **changed)
                except ValueError:
                    continue


def row_reference(
    golden: Callable[..., Any], spec: LogDomainRows, inputs: Mapping[str, Beats]
) -> dict[str, Beats]:
    """Results of `golden`, row by row."""
    import torch

    i = inputs["i"]
    scores = np.split(i.codes.reshape(-1), (np.flatnonzero(i.last)[:-1] + 1) * spec.lanes)
    parameters = reference_parameters(golden, spec)
    results = [golden(torch.from_numpy(row), **parameters).numpy() for row in scores]
    return {"o": Beats(np.concatenate(results).reshape(-1, spec.lanes), i.last)}

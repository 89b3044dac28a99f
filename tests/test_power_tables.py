"""Softmax and probability by a table of all powers of two: the same results as term by term."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reports.registry import entry
from sim import log_domain, log_domain_rows
from sim.units import softmax
from sim.units.softmax import Softmax

SPECS = [(name, spec) for name in ("softmax", "probability") for spec in entry(name).report.SWEEP]
IDS = [f"{name}-{entry(name).report.label(spec)}" for name, spec in SPECS]
FLAT: Any = replace(SPECS[0][1], exp_bits=3, exp_base=(8,), exp_slope=(0,))  # type: ignore[call-arg]
"""Powers of 8 eighths within an octave, so that the last distance with one is the last before four octaves."""


def compared(spec: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Results of rows that spread over all distances, term by term and by the table."""
    rng = np.random.default_rng(1)
    low, high = spec.score_format.min_code, spec.score_format.max_code
    near = min((spec.exp_bits + 3) << spec.score_frac_bits, high - low)
    rows = rng.integers(high - near + 1, high + 1, (40, min(spec.max_length, 24) // spec.lanes * spec.lanes))
    rows[:, 0] = np.linspace(low + 1, high, len(rows)).astype(np.int64)
    with monkeypatch.context() as patch:
        patch.setattr(log_domain_rows, "_WORTH", 1 << 62)
        term_by_term = spec.compute(rows)
        patch.setattr(log_domain_rows, "_WORTH", 0)
        patch.setattr(log_domain_rows, "_MOST_POWERS", 1 << 24)
        return term_by_term, spec.compute(rows)


@pytest.mark.parametrize(("name", "spec"), [*SPECS, ("softmax", FLAT)], ids=[*IDS, "flat"])
def test_both_ways_give_the_same(monkeypatch: pytest.MonkeyPatch, name: str, spec: Any) -> None:
    term_by_term, by_table = compared(spec, monkeypatch)
    assert np.array_equal(term_by_term, by_table)


@pytest.mark.parametrize(
    ("changes", "tabled"),
    [
        ({"score_bits": 30, "score_frac_bits": 9, "exp_bits": 15}, True),
        (
            {"score_bits": 31, "score_frac_bits": 9, "exp_bits": 15},
            False,
        ),  # the bound is 30: int32 holds more
        (
            {"score_bits": 16, "score_frac_bits": 11, "exp_bits": 30, "log_frac_bits": 11},
            True,
        ),  # 31 · 2^11 + 1
        ({"score_bits": 16, "score_frac_bits": 12, "exp_bits": 15}, False),  # 2^16 + 1
    ],
)
def test_tables_that_are_short_enough(changes: dict[str, Any], tabled: bool) -> None:
    flat: dict[str, Any] = {"exp_base": (1,), "exp_slope": (0,), "log_base": (0,), "log_slope": (0,)}
    spec = next(spec for name, spec in SPECS if name == "softmax")
    assert replace(spec, **flat, **changes)._tabled is tabled


def sums(spec: Any, row: Any, powers: Any) -> int:
    tables = (np.array(entries, np.int64) for entries in (spec.exp_base, spec.exp_slope))
    total = getattr(log_domain._sum_of_powers, "py_func", log_domain._sum_of_powers)
    return int(
        total(row, int(row.max()), spec.score_frac_bits, *tables, spec.exp_segment_shift, spec.absent, powers)
    )


@pytest.mark.parametrize("tabled", [False, True])
def test_what_is_none_adds_nothing(tabled: bool) -> None:
    spec: Any = next(spec for _, spec in SPECS if spec.lanes > 1)
    row = np.array([5, 3, spec.absent, 4, spec.absent])
    powers = log_domain_rows._powers(spec) if tabled else np.empty(0, np.int32)
    assert sums(spec, row, powers) == sums(spec, row[row != spec.absent], powers) > 0


@pytest.mark.parametrize(
    ("kernel", "old", "new"),
    [
        ("_sum_of_powers", "powers.size - 1", "powers.size - 2 - (1 << f)"),
        ("_sum_of_powers", "np.int32(top - score)", "np.int32(top - score + 1)"),
        ("_sum_of_powers", "if score != none else 0", ""),
        ("powers_of_two", "power_of_two(d,", "power_of_two(d + 1,"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, kernel: str, old: str, new: str) -> None:
    spec = next(spec for _, spec in SPECS if spec.lanes > 1)
    base, slope = (np.array(entries, np.int64) for entries in (spec.exp_base, spec.exp_slope))
    low, high = spec.score_format.min_code, spec.score_format.max_code
    # Every distance once, and what is none, far from the maximum and next to it.
    rows = (
        np.r_[np.arange(max(low + 1, high - spec._distances - 3), high + 1), [spec.absent]],
        np.array([spec.absent + 1, spec.absent]),
    )

    def all_sums(term_by_term: bool) -> list[int]:
        count = 0 if term_by_term else spec._distances
        powers = log_domain.powers_of_two(spec.score_frac_bits, base, slope, spec.exp_segment_shift, count)
        return [sums(spec, row, powers) for row in rows]

    expected = all_sums(term_by_term=True)
    assert all_sums(term_by_term=False) == expected
    mutate(log_domain, kernel, old, new)
    assert all_sums(term_by_term=False) != expected


def coded(spec: Softmax, row: Any) -> list[int]:
    """Codes of a row by `_narrow_codes` alone."""
    out, level = np.empty(len(row), np.int64), int(spec.levels(row[None])[0])
    kernel = getattr(softmax._narrow_codes, "py_func", softmax._narrow_codes)
    top = spec.output_format.max_code
    kernel(row, int(row.max()), level, spec.finer_bits, spec.code_shift, top, spec.absent, out)
    return [int(code) for code in out]


def wide_enough(monkeypatch: pytest.MonkeyPatch, spec: Softmax, row: Any) -> list[int]:
    """The same in int64."""
    with monkeypatch.context() as patch:
        patch.setattr(Softmax, "narrow", False)
        codes: list[int] = spec.compute(row).tolist()
    return codes


@pytest.mark.parametrize(
    "spec", [spec for name, spec in SPECS if name == "softmax"], ids=lambda spec: f"{spec.lanes}"
)
def test_codes_in_32_bits_are_those_in_64(monkeypatch: pytest.MonkeyPatch, spec: Softmax) -> None:
    low, high = spec.score_format.min_code, spec.score_format.max_code
    row = np.random.default_rng(2).integers(low, high + 1, 128)
    row[:4] = low, high, high - 1, low + 1
    assert spec.narrow
    assert coded(spec, row) == wide_enough(monkeypatch, spec, row)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(1 << h) >> 1", "0"),
        ("<< (lift & 31)", "<< (lift & 31) + 1"),
        (">> (h & 31)", ">> (h & 31) - 1"),
        ("np.int32(0)), most", "np.int32(1)), most"),
        ("if score != none else most", ""),
        ("start - score", "start - score + 1"),
    ],
)
def test_planted_faults_in_32_bits_are_seen(
    mutate: Any, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    spec = next(spec for _, spec in SPECS if isinstance(spec, Softmax) and spec.lanes > 1)
    row = np.array([-100, -90, 0, 20, 50, 51, 52, 53, 54, 55, 56, spec.absent])
    # Next to a maximum at the format's lower end, what is none would have a code of its own.
    rows = (row, np.array([spec.absent + 1, spec.absent]))
    expected = [wide_enough(monkeypatch, spec, one) for one in rows]
    assert [coded(spec, one) for one in rows] == expected
    mutate(softmax, "_narrow_codes", old, new)
    assert [coded(spec, one) for one in rows] != expected

"""Softmax: worked answers, error against real softmax, refusals, cycles; and its tables' errors."""

from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.softmax_tables import softmax_tables, stair_tables
from reports.log_domain import in_beats, off_by_one
from reports.stimuli import rows
from reports.synthesis import synthesize
from reports.units.softmax import SMALL, SWEEP, label, pair_rows, step_rows, stimuli, table_rows
from sim.unit import Beats, Codes
from sim.units.softmax import Softmax

# One exp segment, one log segment, one octave = 4 score steps: small enough to work by hand.
# 2^-f ~ (16 - 2·low) / 16, log2(1 + u) ~ u in quarters of an octave.
TINY = Softmax(
    score_bits=6, score_frac_bits=2, code_bits=3, steps_per_octave=1, max_length=4, log2_scale=0, exp_bits=4,
    log_frac_bits=2, exp_base=(16,), exp_slope=(2,), log_base=(0,), log_slope=(4,),
)  # fmt: skip
MAIN = next(spec for spec in SWEEP if spec.code_bits == 4 and spec.steps_per_octave == 2)
ONE_LANE = [spec for spec in SWEEP if spec.lanes == 1]


def test_row_worked_by_hand() -> None:
    # Scores 8, 4, 3, -20: d = 0, 4, 5, 28; q = 0, 1, 1, 7; low = 0, 0, 1, 0.
    # e = 16, 16 >> 1 = 8, (16 - 2) >> 1 = 7, 16 >> 7 = 0; S = 31: p = 4, u = 15/16, L = 0 + floor(3.75) = 3.
    # t = d + 3, code = (t + 2) >> 2: 5 >> 2 = 1, 9 >> 2 = 2, 10 >> 2 = 2, 33 >> 2 = 8, saturated to 7.
    assert TINY.compute(np.array([8, 4, 3, -20])).tolist() == [1, 2, 2, 7]
    assert TINY.levels(np.array([[8, 4, 3, -20]])).tolist() == [3]


def test_equal_scores_get_log2_of_the_length() -> None:
    # Four times 16: S = 64, L = 2 octaves; code 2 = -log2(1/4), wherever the scores lie.
    for score in (-32, 0, 31):
        assert TINY.compute(np.full(4, score)).tolist() == [2, 2, 2, 2]


def test_one_score_is_probability_one() -> None:
    for spec in ONE_LANE:
        assert spec.compute(np.array([[-32768], [0], [32767]])).ravel().tolist() == [0, 0, 0]


@pytest.mark.parametrize("spec", ONE_LANE, ids=label)
def test_code_is_within_the_tables_error_of_real_softmax(spec: Softmax) -> None:
    rng = np.random.default_rng(5)
    x = np.clip(rng.normal(0, 1500, (300, 197)), -32768, 32767).round().astype(np.int64)
    octaves = x / 2**spec.score_frac_bits
    scale = spec.log2_scale / 2**spec.log_frac_bits
    exact = -spec.steps_per_octave * (octaves - np.log2(np.exp2(octaves).sum(-1, keepdims=True)) - scale)
    exact = np.clip(exact, 0, (1 << spec.code_bits) - 1)
    # Relative error 5.1e-4 of each power is 7.4e-4 octaves of the sum, FLOOR of e_i below 2^-18 of the maximum
    # each, log2 6.8e-4 octaves: together below 2e-3 octaves, then rounding to half a code.
    assert np.abs(spec.compute(x) - exact).max() < 0.5 + spec.steps_per_octave * 2e-3


def test_scale_moves_codes_by_its_logarithm() -> None:
    x = np.random.default_rng(1).integers(-3000, 3000, (20, 30))
    wide = replace(MAIN, code_bits=8)
    plain = wide.compute(x)
    for steps in (1, 2, 7):
        # log2_scale of `steps` half octaves; codes of base √2 count half octaves, none saturates here.
        moved = replace(wide, log2_scale=steps << (wide.log_frac_bits - 1)).compute(x)
        assert np.array_equal(moved, plain + steps)


def test_shape_is_kept_and_rows_are_independent() -> None:
    x = np.random.default_rng(2).integers(-2000, 2000, (2, 3, 11))
    codes = MAIN.compute(x)
    assert codes.shape == x.shape
    assert np.array_equal(codes[1, 2], MAIN.compute(x[1, 2]))


def test_stream_equals_tensor_for_rows_of_any_length() -> None:
    rng = np.random.default_rng(3)
    parts = [rng.integers(-3000, 3000, n) for n in (1, 197, 2, 60)]
    out = MAIN.run(i=rows(parts))["o"]
    assert np.array_equal(out.codes[:, 0], np.concatenate([MAIN.compute(part) for part in parts]))
    assert np.array_equal(out.last, rows(parts).last)


@pytest.mark.parametrize(("count", "length"), [(1, 1), (1, 197), (5, 1), (3, 50)])
def test_cycles_are_the_span_of_the_timing(count: int, length: int) -> None:
    timing = MAIN.timing(i=rows([np.zeros(length, np.int64)] * count))
    assert MAIN.cycles(count, length) == timing["o"][-1] - timing["i"][0] + 1
    assert MAIN.cycles(count, length) == count * (3 * length + MAIN.row_overhead - 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("score_bits", 1, r"score_bits must be in \[2, 32\], not 1"),
        ("score_frac_bits", 0, r"score_frac_bits must be in \[1, 24\], not 0"),
        ("code_bits", 9, r"bits must be in \[2, 8\], not 9"),
        ("steps_per_octave", 3, "steps_per_octave must be 1"),
        ("max_length", 0, "max_length must be in"),
        ("lanes", 3, "lanes must be 1, 2, 4 or 8, not 3"),
        ("exp_bits", 31, "exp_bits must be in"),
        ("log_frac_bits", 8, r"log_frac_bits must be in \[9, 30\], not 8"),
        ("log2_scale", 1 << 20, "within ±64 octaves"),
        ("exp_base", (262144,) * 7, "the same length, a power of two"),
        ("exp_slope", (5000,) * 8, "exp segment 0 must stay within"),
        ("exp_base", (1 << 19,) * 8, "exp segment 0 must stay within"),
        ("log_base", (-1,) * 16, "must not be negative, but one is -1"),
        ("log_slope", (9000,) * 16, "must stay below 2 octaves"),
    ],
)
def test_refuses(field: str, value: object, message: str) -> None:
    changed: dict[str, Any] = {field: value}
    with pytest.raises(ValueError, match=message):
        replace(MAIN, **changed)


def test_refuses_a_code_longer_than_62_bits() -> None:
    with pytest.raises(ValueError, match="must keep a code in 62 bits"):
        replace(TINY, score_bits=32, score_frac_bits=0, log_frac_bits=30, exp_slope=(0,))


def test_refuses_rows_and_scores_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="a row has 198 scores, but max_length is 197"):
        MAIN.compute(np.zeros((2, 198), np.int64))
    with pytest.raises(ValueError, match=r"scores must be in s16 = \[-32768, 32767\], not \[0, 32768\]"):
        MAIN.compute(np.array([0, 32768]))
    with pytest.raises(ValueError, match="must end with a beat that closes a row"):
        MAIN.run(i=Beats(np.zeros((2, 1), np.int64), np.array([True, False])))
    with pytest.raises(ValueError, match="at least one row of one score"):
        MAIN.compute(np.zeros((3, 0), np.int64))


@pytest.mark.parametrize("name", ["exp", "log"])
def test_tables_have_the_errors_stated(name: str) -> None:
    table = softmax_tables(18, 12)
    base, slope = (np.array(table[f"{name}_{part}"]) for part in ("base", "slope"))
    if name == "exp":
        r = np.arange(512)
        error = (base[r >> 6] - slope[r >> 6] * (r & 63)) / 2.0 ** (18 - r / 512) - 1
        # Half of the chord's (ln 2 / 8)² / 8 = 9.4e-4, and the slope's rounding.
        assert 4.0e-4 < error.max() < 5.1e-4
    else:
        u = np.arange(4096)
        value = (base[u >> 8] + (slope[u >> 8] * (u & 255) >> 8)) / 4096
        error = np.concatenate((value - np.log2(1 + u / 4096), value - np.log2(1 + (u + 1) / 4096)))
        assert 4.0e-4 < error.max() < 6.8e-4
    assert abs(error.max() + error.min()) < 1e-4  # centred


def test_powers_never_rise_with_the_distance() -> None:
    base, slope = (np.array(softmax_tables(18, 12)[f"exp_{part}"]) for part in ("base", "slope"))
    d = np.arange(20 << 9)
    r = d & 511
    powers = (base[r >> 6] - slope[r >> 6] * (r & 63)) >> (d >> 9)
    assert (np.diff(powers) <= 0).all()


def test_finer_tables_err_less() -> None:
    def worst(segments: int) -> float:
        table = softmax_tables(24, 12, exp_segments=segments)
        width = 512 // segments
        r = np.arange(512)
        base, slope = np.array(table["exp_base"])[r // width], np.array(table["exp_slope"])[r // width]
        return float(np.abs((base - slope * (r % width)) / 2.0 ** (24 - r / 512) - 1).max())

    # The error of straight segments falls with the square of their width.
    assert worst(16) == pytest.approx(worst(8) / 4, rel=0.05)


def test_tables_refuse_segments_that_are_no_power_of_two() -> None:
    with pytest.raises(ValueError, match="log_segments must be a power of two up to 2\\^12, not 12"):
        softmax_tables(18, 12, log_segments=12)


def test_step_rows_sit_on_every_change_of_the_code() -> None:
    for spec in SWEEP[:2] + SWEEP[3:5]:
        codes = np.concatenate([spec.compute(row) for row in (*pair_rows(spec), *step_rows(spec))])
        assert set(range(1, 1 << spec.code_bits)) <= set(codes.tolist())
        for row in step_rows(spec):
            steps = len(row) - spec.max_length // 4
            first, before = np.split(spec.compute(row)[-steps:], 2)
            # One score step apart, one code apart, wherever the difference is not at an end of the format.
            scores = row[-steps:][: steps // 2]
            inner = (scores < 32767) & (scores > -32768)
            assert inner.any()
            assert (first - before == 1)[inner].all()


def test_table_rows_show_every_entry_that_is_off_by_one() -> None:
    chosen = np.stack(table_rows(MAIN, np.random.default_rng(0)))
    faults = list(off_by_one(MAIN))
    assert len(faults) == 2 * (8 + 8 + 16 + 16)
    unseen = [fault for fault in faults if np.array_equal(fault.compute(chosen), MAIN.compute(chosen))]
    assert not unseen


def test_level_range_holds_the_extreme_sums() -> None:
    for spec in ONE_LANE:
        half = (1 << spec.code_shift) >> 1
        low, high = spec.level_range
        ends = np.array([np.full(197, 5), np.r_[32767, np.full(196, -32768)]])
        levels = spec.levels(ends) + half
        assert low <= levels.min() <= levels.max() <= high
        assert levels.max() / 4096 == pytest.approx(log2(197) + (half + spec.log2_scale) / 4096, abs=2e-3)


def test_the_lowest_score_of_several_lanes_is_none() -> None:
    # As in the row worked by hand, whose score of -32 as well as none at all leave the sum at 31.
    pair = replace(TINY, lanes=2)
    assert pair.compute(np.array([8, 4, -32, 3])).tolist() == [1, 2, 7, 2]
    assert TINY.compute(np.array([8, 4, -32, 3])).tolist() == [1, 2, 7, 2]
    # Near it the difference shows: 16 + 8 alone are log2 of 24 / 16, 0.5 octaves and a quarter's FLOOR.
    assert TINY.levels(np.array([[-28, -32]])).tolist() == [2]
    assert pair.levels(np.array([[-28, -32]])).tolist() == [0]
    assert pair.compute(np.array([-28, -32])).tolist() == [0, 7]


@pytest.mark.parametrize("length", [1, 2, 3, 196, 197])
def test_beats_of_two_hold_the_codes_of_one(length: int) -> None:
    one = replace(SMALL, lanes=1)
    x = np.random.default_rng(length).integers(-127, 128, (3, length))
    i = in_beats(SMALL, rows(list(x)))
    o = SMALL.run(i=i)["o"]
    assert o.codes.shape == (3 * -(-length // 2), 2)
    codes = o.codes.reshape(3, -1)
    assert np.array_equal(codes[:, :length], one.compute(x))
    assert np.array_equal(codes[:, :length], SMALL.compute(x))
    assert (codes[:, length:] == 15).all()
    timing = SMALL.timing(i=i)
    assert SMALL.cycles(3, length) == timing["o"][-1] + 1
    assert SMALL.cycles(3, length) == 3 * (3 * -(-length // 2) + SMALL.row_overhead - 1)


def test_refuses_rows_of_no_score_and_of_too_many() -> None:
    with pytest.raises(ValueError, match="a row has no score: all are -128, which stands for none"):
        SMALL.compute(np.array([[0, 1], [-128, -128]]))
    with pytest.raises(ValueError, match="a row has 198 scores, but max_length is 197"):
        SMALL.run(i=rows([np.zeros(99, np.int64)])._replace(codes=np.zeros((99, 2), np.int64)))


def test_stimuli_of_several_lanes_fill_up_odd_rows() -> None:
    i = stimuli(SMALL, np.random.default_rng(0))["i"]
    assert i.codes.shape[1] == 2
    filled = i.codes[i.last, 1] == -128
    assert filled.any()
    assert not filled.all()
    assert (i.codes[:, 0] == -128).any()  # no score elsewhere, too


def exact_codes(x: Codes) -> Codes:
    """Codes of the exact softmax of `SMALL`'s scores: float64, 1e-13 octaves away from a tie's other side at most."""
    octaves = x / 16
    minus_log2 = np.log2(np.exp2(octaves - octaves.max(-1, keepdims=True)).sum(-1, keepdims=True))
    minus_log2 = minus_log2 + octaves.max(-1, keepdims=True) - octaves
    return np.clip(np.floor(minus_log2 + 0.5), 0, 15).astype(np.int64)


@pytest.mark.parametrize("octaves", [0.25, 0.5, 1, 2, 4])
def test_few_codes_of_the_small_unit_differ_from_exact_softmax(octaves: float) -> None:
    """By one, where a probability is on the border of two codes: 2 in a thousand at most."""
    rng = np.random.default_rng(6)
    x = np.clip(np.rint(rng.normal(0, 16 * octaves, (4000, 197))), -127, 127).astype(np.int64)
    off = np.abs(SMALL.compute(x) - exact_codes(x))
    assert off.max() <= 1
    assert 0 < off.mean() < 0.002


@pytest.mark.synth
def test_the_small_unit_is_as_small_and_as_fast_as_it_must_be(tmp_path: Path) -> None:
    """docs/hardware.md: HG-PIPE's unit takes 360 LUTs, 2 DSPs and 2 RAMB18."""
    xcup = synthesize("softmax", SMALL, "xcup", tmp_path)
    assert 250 < xcup.luts <= 360
    assert xcup.dsps == 0
    assert xcup.block_rams <= 0.5  # one RAMB18
    ecp5 = synthesize("softmax", SMALL, "ecp5", tmp_path)
    assert ecp5.dsps == 0
    assert ecp5.fmax_mhz is not None
    assert ecp5.fmax_mhz > 100


def test_stair_tables_are_the_definition() -> None:
    tables = stair_tables(exp_bits=14, frac_bits=4, index_bits=8)
    n, u = np.arange(16), (np.arange(256) + 0.5) / 256
    assert tables["exp_base"] == (16383, *np.rint(2 ** (14 - n[1:] / 16)).astype(int).tolist())
    assert tables["log_base"] == tuple(np.floor(16 * np.log2(1 + u)).astype(int).tolist())
    assert not any(tables["exp_slope"] + tables["log_slope"])

"""probability: worked answers, the definition in Python integers, error against real softmax, faults, cycles."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.log_domain import off_by_one
from reports.stimuli import rows
from reports.units.probability import SWEEP, label, pair_rows, stimuli, table_rows
from sim import log_domain
from sim.unit import Beats
from sim.units import probability
from sim.units.probability import Probability

# One exp segment, one log segment, one octave = 4 score steps: small enough to work by hand.
# 2^-f ~ (16 - 2·low) / 16, log2(1 + u) ~ u in eighths of an octave.
TINY = Probability(
    score_bits=6, score_frac_bits=2, max_length=4, prob_bits=4, exp_bits=4, log_frac_bits=3,
    exp_base=(16,), exp_slope=(2,), log_base=(0,), log_slope=(8,),
)  # fmt: skip
MAIN, COARSE, LANES = SWEEP[2], SWEEP[4], SWEEP[5]


def definition(spec: Probability, row: list[int]) -> list[int]:
    """docs/datapath.md, probability, for one row."""
    f, g, p_bits, w_bits = spec.score_frac_bits, spec.log_frac_bits, spec.exp_bits, spec.prob_bits
    segments, log_segments = len(spec.exp_base), len(spec.log_base)

    def power(distance: int, fewer: int) -> int:
        q, r = distance >> f, distance % 2**f
        segment, low = divmod(r, 2**f // segments)
        return (spec.exp_base[segment] - spec.exp_slope[segment] * low) >> (q + fewer)

    none = [spec.lanes > 1 and x == -(2 ** (spec.score_bits - 1)) for x in row]
    d = [max(row) - x for x in row]
    total = sum(power(distance, 0) for distance, no_score in zip(d, none, strict=True) if not no_score)
    top = total.bit_length() - 1
    segment, low = divmod(((total << 12) >> top) % 4096, 4096 // log_segments)
    level = (
        ((top - p_bits) << g) + spec.log_base[segment] + spec.log_slope[segment] * low * log_segments // 4096
    )
    half = 1 << (g - f) >> 1
    v = [(max((distance << (g - f)) + level, 0) + half) >> (g - f) for distance in d]
    p = [min(power(distance, p_bits - w_bits), 2**w_bits) for distance in v]
    return [0 if no_score else each for each, no_score in zip(p, none, strict=True)]


def definitions(spec: Probability, scores: Any) -> list[list[int]]:
    return [definition(spec, row) for row in scores.tolist()]


def test_the_smallest_sums_have_their_logarithms() -> None:
    """Powers of 1 or 0 alone: sums of 1, 2, 3 and 4, with 4 fraction bits, in eighths of an octave."""
    spec = replace(TINY, exp_base=(1,), exp_slope=(0,))
    rows_of = [[9, -20, -20, -20], [9, 9, -20, -20], [9, 9, 9, -20], [9, 9, 9, 9]]
    assert spec.levels(np.array(rows_of)).tolist() == [-32, -24, -20, -16]


def test_row_worked_by_hand() -> None:
    # Scores 8, 4, 3, -20: d = 0, 4, 5, 28; e = 16, 16 >> 1 = 8, (16 - 2) >> 1 = 7, 16 >> 7 = 0; S = 31.
    # p = 4, u = 15/16, L = 0 + floor(7.5) = 7 eighths. t = 2d + 7 = 7, 15, 17, 63; v = (t + 1) >> 1 = 4, 8, 9, 32.
    # Quarters of an octave: 2^-1 = 16 >> 1 = 8, 2^-2 = 4, 2^-2.25 = 14 >> 2 = 3, 2^-8 = 0.
    assert TINY.compute(np.array([8, 4, 3, -20])).tolist() == [8, 4, 3, 0]
    assert TINY.levels(np.array([[8, 4, 3, -20]])).tolist() == [7]
    # One fraction bit: the same mantissas, three places further.
    assert replace(TINY, prob_bits=1).compute(np.array([8, 4, 3, -20])).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_lone_scores_are_probability_one_and_equal_ones_share_it(spec: Probability) -> None:
    one = 1 << spec.prob_bits
    lowest = spec.absent + 1
    largest = int(spec.compute(np.array([lowest]))[0])
    # A lone score's logarithm and 2^0 err by the tables' error, less than a 16th even for one line an octave.
    assert one - one // 16 <= largest <= one
    for score in (lowest, 0, 32767):
        assert spec.compute(np.array([score])).tolist() == [largest]
        shared = spec.compute(np.full(4, score))
        assert (abs(shared - one // 4) <= one // 32).all()


def test_probability_saturates_at_one() -> None:
    """2^0 of the table is 17/16; L of a lone 17 is floor(8/16) = 0 eighths, so the power exceeds 1."""
    spec = replace(TINY, exp_base=(17,))
    assert definition(spec, [5]) == [16]
    assert spec.compute(np.array([5])).tolist() == [16]
    assert replace(spec, prob_bits=3).compute(np.array([5])).tolist() == [8]
    # So does a row of the sweep, for the RTL: 4097 / 4096 and L below half a score step.
    assert SWEEP[3].exp_base[0] == (1 << SWEEP[3].prob_bits) + 1
    assert SWEEP[3].compute(np.array([5])).tolist() == [1 << SWEEP[3].prob_bits]


def test_negative_distances_count_as_zero() -> None:
    lone = COARSE.levels(np.array([[0]]))[0]
    assert lone < -1
    assert COARSE.compute(np.array([0])).tolist() == definition(COARSE, [0])
    assert COARSE.difference_format.min_code <= lone


small = st.integers(0, 3)


@given(
    st.integers(2, 12),
    st.integers(2, 6),
    small,
    st.integers(1, 20),
    small,
    small,
    st.integers(0, 2**32),
    st.data(),
)
def test_equals_definition(
    score_bits: int, f: int, finer: int, exp_bits: int, exp_log: int, log_log: int, seed: int, data: st.DataObject
) -> None:  # fmt: skip
    """Any tables that a spec takes, not only those that approximate anything."""
    rng, exp_segments, log_segments = np.random.default_rng(seed), 1 << min(exp_log, f), 1 << log_log
    base = rng.integers(1, 2 << exp_bits, exp_segments)
    slope = rng.integers(0, base // max((1 << f) // exp_segments - 1, 1) + 1)
    log_base = rng.integers(0, 1 << (f + finer), log_segments)
    spec = Probability(
        score_bits=score_bits, score_frac_bits=f, max_length=9, prob_bits=data.draw(st.integers(1, exp_bits)),
        exp_bits=exp_bits, log_frac_bits=f + finer, exp_base=tuple(base.tolist()), exp_slope=tuple(slope.tolist()),
        log_base=tuple(log_base.tolist()), log_slope=tuple(rng.integers(0, 1 << (f + finer), log_segments).tolist()),
    )  # fmt: skip
    scores = rng.integers(-1 << (score_bits - 1), 1 << (score_bits - 1), (5, data.draw(st.integers(1, 9))))
    assert spec.compute(scores).tolist() == definitions(spec, scores)


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_every_distance_of_a_pair(spec: Probability) -> None:
    """All 2^16 differences of two scores."""
    d = np.arange(1 << spec.score_bits)
    pairs = np.stack((np.full(d.size, 32767), 32767 - d), axis=1)
    found = spec.compute(pairs)
    some = np.unique(np.concatenate((d[:3000], d[::61], d[-2:])))
    assert found[some].tolist() == definitions(spec, pairs[some])
    # Beyond W + 1 octaves nothing is left. Farther is never likelier, where steps between segments are too small.
    assert not found[(spec.prob_bits + 2) << spec.score_frac_bits :, 1].any()
    assert (np.diff(found[:, 1]) <= 0).all() or spec.exp_bits == spec.prob_bits


@pytest.mark.parametrize("spec", SWEEP[:3], ids=label)
def test_probability_is_within_the_tables_error_of_real_softmax(spec: Probability) -> None:
    rng = np.random.default_rng(5)
    x = np.clip(rng.normal(0, 1500, (300, 197)), -32768, 32767).round().astype(np.int64)
    octaves = x / 2**spec.score_frac_bits
    exact = np.exp2(octaves) / np.exp2(octaves).sum(-1, keepdims=True)
    found = spec.compute(x) / 2**spec.prob_bits
    # Sum: 5.1e-4 of each power and FLOOR of 197 by 2^-18 of the maximum, 1.26e-3; log2 6.8e-4 and the rounding of
    # the distance 2^-10 octaves, together 1.15e-3; the power's own 5.1e-4: 2.9e-3. FLOOR takes less than 2^-W more.
    tolerance = 2.9e-3 * exact
    assert (found <= exact + tolerance).all()
    assert (found > exact - tolerance - 2.0**-spec.prob_bits).all()
    if spec.prob_bits == 16:
        assert np.abs(found.sum(-1) - 1).max() < 2.9e-3 + 197 * 2.0**-16


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_stimuli_equal_the_definition(spec: Probability) -> None:
    i = stimuli(spec, np.random.default_rng(0))["i"]
    parts = np.split(i.codes.reshape(-1), (np.flatnonzero(i.last)[:-1] + 1) * spec.lanes)
    found = spec.run(i=i)["o"]
    assert found.codes.reshape(-1).tolist() == [p for part in parts for p in definition(spec, part.tolist())]
    assert np.array_equal(found.last, i.last)


KERNELS = (
    (log_domain, "power_of_two"),
    (log_domain, "_sum_of_powers"),
    (log_domain, "_log2_sum"),
    (log_domain, "row_level"),
    (probability, "_probability_rows"),
)


def interpret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kernel as plain Python, so that a fault in one shows in its callers."""
    for module, name in KERNELS:
        kernel = getattr(module, name)
        monkeypatch.setattr(module, name, getattr(kernel, "py_func", kernel))
    for module, name in KERNELS:
        scope = getattr(module, name).__globals__
        if scope is not vars(module):  # a mutated kernel has its own copy
            scope.update(vars(module))
    for name in ("power_of_two", "row_level"):
        monkeypatch.setattr(probability, name, getattr(log_domain, name))


def cases() -> Iterator[tuple[Probability, Any]]:
    rng = np.random.default_rng(1)
    for spec in (TINY, replace(TINY, exp_base=(17,))):
        yield from ((spec, rng.integers(-20, 20, (40, length))) for length in (1, 2, 4))
    for spec in (MAIN, COARSE):
        yield from ((spec, rng.integers(-3000, 3000, (20, length))) for length in (1, 3))
    yield LANES, np.c_[rng.integers(-3000, 3000, (10, 2)), np.full((10, 1), -32768)]
    yield LANES, np.c_[rng.integers(-32767, -31000, (10, 2)), np.full((10, 1), -32768)]


def test_kernels_in_plain_python_equal_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the planted faults are planted in."""
    interpret(monkeypatch)
    for spec, scores in cases():
        assert spec.compute(scores).tolist() == definitions(spec, scores)


@pytest.mark.parametrize(
    ("module", "kernel", "old", "new"),
    [
        (probability, "_probability_rows", "+ level, 0)", "+ level, -(1 << 20))"),
        (probability, "_probability_rows", "+ level, 0)", "+ level, 1)"),
        (probability, "_probability_rows", "(t + half)", "t"),
        (probability, "_probability_rows", "(t + half)", "(t + half - 1)"),
        (probability, "_probability_rows", "p_bits - w_bits)", "p_bits - w_bits + 1)"),
        (probability, "_probability_rows", "min(power, 1 << w_bits)", "power"),
        (probability, "_probability_rows", "power, 1 << w_bits)", "power, (1 << w_bits) - 1)"),
        (probability, "_probability_rows", "x_max = row_max(row)", "x_max = row[0]"),
        (log_domain, "power_of_two", "- exp_slope[segment] * low", ""),
        (log_domain, "power_of_two", "(d >> f) + fewer", "(d >> f) + fewer + 1"),
        (probability, "_probability_rows", "if row[j] != absent else 0", ""),
        (log_domain, "_sum_of_powers", "if x != absent:", "if True:"),
        (log_domain, "_sum_of_powers", "total = 0", "total = 1"),
        (log_domain, "_log2_sum", "p + 1):", "p + 2):"),
        (log_domain, "_log2_sum", "(log_slope[segment] * low)", "(log_slope[segment] * low + 255)"),
        (log_domain, "row_level", "+ offset", "+ offset + 1"),
    ],
)  # fmt: skip
def test_planted_faults_are_seen(
    monkeypatch: pytest.MonkeyPatch, mutate: Any, module: Any, kernel: str, old: str, new: str
) -> None:
    mutate(module, kernel, old, new)
    interpret(monkeypatch)
    for spec, scores in cases():
        try:
            found = spec.compute(scores).tolist()
        except (IndexError, ValueError):
            return  # a negative shift or segment
        if found != definitions(spec, scores):
            return
    pytest.fail(f"{new!r} for {old!r} in {kernel} changes nothing")


def test_table_rows_show_every_entry_that_is_off_by_one() -> None:
    for spec in (MAIN, COARSE):
        chosen = np.stack(table_rows(spec, np.random.default_rng(0)))
        faults = list(off_by_one(spec))
        unseen = [f for f in faults if np.array_equal(f.compute(chosen), spec.compute(chosen))]
        assert not unseen
    assert len(faults) == 2 * (1 + 1 + 16 + 16)


def test_pair_rows_have_the_last_one_and_the_first_zero() -> None:
    for spec in SWEEP:
        found = spec.compute(np.stack(pair_rows(spec, np.random.default_rng(0), 10)))
        assert {0, 1} <= set(found[:, 1].tolist())
        largest = int(spec.compute(np.array([0]))[0])
        assert {largest, largest - 1} & set(found[:, 0].tolist())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prob_bits": 0}, r"prob_bits must be in \[1, 18\], not 0"),
        ({"prob_bits": 19}, r"prob_bits must be in \[1, 18\], not 19"),
        ({"score_bits": 33}, r"score_bits must be in \[2, 32\], not 33"),
        ({"score_frac_bits": 25}, r"score_frac_bits must be in \[0, 24\], not 25"),
        ({"log_frac_bits": 8}, r"log_frac_bits must be in \[9, 30\], not 8"),
        ({"max_length": 0}, "max_length must be in"),
        ({"exp_base": (262144,) * 7}, "the same length, a power of two"),
        ({"log_slope": (9000,) * 16}, "must stay below 2 octaves"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MAIN, **changes)


def test_refuses_rows_and_scores_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="a row has 198 scores, but max_length is 197"):
        MAIN.compute(np.zeros((2, 198), np.int64))
    with pytest.raises(ValueError, match=r"scores must be in s16 = \[-32768, 32767\], not \[-32769, 0\]"):
        MAIN.compute(np.array([0, -32769]))
    with pytest.raises(ValueError, match="must end with a beat that closes a row"):
        MAIN.run(i=Beats(np.zeros((2, 1), np.int64), np.array([True, False])))


def test_stream_equals_tensor_and_shape_is_kept() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(-2000, 2000, (2, 3, 11))
    assert MAIN.compute(x).shape == x.shape
    parts = [rng.integers(-3000, 3000, n) for n in (1, 197, 2, 60)]
    found = MAIN.run(i=rows([x[1, 2], *parts]))["o"].codes[:, 0]
    assert np.array_equal(found, np.concatenate([MAIN.compute(x)[1, 2], *map(MAIN.compute, parts)]))


@pytest.mark.parametrize(("count", "length"), [(1, 1), (1, 197), (5, 1), (3, 50)])
def test_cycles_are_the_span_of_the_timing(count: int, length: int) -> None:
    timing = MAIN.timing(i=rows([np.zeros(length, np.int64)] * count))
    assert MAIN.cycles(count, length) == timing["o"][-1] - timing["i"][0] + 1
    # Each result takes its power of two as well, which softmax's codes do not.
    assert MAIN.cycles(count, length) == count * (3 * length + MAIN.row_overhead - 1)
    assert MAIN.emit_latency == MAIN.power_latency + 1

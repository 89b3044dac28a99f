"""outlier_list: hand-worked words, the definition in Python integers, planted faults, refusals, streams and cycles."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from reports.units.outlier_list import SWEEP, label, stimuli
from sim.unit import Beats, Codes
from sim.units import outlier_list
from sim.units.outlier_list import OutlierList


def unit(**changes: Any) -> OutlierList:
    parameters: dict[str, Any] = {
        "in_bits": 8, "in_zero_point": 100, "threshold": 20, "capacity": 3, "channels": 6,
    }  # fmt: skip
    return OutlierList(**parameters | changes)


def definition(spec: OutlierList, x: list[int]) -> list[int]:
    """docs/datapath.md, outlier_list, for one row."""
    words: list[int] = []
    for channel, code in enumerate(x):
        d = code - spec.in_zero_point
        if not -spec.threshold <= d <= spec.threshold and len(words) < spec.capacity:
            words.append(channel * 2 ** (spec.in_bits + 1) + d % 2 ** (spec.in_bits + 1))
    return words + [0] * (spec.capacity - len(words))


def test_hand_worked() -> None:
    # Values of 9 bits: 21 at channel 1 is 512 + 21; −21 at channel 5 is 5 · 512 + 512 − 21. ±20 are no outliers.
    # Of five outliers the first three are listed: −100 at 0, 155 at 1, 50 at 3.
    d = np.array([[20, 21, -20, 0, 7, -21], [-100, 155, 0, 50, 60, -70], [0, 20, -20, 1, 2, 3]])
    words = unit().compute(d + 100)
    assert words.tolist() == [[533, 3051, 0], [412, 512 + 155, 3 * 512 + 50], [0, 0, 0]]


@given(st.integers(2, 16), st.data(), st.integers(1, 64), st.integers(2, 300), st.integers(0, 2**32))
def test_equals_definition(
    in_bits: int, data: st.DataObject, capacity: int, channels: int, seed: int
) -> None:
    codes = st.integers(0, 2**in_bits - 1)
    spec = unit(in_bits=in_bits, in_zero_point=data.draw(codes), threshold=data.draw(codes), capacity=capacity,
                channels=channels)  # fmt: skip
    rng, top = np.random.default_rng(seed), (1 << in_bits) - 1
    x = rng.integers(0, top, (2, 3, channels), endpoint=True)
    for n, sign in enumerate((-1, 1)):
        edge = spec.in_zero_point + sign * (spec.threshold + rng.integers(-1, 3, channels))
        x[n, 0] = edge.clip(0, top)
    expected = [[definition(spec, row) for row in image] for image in x.tolist()]
    assert spec.compute(x).tolist() == expected
    assert spec.compute(x.transpose(1, 0, 2)).tolist() == [list(rows) for rows in zip(*expected, strict=True)]


@pytest.mark.parametrize("channels", [2, 3, 4, 5, 192, 256, 257, 4096])
def test_words_hold_the_last_channel_and_both_ends(channels: int) -> None:
    spec = unit(channels=channels, in_bits=16, in_zero_point=1 << 15, threshold=0, capacity=1)
    for code in (0, 65535):
        x = np.full(channels, 1 << 15)
        x[-1] = code
        (word,) = spec.compute(x).tolist()
        assert word <= spec.word_format.max_code
        assert divmod(word, 1 << 17) == (channels - 1, (code - (1 << 15)) % (1 << 17))
    assert 1 << (spec.index_bits - 1) <= channels - 1 < 1 << spec.index_bits


@pytest.mark.parametrize("spec", SWEEP, ids=label)
@pytest.mark.parametrize(("parameter", "step"), [("threshold", -1), ("threshold", 1), ("in_zero_point", 1)])
def test_stimuli_show_every_wrong_parameter(spec: OutlierList, parameter: str, step: int) -> None:
    beats = stimuli(spec, np.random.default_rng(3))
    changed: dict[str, Any] = {parameter: getattr(spec, parameter) + step}
    assert not np.array_equal(replace(spec, **changed).run(**beats)["o"].codes, spec.run(**beats)["o"].codes)


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_stimuli_have_lists_of_every_length(spec: OutlierList) -> None:
    x = stimuli(spec, np.random.default_rng(3))["x"].codes.reshape(-1, spec.channels)
    counts = set((np.abs(x - spec.in_zero_point) > spec.threshold).sum(axis=1).tolist())
    most = min(spec.capacity, spec.channels)
    assert {0, 1, most} <= counts
    assert max(counts) > spec.capacity or spec.capacity > spec.channels


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("abs(d) > threshold", "abs(d) >= threshold"),
        ("abs(d) > threshold", "abs(d) > threshold + 1"),
        ("abs(d) > threshold", "d > threshold"),
        ("abs(d) > threshold", "-d > threshold"),
        ("found < words.shape[1]", "found < words.shape[1] - 1"),
        ("found = 0", "found = 0 if row == 0 else found"),
        ("- zero_point", "- zero_point - 1"),
        ("d & mask", "d"),
        ("d & mask", "abs(d)"),
        ("d & mask", "x[row, c]"),
        ("(c << value_bits)", "((c + 1) << value_bits)"),
        ("(c << value_bits)", "(found << value_bits)"),
        ("<< value_bits) |", "<< (value_bits - 1)) |"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, old: str, new: str) -> None:
    """Every code in several orders; and those around the threshold among codes within it."""
    spec, rng = unit(channels=256, capacity=60), np.random.default_rng(5)
    x = rng.permuted(np.tile(np.arange(256), (3, 1)), axis=-1)
    x[0] = np.where(np.arange(256) < 50, 100 + rng.choice([-21, -20, 20, 21], 256), 100)
    mutate(outlier_list, "_list", old, new)
    assert spec.compute(x).tolist() != [definition(spec, row) for row in x.tolist()]


def test_an_unchanged_kernel_as_python_agrees(mutate: Any) -> None:
    """What the planted faults run in is itself right."""
    spec = unit(channels=256, capacity=60)
    x = np.random.default_rng(6).integers(0, 256, (3, 256))
    mutate(outlier_list, "_list", "found = 0", "found = 0")
    assert spec.compute(x).tolist() == [definition(spec, row) for row in x.tolist()]


def test_operands_outside_their_range_raise() -> None:
    with pytest.raises(InvariantError, match=r"operand x spans \[0, 256\], outside u8"):
        unit().compute(np.array([0, 0, 0, 0, 0, 256]))
    with pytest.raises(InvariantError, match="operand x has length 5, not 6"):
        unit().compute(np.zeros(5, np.int64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_bits": 1}, r"in_bits must be in \[2, 16\], not 1"),
        ({"in_bits": 17}, r"in_bits must be in \[2, 16\], not 17"),
        ({"in_zero_point": 256}, r"in_zero_point must be in \[0, 255\], not 256"),
        ({"threshold": 256}, r"threshold must be in \[0, 255\], not 256"),
        ({"capacity": 65}, r"capacity must be in \[1, 64\], not 65"),
        ({"channels": 1}, r"channels must be in \[2, 4096\], not 1"),
        ({"channels": 4097}, r"channels must be in \[2, 4096\], not 4097"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit(**changes)


@pytest.mark.parametrize(("channels", "bits"), [(2, 1), (3, 2), (4, 2), (5, 3), (4096, 12)])
def test_an_index_is_as_wide_as_the_last_channel(channels: int, bits: int) -> None:
    spec = unit(channels=channels)
    assert spec.index_bits == bits
    assert spec.value_format == Integer(bits=9, signed=True)


def test_streams_agree_with_whole_tensors() -> None:
    spec = unit()
    x: Codes = np.random.default_rng(4).integers(0, 256, (3, 6))
    last = np.arange(1, 19) % 6 == 0
    beats = Beats(x.reshape(-1, 1), last)
    out = spec.run(x=beats)["o"]
    assert out.codes.reshape(3, 3).tolist() == [definition(spec, row) for row in x.tolist()]
    assert out.last.tolist() == [False, False, True] * 3
    # Row 0 is taken in cycles 0 … 5, its list given in 7, 8, 9; row 1 begins in 9.
    timing = {name: cycles.tolist() for name, cycles in spec.timing(x=beats).items()}
    assert timing["x"] == [9 * row + n for row in range(3) for n in range(6)]
    assert timing["o"] == [9 * row + 7 + n for row in range(3) for n in range(3)]
    assert spec.cycles(3, 3) == timing["o"][-1] + 1
    with pytest.raises(InvariantError, match="rows must have 6 beats"):
        spec.run(x=Beats(beats.codes, np.roll(last, 1)))
    with pytest.raises(InvariantError, match="list has length 6, not 3"):
        spec.cycles(3, 6)

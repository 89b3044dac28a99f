"""threshold_encoder: hand-worked codes, every input, planted faults, refusals, streams and cycles."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from reports.units.threshold_encoder import SWEEP, label, stimuli
from sim.unit import Beats
from sim.units import threshold_encoder
from sim.units.threshold_encoder import ThresholdEncoder


def unit(**changes: Any) -> ThresholdEncoder:
    parameters: dict[str, Any] = {
        "in_bits": 6, "code_bits": 3, "thresholds": (1, 3, 7, 20, 40, 50, 63),
    }  # fmt: skip
    return ThresholdEncoder(**parameters | changes)


def definition(spec: ThresholdEncoder, x: int) -> int:
    """docs/datapath.md, threshold_encoder, for one input."""
    return sum(threshold <= x for threshold in spec.thresholds)


def every_input(spec: ThresholdEncoder) -> Any:
    return np.arange(1 << spec.in_bits)


def test_hand_worked() -> None:
    # 0 reaches none; 1 and 2 the first; 3 the second; 19 three (1, 3, 7), 20 four; 62 six, 63 all seven.
    assert unit().compute(np.array([0, 1, 2, 3, 19, 20, 62, 63])).tolist() == [0, 1, 1, 2, 3, 4, 6, 7]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"thresholds": ()},
        {"thresholds": (0,)},
        {"thresholds": (5, 5, 5, 9)},
        {"thresholds": (0, 0, 63, 63)},
        {"code_bits": 1, "thresholds": (31,)},
        {"code_bits": 8, "thresholds": tuple(range(1, 64))},
        {"in_bits": 16, "code_bits": 4, "thresholds": tuple(n * n * 256 for n in range(1, 16))},
    ],
)
def test_every_input(changes: dict[str, Any]) -> None:
    spec = unit(**changes)
    x = every_input(spec)
    assert spec.compute(x).tolist() == [definition(spec, n) for n in x.tolist()]


@given(st.integers(1, 32), st.integers(1, 8), st.data())
def test_equals_definition(in_bits: int, code_bits: int, data: st.DataObject) -> None:
    inputs = st.integers(0, (1 << in_bits) - 1)
    thresholds = sorted(data.draw(st.lists(inputs, max_size=(1 << code_bits) - 1)))
    spec = unit(in_bits=in_bits, code_bits=code_bits, thresholds=tuple(thresholds))
    x = [0, (1 << in_bits) - 1, *thresholds, *[max(t - 1, 0) for t in thresholds], *data.draw(st.lists(inputs, max_size=5))]  # fmt: skip # noqa: E501
    assert spec.compute(np.array(x)).tolist() == [definition(spec, n) for n in x]


def test_shape_is_kept() -> None:
    x = np.random.default_rng(1).integers(0, 64, (3, 4, 5)).transpose(2, 0, 1)
    codes = unit().compute(x)
    assert codes.shape == (5, 3, 4)
    assert codes[4, 1, 2] == definition(unit(), int(x[4, 1, 2]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("part[n] >= ", "part[n] > "),
        ("step - 1)]", "step)]"),
        ("part[n] >= ", "part[n] + 1 >= "),
        ("code[n] += step", "code[n] += 1"),
        ("size + 1) >> 1", "size + 1) >> 2"),
        ("while step:", "while step > 1:"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, old: str, new: str) -> None:
    spec = unit(thresholds=(1, 3, 7, 20, 40, 50))
    x = every_input(spec)
    mutate(threshold_encoder, "_encode", old, new)
    assert spec.compute(x).tolist() != [definition(spec, n) for n in x.tolist()]


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_stimuli_show_every_threshold_that_is_off_by_one(spec: ThresholdEncoder) -> None:
    x = stimuli(spec, np.random.default_rng(3))["x"].codes[:, 0]
    codes = spec.compute(x)
    for n, threshold in enumerate(spec.thresholds):
        for step in (1, -1):
            moved = sorted((*spec.thresholds[:n], threshold + step, *spec.thresholds[n + 1 :]))
            if 0 <= moved[0] <= moved[-1] < 1 << spec.in_bits:
                assert not np.array_equal(replace(spec, thresholds=tuple(moved)).compute(x), codes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_bits": 0}, r"in_bits must be in \[1, 32\], not 0"),
        ({"in_bits": 33}, r"in_bits must be in \[1, 32\], not 33"),
        ({"code_bits": 0}, r"code_bits must be in \[1, 8\], not 0"),
        ({"code_bits": 9}, r"code_bits must be in \[1, 8\], not 9"),
        ({"code_bits": 2}, "thresholds must be at most 3, not 7"),
        ({"thresholds": (1, 64)}, r"thresholds must be in \[0, 63\], but one is 64"),
        ({"thresholds": (-1, 4)}, r"thresholds must be in \[0, 63\], but one is -1"),
        ({"thresholds": (4, 9, 8)}, "thresholds must be ascending, but 8 follows 9"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit(**changes)


def test_every_code_but_0_has_a_start() -> None:
    spec = unit(thresholds=(1, 9))
    assert spec.starts == (1, 9, *[64] * (2**spec.code_bits - 3))


def test_input_outside_its_format_raises() -> None:
    for x in (-1, 64):
        with pytest.raises(InvariantError, match=rf"operand x spans \[{x}, {x}\], outside u6"):
            unit().compute(np.array([x]))


def test_streams_agree_with_whole_tensors() -> None:
    spec = unit()
    x = every_input(spec)
    beats = Beats(x[:, None], np.ones(64, np.bool_))
    assert spec.run(x=beats)["o"].codes[:, 0].tolist() == [definition(spec, n) for n in x.tolist()]
    assert spec.timing(x=beats)["x"].tolist() == list(range(64))
    assert spec.timing(x=beats)["o"].tolist() == [n + 3 for n in range(64)]
    assert spec.cycles(64) == 64 + spec.latency == 67

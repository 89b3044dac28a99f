"""Widths of the row units in the log domain, worked by hand: wider ones would cost bits, which no result shows."""

from dataclasses import fields
from typing import Any

import pytest

from golden.formats import Integer
from sim.units.softmax import Softmax


def unit(**changes: Any) -> Softmax:
    """Scores s5 with a half as last place, powers 8 and 6 eighths, logarithms in eighths."""
    parameters: dict[str, Any] = {
        "score_bits": 5,
        "score_frac_bits": 1,
        "code_bits": 3,
        "steps_per_octave": 1,
        "max_length": 3,
        "log2_scale": 0,
        "exp_bits": 3,
        "log_frac_bits": 3,
        "exp_base": (8, 6),
        "exp_slope": (0, 0),
        "log_base": (1, 4),
        "log_slope": (0, 3),
        "lanes": 2,
    }
    return Softmax(**parameters | changes)


def signed(bits: int) -> Integer:
    return Integer(bits=bits, signed=True)


def test_a_level_above_0() -> None:
    """A sum of 13 bits lies 0 to 9 octaves above 8 eighths; half a code, 4, on top: 24 + 1 − 24 + 4 to 96 + 7 − 20."""
    spec = unit()
    assert spec.level_range == (5, 83)
    assert spec.level_format == signed(8)
    assert spec.reference_format == signed(7)  # −16 to 15 + 83 / 4
    assert spec.difference_format == signed(7)  # 0 to 31 + 20


def test_a_level_below_0() -> None:
    """With 12.5 octaves less, −95 to −17, which are −24 to −5 places of a score."""
    spec = unit(log2_scale=-100)
    assert spec.level_range == (-95, -17)
    assert spec.level_format == signed(8)
    assert spec.reference_format == signed(7)  # −40 to 15
    assert spec.difference_format == signed(6)  # −24 to 31


def test_sums() -> None:
    """At least a leading one and the 12 bits that log2 looks at; 3000 · 8 = 24000 has 15."""
    assert (unit().sum_bits, unit(max_length=3000).sum_bits) == (13, 15)
    assert (unit().normalise_cycles, unit(max_length=3000).normalise_cycles) == (
        6,
        6,
    )  # 12 / 4 + 3, 14 / 4 + 3
    assert unit().power_format == Integer(bits=4, signed=False)


@pytest.mark.parametrize(
    ("lanes", "absent", "beats", "gather"), [(1, -17, 3, 0), (2, -16, 2, 1), (4, -16, 1, 2)]
)
def test_lanes(lanes: int, absent: int, beats: int, gather: int) -> None:
    spec = unit(lanes=lanes)
    assert (spec.absent, spec.max_beats, spec.gather_latency) == (absent, beats, gather)


def test_one_lane_unless_stated() -> None:
    parameters = {
        field.name: getattr(unit(), field.name) for field in fields(Softmax) if field.name != "lanes"
    }
    assert Softmax(**parameters).lanes == 1


def test_segments() -> None:
    """Two of an octave of two places each; two of the 12 bits of log2's index, a cycle for each of the 11 below."""
    assert (unit().exp_segment_shift, unit().log_segment_shift, unit().finer_bits) == (0, 11, 2)
    assert (unit().interpolate_cycles, unit(log_slope=(0, 0)).interpolate_cycles) == (11, 0)

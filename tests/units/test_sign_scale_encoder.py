"""sign_scale_encoder: hand-worked codes, every input, planted faults, the way back, refusals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from reports.units.sign_scale_encoder import SWEEP, stimuli
from sim.units import sign_scale_encoder
from sim.units.sign_scale_encoder import SignScaleEncoder
from sim.units.two_scale_mac import TwoScaleMac


def unit(**changes: int) -> SignScaleEncoder:
    return SignScaleEncoder(**{"in_bits": 8, "code_bits": 4, "shift": 2} | changes)


def definition(spec: SignScaleEncoder, x: int) -> int:
    """docs/datapath.md, sign_scale_encoder, for one input."""
    k = spec.code_bits - 1
    if x < 0:
        return min(-x, 2**k - 1)
    rounded = (x + (1 << (spec.shift - 1))) >> spec.shift if spec.shift else x
    return 2**k | min(rounded, 2**k - 1)


def every_input(spec: SignScaleEncoder) -> Any:
    return np.arange(-(1 << (spec.in_bits - 1)), 1 << (spec.in_bits - 1))


def test_hand_worked() -> None:
    # 4 bits, k = 3, m = 2: −1 is 1, −7 is 7, −8 and −128 saturate at 7; 0 and 1 are the flag 8 alone;
    # 2: (2 + 2) >> 2 = 1, so a tie goes up; 29: 31 >> 2 = 7; 30: 32 >> 2 = 8 saturates at 7.
    x = np.array([-1, -7, -8, -128, 0, 1, 2, 29, 30, 127])
    assert unit().compute(x).tolist() == [1, 7, 7, 7, 8, 8, 8 + 1, 8 + 7, 8 + 7, 8 + 7]


@pytest.mark.parametrize(
    ("in_bits", "code_bits", "shift"),
    [(8, 4, 4), (9, 4, 0), (2, 4, 3), (3, 8, 1), (12, 8, 4), (16, 8, 5), (16, 2, 14), (6, 2, 24)],
)
def test_every_input(in_bits: int, code_bits: int, shift: int) -> None:
    """Inputs narrower and wider than payload and shift; a shift beyond the input leaves 0."""
    spec = unit(in_bits=in_bits, code_bits=code_bits, shift=shift)
    x = every_input(spec)
    assert spec.compute(x).tolist() == [definition(spec, n) for n in x.tolist()]


@given(st.integers(2, 40), st.integers(2, 16), st.integers(0, 24), st.data())
def test_equals_definition(in_bits: int, code_bits: int, shift: int, data: st.DataObject) -> None:
    spec = unit(in_bits=in_bits, code_bits=code_bits, shift=shift)
    low, high = -(1 << (in_bits - 1)), (1 << (in_bits - 1)) - 1
    x = [low, -1, 0, high, *data.draw(st.lists(st.integers(low, high), max_size=9))]
    assert spec.compute(np.array(x)).tolist() == [definition(spec, n) for n in x]


@pytest.mark.parametrize("shift", [0, 4])
def test_decoding_gives_back_what_the_step_allows(shift: int) -> None:
    """Exact below 0, within half a coarse step above, as far as the payload reaches."""
    mac = TwoScaleMac(code_bits=4, shift=shift, signed_regions=True, w_zero_point=0, acc_bits=32,
                      w_format=Integer(bits=2, signed=True))  # fmt: skip
    spec = unit(shift=shift)
    x = np.arange(-7, (7 << shift) + 1)
    error = x - mac.values[spec.compute(x)]
    assert not error[x < 0].any()
    assert np.abs(error).max() == (1 << shift) >> 1


@pytest.mark.parametrize("spec", [spec for spec in SWEEP if spec.shift], ids=str)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x[n] + half", "x[n]"),
        ("x[n] + half", "x[n] + half - 1"),
        ("x[n] + half", "x[n] + half + 1"),
        (">> shift", ">> (shift - 1)"),
        (">> shift", ">> (shift + 1)"),
        (">> shift, flag - 1", ">> shift, flag"),
        (">> shift, flag - 1", ">> shift, flag - 2"),
        ("flag | min", "min"),
        ("0 - x[n], flag - 1", "-x[n], flag"),
        ("0 - x[n], flag - 1", "-x[n], flag - 2"),
        ("0 - x[n]", "~x[n]"),
        ("x[n] < 0", "x[n] <= 0"),
        ("x[n] < 0", "x[n] < -1"),
    ],
)
def test_planted_faults_are_seen_in_the_stimuli(
    mutate: Any, spec: SignScaleEncoder, old: str, new: str
) -> None:
    x = stimuli(spec, np.random.default_rng(2))["x"].codes[:, 0]
    mutate(sign_scale_encoder, "_sign_scale", old, new)
    assert spec.compute(x).tolist() != [definition(spec, n) for n in x.tolist()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_bits": 1}, r"in_bits must be in \[2, 40\], not 1"),
        ({"in_bits": 41}, r"in_bits must be in \[2, 40\], not 41"),
        ({"code_bits": 1}, r"code_bits must be in \[2, 16\], not 1"),
        ({"code_bits": 17}, r"code_bits must be in \[2, 16\], not 17"),
        ({"shift": -1}, r"shift must be in \[0, 24\], not -1"),
        ({"shift": 25}, r"shift must be in \[0, 24\], not 25"),
    ],
)
def test_parameters_are_checked(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit(**changes)


def test_input_outside_its_format_raises() -> None:
    for x in (-129, 128):
        with pytest.raises(InvariantError, match=rf"operand x spans \[{x}, {x}\], outside s8"):
            unit().compute(np.array([x]))

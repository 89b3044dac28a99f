"""two_scale_encoder: hand-worked codes, every input, planted faults, the way back, refusals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from reports.units.two_scale_encoder import SWEEP, stimuli
from sim.units import two_scale_encoder
from sim.units.two_scale_encoder import TwoScaleEncoder
from sim.units.two_scale_mac import TwoScaleMac


def unit(code_bits: int, shift: int) -> TwoScaleEncoder:
    return TwoScaleEncoder(in_bits=code_bits - 1 + shift, code_bits=code_bits, shift=shift)


def definition(spec: TwoScaleEncoder, x: int) -> int:
    """docs/datapath.md, two_scale_encoder, for one input."""
    k = spec.code_bits - 1
    if x < 2**k:
        return x
    return 2**k | min((x + 2 ** (spec.shift - 1)) >> spec.shift, 2**k - 1)


def every_input(spec: TwoScaleEncoder) -> Any:
    return np.arange(1 << spec.in_bits)


def test_hand_worked() -> None:
    # 4 bits, k = 3, m = 2, inputs of 5 bits: 0 and 7 stay; 8: (8 + 2) >> 2 = 2 and the flag 8, 10; 9: 11 >> 2 = 2;
    # 10: 12 >> 2 = 3, so a tie goes up; 29: 31 >> 2 = 7; 30: 32 >> 2 = 8 saturates at 7.
    x = np.array([0, 7, 8, 9, 10, 29, 30, 31])
    assert unit(4, 2).compute(x).tolist() == [0, 7, 8 + 2, 8 + 2, 8 + 3, 8 + 7, 8 + 7, 8 + 7]


@pytest.mark.parametrize(
    ("code_bits", "shift"), [(2, 1), (2, 9), (4, 1), (4, 5), (6, 4), (8, 4), (8, 9), (15, 2)]
)
def test_every_input(code_bits: int, shift: int) -> None:
    spec = unit(code_bits, shift)
    x = every_input(spec)
    assert spec.compute(x).tolist() == [definition(spec, n) for n in x.tolist()]


@given(st.integers(2, 16), st.integers(1, 24), st.data())
def test_equals_definition(code_bits: int, shift: int, data: st.DataObject) -> None:
    spec = unit(code_bits, shift)
    top, flag = (1 << spec.in_bits) - 1, 1 << (code_bits - 1)
    x = [0, flag - 1, flag, top, *data.draw(st.lists(st.integers(0, top), max_size=9))]
    assert spec.compute(np.array(x)).tolist() == [definition(spec, n) for n in x]


@pytest.mark.parametrize(("code_bits", "shift"), [(4, 5), (8, 4)])
def test_decoding_gives_back_what_the_step_allows(code_bits: int, shift: int) -> None:
    """Exact where the payload holds the input; within half a coarse step elsewhere, but for saturation at the top."""
    mac = TwoScaleMac(code_bits=code_bits, shift=shift, signed_regions=False, w_zero_point=0, acc_bits=32,
                      w_format=Integer(bits=2, signed=True))  # fmt: skip
    spec = unit(code_bits, shift)
    x = every_input(spec)
    error = x - mac.values[spec.compute(x)]
    small, saturated = x < 1 << (code_bits - 1), x >= (1 << spec.in_bits) - (1 << (shift - 1))
    assert not error[small].any()
    assert np.abs(error[~saturated]).max() == 1 << (shift - 1)
    assert error[saturated].max() < 1 << shift


@pytest.mark.parametrize("spec", SWEEP, ids=str)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x[n] + half", "x[n]"),
        ("x[n] + half", "x[n] + half - 1"),
        ("x[n] + half", "x[n] + half + 1"),
        (">> shift", ">> (shift - 1)"),
        (">> shift", ">> (shift + 1)"),
        ("flag - 1)", "flag)"),
        ("flag - 1)", "flag - 2)"),
        ("flag | min", "min"),
        ("x[n] < flag", "x[n] < flag + 2"),
        ("x[n] < flag", "x[n] < flag - 1"),
    ],
)
def test_planted_faults_are_seen_in_the_stimuli(
    mutate: Any, spec: TwoScaleEncoder, old: str, new: str
) -> None:
    x = stimuli(spec, np.random.default_rng(2))["x"].codes[:, 0]
    mutate(two_scale_encoder, "_two_scale", old, new)
    assert spec.compute(x).tolist() != [definition(spec, n) for n in x.tolist()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code_bits": 1}, r"code_bits must be in \[2, 16\], not 1"),
        ({"code_bits": 17}, r"code_bits must be in \[2, 16\], not 17"),
        ({"shift": 0}, r"shift must be in \[1, 24\], not 0"),
        ({"shift": 25}, r"shift must be in \[1, 24\], not 25"),
        ({"in_bits": 7}, r"in_bits must be code_bits − 1 \+ shift = 8, not 7"),
        ({"in_bits": 9}, r"in_bits must be code_bits − 1 \+ shift = 8, not 9"),
    ],
)
def test_parameters_are_checked(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TwoScaleEncoder(**{"in_bits": 8, "code_bits": 4, "shift": 5} | changes)


def test_input_outside_its_format_raises() -> None:
    for x in (-1, 256):
        with pytest.raises(InvariantError, match=rf"operand x spans \[{x}, {x}\], outside u8"):
            unit(4, 5).compute(np.array([x]))

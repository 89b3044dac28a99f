"""log2_encoder: hand-worked codes, every input, exactly the nearest code, planted faults, refusals."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from reports.units.log2_encoder import SWEEP, stimuli, thresholds
from sim.units import log2_encoder
from sim.units.log2_encoder import Log2Encoder


def unit(in_bits: int, code_bits: int, steps: int, **changes: Any) -> Log2Encoder:
    parameters = {
        "unity": in_bits - 1,
        "thresholds": thresholds(in_bits, steps),
        "max_level": (1 << code_bits) - 2,
    }
    return Log2Encoder(in_bits=in_bits, code_bits=code_bits, steps_per_octave=steps, **parameters | changes)


def definition(spec: Log2Encoder, x: int) -> int:
    """docs/datapath.md, log2_encoder, for one input."""
    top = 2**spec.code_bits - 1
    if x == 0:
        return top
    p = max(n for n in range(spec.in_bits) if x >> n & 1)
    u = x << (spec.in_bits - 1 - p)
    n = sum(threshold <= u for threshold in spec.thresholds)
    k = spec.steps_per_octave * (spec.unity - p) - n
    return 0 if k < 0 else k if k <= spec.max_level else top


def nearest(spec: Log2Encoder, x: int) -> int:
    """The level k nearest to m · (P − log2 x), whatever its sign, by comparing x^4 with powers of two.

    k is nearest when 2^(P − (k + 1/2) / m) ≤ x < 2^(P − (k − 1/2) / m), strictly inside, as both ends are irrational.
    """
    fourth, k = Fraction(x) ** 4, -2 * spec.in_bits
    # 4 / m quarters of an octave a level, 2 / m half a level.
    step, half = 4 // spec.steps_per_octave, 2 // spec.steps_per_octave
    while fourth < Fraction(2) ** (4 * spec.unity - step * k - half):
        k += 1
    assert (
        Fraction(2) ** (4 * spec.unity - step * k - half)
        < fourth
        < Fraction(2) ** (4 * spec.unity - step * k + half)
    )
    return k


def test_hand_worked() -> None:
    # 8 bits, 1 stands for 2^7. Base 2: an octave's upper part begins at 128 · √2 = 181.02, hence 182.
    # 0: top; 255, 182: 7 − 7 − 1 < 0, 0; 181, 128: 0; 127: leading one 6, mantissa 254, 1 − 1 = 0; 91: 182, 0;
    # 90: 180, 1; 64: 1; 1: leading one 0, mantissa 128, 7. With max_level 5, 4 (level 5) stays, 2 (6) does not.
    x = np.array([0, 255, 182, 181, 128, 127, 91, 90, 64, 1])
    assert unit(8, 4, 1).compute(x).tolist() == [15, 0, 0, 0, 0, 0, 0, 1, 1, 7]
    assert unit(8, 4, 1, max_level=5).compute(np.array([4, 3, 2, 1])).tolist() == [5, 5, 15, 15]
    # Base √2: 128 · 2^(1/4) = 152.2, hence 153, and 128 · 2^(3/4) = 215.3, hence 216. 100: leading one 6,
    # mantissa 200, one threshold: 2 − 1 = 1; 108: 216, two: 0; 76: 152, none: 2; 3: leading one 1, 192: 12 − 1.
    assert unit(8, 4, 2).compute(np.array([100, 108, 76, 3])).tolist() == [1, 0, 2, 11]
    # Unity 4: 2^4 has code 0; so has all above; 1 is 2 · 4 half octaves below.
    assert unit(8, 4, 2, unity=4).compute(np.array([16, 255, 15, 1])).tolist() == [0, 0, 0, 8]


SMALL = [
    *((in_bits, bits, steps, {}) for in_bits in (2, 3, 8, 13) for bits in (2, 4, 8) for steps in (1, 2)),
    *((9, 4, steps, {"unity": p}) for steps in (1, 2) for p in (0, 3, 7)),
    *((9, 4, steps, {"max_level": k}) for steps in (1, 2) for k in (0, 1, 6)),
    (9, 4, 2, {"thresholds": (256, 512)}),
    (9, 4, 2, {"thresholds": (300, 300)}),
]


@pytest.mark.parametrize(("in_bits", "code_bits", "steps", "changes"), SMALL)
def test_every_input(in_bits: int, code_bits: int, steps: int, changes: dict[str, Any]) -> None:
    spec = unit(in_bits, code_bits, steps, **changes)
    x = np.arange(1 << in_bits)
    assert spec.compute(x).tolist() == [definition(spec, n) for n in x.tolist()]


@given(st.integers(2, 24), st.integers(2, 8), st.integers(1, 2), st.data())
def test_equals_definition(in_bits: int, code_bits: int, steps: int, data: st.DataObject) -> None:
    """Inputs of every length, and the neighbours of every power of two and threshold."""
    low, high = 1 << (in_bits - 1), 1 << in_bits
    mantissas = st.lists(st.integers(low, high), min_size=steps, max_size=steps)
    spec = unit(
        in_bits,
        code_bits,
        steps,
        unity=data.draw(st.integers(0, in_bits - 1)),
        max_level=data.draw(st.integers(0, (1 << code_bits) - 2)),
        thresholds=tuple(sorted(data.draw(mantissas))),
    )
    marks = [mark >> n for mark in (low, *spec.thresholds) for n in range(in_bits)]
    x = [0, *(mark + step for mark in marks for step in (-1, 0, 1) if 0 <= mark + step < high)]
    x += data.draw(st.lists(st.integers(0, in_bits).flatmap(lambda n: st.integers(0, (1 << n) - 1))))
    assert spec.compute(np.array(x)).tolist() == [definition(spec, n) for n in x]


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("unity", [3, 9, 10])
def test_the_code_is_the_nearest_level(steps: int, unity: int) -> None:
    """Every input of 11 bits: the thresholds lie exactly where the logarithm is half a level off."""
    spec = unit(11, 8, steps, unity=unity)
    x = np.arange(1, 1 << 11)
    assert spec.compute(x).tolist() == [max(nearest(spec, n), 0) for n in x.tolist()]


@given(st.integers(2, 24), st.integers(1, 2), st.data())
def test_the_code_is_the_nearest_level_at_any_width(in_bits: int, steps: int, data: st.DataObject) -> None:
    spec = unit(in_bits, 8, steps)
    for mark in spec.thresholds:
        for x in {(mark - 1) >> data.draw(st.integers(0, in_bits - 1)), min(mark, (1 << in_bits) - 1)} - {0}:
            assert spec.compute(np.array([x])).item() == max(nearest(spec, x), 0)


@pytest.mark.parametrize("in_bits", range(2, 25))
def test_thresholds_are_the_least_mantissas_above_the_half_steps(in_bits: int) -> None:
    for steps, quarters in ((1, (2,)), (2, (1, 3))):
        for threshold, q in zip(thresholds(in_bits, steps), quarters, strict=True):
            assert (threshold - 1) ** 4 < 2 ** (4 * (in_bits - 1) + q) <= threshold**4


FAULTS = [
    ("out[n] = zero if", "out[n] = 0 if"),
    ("place[n] += down", "place[n] += 2 * down"),
    ("(16, 8, 4, 2, 1)", "(16, 8, 4, 2)"),
    ("steps * (unity - place[n])", "steps * (unity - place[n]) + 1"),
    ("steps * (unity - place[n])", "unity - place[n] + steps"),
    (">= threshold", "> threshold"),
    (">= threshold", ">= threshold - 8"),  # one less is no mantissa of the octaves below unity
    (">= threshold", ">= threshold + 1"),
    ("level[n] -= ", "level[n] -= 2 * "),
    ("in thresholds", "in thresholds[1:]"),
    ("max(level[n], 0)", "level[n]"),
    ("max(level[n], 0)", "abs(level[n])"),
]
AT_THE_END = [
    ("> max_level", "> max_level - 1"),
    ("> max_level", "> max_level + 2"),  # one more can be the top code
]
"""Faults that need levels beyond the last one."""


@pytest.mark.parametrize(
    ("spec", "old", "new"),
    [
        *((spec, *fault) for spec in SWEEP for fault in FAULTS),
        *((s, *fault) for s in SWEEP if s.max_level < s.steps_per_octave * s.unity for fault in AT_THE_END),
    ],
    ids=str,
)
def test_planted_faults_are_seen_in_the_stimuli(mutate: Any, spec: Log2Encoder, old: str, new: str) -> None:
    x = stimuli(spec, np.random.default_rng(2))["x"].codes[:, 0]
    expected = [definition(spec, n) for n in x.tolist()]
    assert spec.compute(x).tolist() == expected
    mutate(log2_encoder, "_encode", old, new)
    assert spec.compute(x).tolist() != expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_bits": 1}, r"in_bits must be in \[2, 24\], not 1"),
        ({"in_bits": 25}, r"in_bits must be in \[2, 24\], not 25"),
        ({"code_bits": 1}, r"code_bits must be in \[2, 8\], not 1"),
        ({"code_bits": 9}, r"code_bits must be in \[2, 8\], not 9"),
        ({"steps_per_octave": 0}, r"steps_per_octave must be in \[1, 2\], not 0"),
        ({"steps_per_octave": 3}, r"steps_per_octave must be in \[1, 2\], not 3"),
        ({"unity": -1}, r"unity must be in \[0, 7\], not -1"),
        ({"unity": 8}, r"unity must be in \[0, 7\], not 8"),
        ({"max_level": -1}, r"max_level must be in \[0, 14\], not -1"),
        ({"max_level": 15}, r"max_level must be in \[0, 14\], not 15"),
        ({"thresholds": (182,)}, "thresholds must be 2, not 1"),
        ({"thresholds": (127, 200)}, r"thresholds must be in \[128, 256\], but one is 127"),
        ({"thresholds": (153, 257)}, r"thresholds must be in \[128, 256\], but one is 257"),
        ({"thresholds": (216, 153)}, "thresholds must be ascending, but 153 follows 216"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    good = {"in_bits": 8, "code_bits": 4, "steps_per_octave": 2, "unity": 7, "max_level": 14}
    Log2Encoder(**good, thresholds=(128, 256))
    with pytest.raises(ValueError, match=message):
        Log2Encoder(**{**good, "thresholds": (153, 216)} | changes)


def test_input_outside_its_format_raises() -> None:
    for x in (-1, 256):
        with pytest.raises(InvariantError, match=rf"operand x spans \[{x}, {x}\], outside u8"):
            unit(8, 4, 1).compute(np.array([x]))

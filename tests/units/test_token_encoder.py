"""token_encoder: hand-worked rows, the definition in Python integers, planted faults, refusals, streams and cycles."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from reports.units.token_encoder import SWEEP, label, stimuli
from sim.unit import Beats, Codes
from sim.units import token_encoder
from sim.units.token_encoder import TokenEncoder

CONSTANTS = ("multiplier", "offset", "shift", "zero_code")


def unit(**changes: Any) -> TokenEncoder:
    parameters: dict[str, Any] = {
        "in_bits": 8, "in_zero_point": 100, "threshold": 20, "capacity": 2, "code_bits": 4,
        "offset_format": Integer(bits=40, signed=True),
    }  # fmt: skip
    return TokenEncoder(**parameters | changes)


def constants(*rows: tuple[int, int, int, int]) -> dict[str, Codes]:
    return dict(zip(CONSTANTS, np.array(rows, np.int64).T, strict=True))


def definition(spec: TokenEncoder, x: list[int], constants: list[int]) -> list[int]:
    """docs/datapath.md, token_encoder, for one row."""
    multiplier, offset, shift, zero_code = constants
    codes, outliers = [], 0
    for code in x:
        d = code - spec.in_zero_point
        if (d > spec.threshold or d < -spec.threshold) and outliers < spec.capacity:
            outliers += 1
            codes.append(zero_code)
        else:
            scaled = (d * multiplier + offset) >> shift
            top = 2**spec.code_bits - 1
            codes.append(0 if scaled < 0 else top if scaled > top else scaled)
    return codes


def defined(spec: TokenEncoder, x: Codes, given: dict[str, Codes]) -> list[list[int]]:
    rows = zip(x.tolist(), *(given[name].tolist() for name in CONSTANTS), strict=True)
    return [definition(spec, row, list(of_row)) for row, *of_row in rows]


def split(beats: dict[str, Beats]) -> list[tuple[list[int], list[int]]]:
    """Each row of x and its constants."""
    x = np.split(beats["x"].codes[:, 0], np.flatnonzero(beats["x"].last)[:-1] + 1)
    return [(row.tolist(), [int(beats[name].codes[n, 0]) for name in CONSTANTS]) for n, row in enumerate(x)]


def test_hand_worked() -> None:
    # A quarter of a code per value, zero point 8: offset 8 · 4 + 2 = 34, shift 2. d = 20 is not above the threshold:
    # (20 + 34) >> 2 = 13; −20: 14 >> 2 = 3; 21 and −21 are the two outliers: 8. The list is full, so that 150
    # saturates, 184 >> 2 = 46, at 15, and −100, −66 >> 2 = −17, at 0. 2: 36 >> 2 = 9, a tie, up; 1: 35 >> 2 = 8.
    d = np.array([[20, -20, 21, -21, 150, -100, 2, 1]])
    codes = unit().compute(x=d + 100, **constants((1, 34, 2, 8)))
    assert codes.tolist() == [[13, 3, 8, 8, 15, 0, 9, 8]]


def test_each_row_has_constants_and_a_count_of_its_own() -> None:
    """Rows 0 and 1 of both images; the last value of a row is a third outlier only where it had two before."""
    d = np.array([[[21, 21, 21], [0, 21, 21]], [[21, 0, 21], [21, 21, 40]]])
    codes = unit().compute(x=d + 100, **constants((1, 0, 1, 5), (1, 2, 2, 9)))
    assert codes.tolist() == [[[5, 5, 10], [0, 9, 9]], [[5, 0, 5], [9, 9, 10]]]


@given(
    st.integers(2, 16), st.data(), st.integers(1, 64), st.integers(2, 8), st.integers(2, 62), st.integers(0, 2**32)
)  # fmt: skip
def test_equals_definition(
    in_bits: int, data: st.DataObject, capacity: int, code_bits: int, offset_bits: int, seed: int
) -> None:
    codes = st.integers(0, 2**in_bits - 1)
    spec = unit(in_bits=in_bits, in_zero_point=data.draw(codes), threshold=data.draw(codes), capacity=capacity,
                code_bits=code_bits, offset_format=Integer(bits=offset_bits, signed=True))  # fmt: skip
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 1 << in_bits, (3, int(rng.integers(1, 100))))
    x[0] = np.clip(
        spec.in_zero_point + spec.threshold + rng.integers(-1, 3, x.shape[1]), 0, (1 << in_bits) - 1
    )
    offsets = spec.offset_format
    given = {
        "multiplier": rng.integers(1, 1 << 17, 3),
        "offset": rng.integers(offsets.min_code, offsets.max_code, 3, endpoint=True)
        >> int(rng.integers(0, 30)),
        "shift": rng.integers(1, 63, 3),
        "zero_code": rng.integers(0, 1 << code_bits, 3),
    }
    assert spec.compute(x=x, **given).tolist() == defined(spec, x, given)


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_every_code_around_the_threshold(spec: TokenEncoder) -> None:
    """One value per row, so that each is the row's first: an outlier exactly when it is beyond the threshold."""
    d = np.arange(1 << spec.in_bits) - spec.in_zero_point
    given = {name: np.full(d.size, code) for name, code in zip(CONSTANTS, (1, 0, 62, 3), strict=True)}
    codes = spec.compute(x=(d + spec.in_zero_point)[:, None], **given)[:, 0]
    # With a shift of 62 every other code is 0, as negative ones saturate.
    assert np.array_equal(codes == 3, np.abs(d) > spec.threshold)
    assert set(codes.tolist()) == {0, 3}


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_stimuli_reach_what_they_promise(spec: TokenEncoder) -> None:
    beats = stimuli(spec, np.random.default_rng(3))
    rows = split(beats)
    far = [[abs(x - spec.in_zero_point) > spec.threshold for x in row] for row, _ in rows]
    assert {0, spec.capacity, spec.capacity + 1} <= {sum(row) for row in far}
    assert any(row[0] and row[-1] and sum(row) == 2 for row in far)
    d = set((beats["x"].codes[:, 0] - spec.in_zero_point).tolist())
    assert {spec.threshold, spec.threshold + 1} <= d
    assert {-spec.threshold, -spec.threshold - 1} <= d or spec.threshold > spec.in_zero_point
    codes = set(spec.run(**beats)["o"].codes[:, 0].tolist())
    assert {0, spec.code_format.max_code} <= codes
    assert 4 * len(codes) > 3 << spec.code_bits
    # Sums where a code just begins, and one below, for shifts that tell them apart.
    sums = [((x - spec.in_zero_point) * m + b, s) for row, (m, b, s, _) in rows for x in row if s > 1]
    assert any(total % (1 << shift) == 0 for total, shift in sums)
    assert any((total + 1) % (1 << shift) == 0 for total, shift in sums)


@pytest.mark.parametrize("spec", SWEEP, ids=label)
@pytest.mark.parametrize(
    ("parameter", "step"), [("threshold", -1), ("threshold", 1), ("capacity", 1), ("in_zero_point", 1)]
)
def test_stimuli_show_every_wrong_parameter(spec: TokenEncoder, parameter: str, step: int) -> None:
    beats = stimuli(spec, np.random.default_rng(3))
    changed: dict[str, Any] = {parameter: getattr(spec, parameter) + step}
    assert not np.array_equal(replace(spec, **changed).run(**beats)["o"].codes, spec.run(**beats)["o"].codes)


def every_value() -> tuple[TokenEncoder, Codes, dict[str, Codes]]:
    """Two images of two rows, each every code in an order of its own: outliers of both signs, more than fit; ties."""
    spec, rng = unit(code_bits=8, capacity=60), np.random.default_rng(5)
    x = rng.permuted(np.tile(np.arange(256), (2, 2, 1)), axis=-1)
    return spec, x, constants((5, (120 << 1) + 1, 1, 120), (90, (60 << 6) + 32, 6, 61))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("> threshold", ">= threshold"),
        ("> threshold", "> threshold + 1"),
        ("abs(x[row, c] - zero_point)", "x[row, c] - zero_point"),
        ("abs(x[row, c] - zero_point)", "zero_point - x[row, c]"),
        ("found < capacity", "found <= capacity"),
        ("found < capacity", "found < capacity - 1"),
        ("found < capacity", "True"),
        ("found = 0", "found = 0 if row == 0 else found"),
        ("found += 1", "found += 2"),
        ("- zero_point) >", "- zero_point - 1) >"),
        ("- zero_point) *", "- zero_point - 1) *"),
        ("row % multiplier.size", "row // multiplier.size"),
        ("* multiplier[token]", "* (multiplier[token] ^ 1)"),
        ("+ offset[token]", "+ offset[token] - 1"),
        (">> shift[token]", ">> (shift[token] - 1)"),
        (">> shift[token]", ">> (shift[token] + 1)"),
        ("0), high)", "0), high - 1)"),
        ("0), high)", "1), high)"),
        ("zero_code[token]", "zero_code[0]"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, old: str, new: str) -> None:
    spec, x, given = every_value()
    mutate(token_encoder, "_encode", old, new)
    assert spec.compute(x=x, **given).tolist() != [defined(spec, rows, given) for rows in x]


def test_an_unchanged_kernel_as_python_agrees(mutate: Any) -> None:
    """What the planted faults run in is itself right."""
    spec, x, given = every_value()
    mutate(token_encoder, "_encode", "found = 0", "found = 0")
    assert spec.compute(x=x, **given).tolist() == [defined(spec, rows, given) for rows in x]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": np.array([[256]])}, r"operand x spans \[256, 256\], outside u8"),
        ({"multiplier": np.array([0])}, r"multiplier spans \[0, 0\], outside \[1, 131071\]"),
        ({"multiplier": np.array([1 << 17])}, r"multiplier spans .*outside s18"),
        ({"offset": np.array([1 << 39])}, "offset spans .*outside s40"),
        ({"shift": np.array([0])}, r"shift spans \[0, 0\], outside \[1, 62\]"),
        ({"shift": np.array([63])}, r"shift spans \[63, 63\], outside \[1, 62\]"),
        ({"zero_code": np.array([16])}, r"zero_code spans \[16, 16\], outside u4"),
        ({"offset": np.array([1, 1])}, r"offset has shape \(2,\), not \(1,\)"),
    ],
)
def test_operands_outside_their_range_raise(changed: dict[str, Codes], message: str) -> None:
    operands = {"x": np.array([[105]]), **constants((1, 1, 1, 0))}
    assert unit().compute(**operands).tolist() == [[3]]
    with pytest.raises(InvariantError, match=message):
        unit().compute(**operands | changed)


def test_widest_operands_do_not_wrap() -> None:
    """(2^16 − 1) · (2^17 − 1) + 2^61 − 1 stays below 2^62; shifted by 54 it is 128, exactly."""
    spec = unit(
        in_bits=16, in_zero_point=0, threshold=65535, code_bits=8, offset_format=Integer(bits=62, signed=True)
    )
    assert spec.sum_bits == 63
    operands = constants(((1 << 17) - 1, (1 << 61) - 1, 54, 0))
    assert spec.compute(x=np.array([[65535]]), **operands).item() == 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_bits": 1}, r"in_bits must be in \[2, 16\], not 1"),
        ({"in_bits": 17}, r"in_bits must be in \[2, 16\], not 17"),
        ({"in_zero_point": 256}, r"in_zero_point must be in \[0, 255\], not 256"),
        ({"in_zero_point": -1}, r"in_zero_point must be in \[0, 255\], not -1"),
        ({"threshold": -1}, r"threshold must be in \[0, 255\], not -1"),
        ({"capacity": 0}, r"capacity must be in \[1, 64\], not 0"),
        ({"capacity": 65}, r"capacity must be in \[1, 64\], not 65"),
        ({"code_bits": 1}, r"code_bits must be in \[2, 8\], not 1"),
        ({"code_bits": 9}, r"code_bits must be in \[2, 8\], not 9"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit(**changes)


@pytest.mark.parametrize(
    ("in_bits", "offset", "expected"),
    [
        # d has a bit more than x, a multiplier 18 in all; an offset without a sign gets one; a carry.
        (8, Integer(bits=20, signed=True), 28),
        (8, Integer(bits=40, signed=True), 41),
        (8, Integer(bits=40, signed=False), 42),
        (16, Integer(bits=62, signed=False), 64),
    ],
)
def test_the_sums_width(in_bits: int, offset: Integer, expected: int) -> None:
    assert unit(in_bits=in_bits, offset_format=offset).sum_bits == expected


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_streams_agree_with_the_definition(spec: TokenEncoder) -> None:
    beats = stimuli(spec, np.random.default_rng(1))
    out, rows = spec.run(**beats)["o"], split(beats)
    assert out.codes[:, 0].tolist() == [code for row in rows for code in definition(spec, *row)]
    assert np.array_equal(out.last, beats["x"].last)
    timing = {name: cycles.tolist() for name, cycles in spec.timing(**beats).items()}
    starts = np.cumsum([0, *(len(row) for row, _ in rows[:-1])]).tolist()
    assert timing["x"] == list(range(out.last.size))
    assert all(timing[name] == starts for name in CONSTANTS)
    assert timing["o"] == [n + 4 for n in timing["x"]]
    assert spec.cycles(3, 24) == 3 * 24 + 4
    assert spec.cycles(1, out.last.size) == timing["o"][-1] + 1

"""requantizer: hand-worked codes, every accumulator, every step, ties, overflow checks, streams and cycles."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from reports.units import requantizer as report
from sim.unit import Beats, Codes
from sim.units import requantizer
from sim.units.requantizer import Requantizer


def unit(**changes: Any) -> Requantizer:
    parameters: dict[str, Any] = {
        "acc_format": Integer(bits=16, signed=True),
        "offset_format": Integer(bits=40, signed=True),
        "out_bits": 8,
        "out_signed": False,
    }
    return Requantizer(**parameters | changes)


def constants(multiplier: Any, offset: Any, shift: Any) -> dict[str, Codes]:
    named = {"multiplier": multiplier, "offset": offset, "shift": shift}
    return {name: np.atleast_1d(np.asarray(constant, np.int64)) for name, constant in named.items()}


def definition(spec: Requantizer, acc: int, multiplier: int, offset: int, shift: int) -> int:
    """docs/datapath.md, requantizer, for one code."""
    low, high = (-(1 << (spec.out_bits - 1)), (1 << (spec.out_bits - 1)) - 1) if spec.out_signed else (0, (1 << spec.out_bits) - 1)  # fmt: skip # noqa: E501
    code = (acc * multiplier + offset) >> shift
    return low if code < low else high if code > high else code


def test_hand_worked() -> None:
    # 3/4 with zero point 10: offset = 10 · 4 + 2 = 42, shift 2.
    # acc 3: (9 + 42) >> 2 = 51 / 4 = 12 (2.25 rounds to 2); 2: 48 / 4 = 12 (1.5, a tie, up);
    # −2: 36 / 4 = 9 (−1.5, a tie, up to −1); −100: −258 / 4 saturates at 0; 1000: 3042 / 4 saturates at 255.
    acc = np.array([[3, 2, -2, -100, 1000]])
    assert unit().compute(acc=acc, **constants(3, 42, 2)).tolist() == [[12, 12, 9, 0, 255]]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("multiplier", "offset", "shift"), [
    (1, 1 << 7, 8), (131071, (128 << 24) + (1 << 23), 24), (-131072, 5, 17), (77, -(1 << 30), 1), (3, 1 << 38, 62),
])  # fmt: skip
def test_every_accumulator(signed: bool, multiplier: int, offset: int, shift: int) -> None:
    spec = unit(out_signed=signed)
    acc = np.arange(-(1 << 15), 1 << 15)
    codes = spec.compute(acc=acc[:, None], **constants(multiplier, offset, shift))
    assert codes[:, 0].tolist() == [definition(spec, n, multiplier, offset, shift) for n in acc.tolist()]


formats = st.builds(Integer, bits=st.integers(1, 44), signed=st.booleans())


@given(
    formats, st.integers(1, 61), st.integers(1, 32), st.booleans(), st.integers(1, 6), st.integers(0, 2**32)
)
def test_equals_definition(
    acc_format: Integer, offset_bits: int, out_bits: int, out_signed: bool, channels: int, seed: int
) -> None:
    """Whole ranges, and both sides of every place where the code could change, per channel."""
    spec = unit(acc_format=acc_format, offset_format=Integer(bits=offset_bits, signed=True), out_bits=out_bits,
                out_signed=out_signed)  # fmt: skip
    rng = np.random.default_rng(seed)
    multiplier = rng.integers(-(1 << 17), 1 << 17, channels)
    offset = rng.integers(spec.offset_format.min_code, spec.offset_format.max_code + 1, channels)
    shift = rng.integers(1, 63, channels)
    acc = rng.integers(acc_format.min_code, acc_format.max_code + 1, (12, channels))
    acc[0], acc[1] = acc_format.min_code, acc_format.max_code
    for n, (m, b, s) in enumerate(zip(multiplier.tolist(), offset.tolist(), shift.tolist(), strict=True)):
        for row in range(2, 10):
            step = ((int(rng.integers(-300, 300)) << s) - b) // (m or 1)
            acc[row, n] = min(max(step + row % 2, acc_format.min_code), acc_format.max_code)
    codes = spec.compute(acc=acc, **constants(multiplier, offset, shift))
    expected = [
        [
            definition(spec, x, *c)
            for x, *c in zip(row, multiplier.tolist(), offset.tolist(), shift.tolist(), strict=True)
        ]
        for row in acc.tolist()
    ]
    assert codes.tolist() == expected


def test_one_constant_serves_all_channels() -> None:
    acc = np.arange(-60, 60).reshape(2, 3, 20)
    spread = constants(*(np.full(20, n) for n in (900, 1 << 12, 10)))
    assert np.array_equal(
        unit().compute(acc=acc, **constants(900, 1 << 12, 10)), unit().compute(acc=acc, **spread)
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+ offset[n]", "+ offset[n] - 1"),
        ("+ offset[n]", ""),
        (">> shift[n]", ">> (shift[n] - 1)"),
        (">> shift[n]", ">> (shift[n] + 1)"),
        ("low), high)", "low), high - 1)"),
        ("low), high)", "low + 1), high)"),
        ("multiplier[n]", "multiplier[n - 1]"),
        ("multiplier[n]", "(multiplier[n] ^ 1)"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, old: str, new: str) -> None:
    """Every accumulator of 12 bits, on two channels: uniform random ones of 24 bits seldom meet a tie."""
    spec = unit(acc_format=Integer(bits=12, signed=True))
    multiplier, offset, shift = [90, 91], [(20 << 9) + 256, (7 << 8) + 128], [9, 8]
    acc = np.repeat(np.arange(-(1 << 11), 1 << 11)[:, None], 2, axis=1)
    mutate(requantizer, "_requantize", old, new)
    codes = spec.compute(acc=acc, **constants(multiplier, offset, shift))
    expected = [
        [definition(spec, x, *c) for x, *c in zip(row, multiplier, offset, shift, strict=True)]
        for row in acc.tolist()
    ]
    assert codes.tolist() != expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"acc": np.array([1 << 15])}, r"operand acc spans \[32768, 32768\], outside s16"),
        ({"multiplier": np.array([1 << 17])}, "multiplier spans .131072, 131072., outside s18"),
        ({"offset": np.array([1 << 39])}, "offset spans .*outside s40"),
        ({"shift": np.array([0])}, r"shift spans \[0, 0\], outside \[1, 62\]"),
        ({"shift": np.array([63])}, r"shift spans \[63, 63\], outside \[1, 62\]"),
        ({"offset": np.array([1, 1])}, r"offset has shape \(2,\), neither \(1,\) nor \(1,\)"),
    ],
)
def test_operands_outside_their_range_raise(changed: dict[str, Codes], message: str) -> None:
    operands = {"acc": np.array([5]), **constants(1, 1, 1)}
    assert unit().compute(**operands).tolist() == [3]
    with pytest.raises(InvariantError, match=message):
        unit().compute(**operands | changed)


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"out_bits must be in \[1, 32\], not 33"):
        unit(out_bits=33)
    unit(acc_format=Integer(bits=45, signed=True))
    with pytest.raises(ValueError, match="takes 65 > 64 bits"):
        unit(acc_format=Integer(bits=46, signed=True))


@pytest.mark.parametrize(
    ("acc", "offset", "expected"),
    [
        # A sign bit for what has none; the longer of product and offset; a carry.
        (Integer(bits=45, signed=True), Integer(bits=40, signed=True), 64),
        (Integer(bits=44, signed=False), Integer(bits=40, signed=True), 64),
        (Integer(bits=8, signed=True), Integer(bits=62, signed=True), 63),
        (Integer(bits=8, signed=True), Integer(bits=62, signed=False), 64),
    ],
)
def test_the_sums_width(acc: Integer, offset: Integer, expected: int) -> None:
    assert unit(acc_format=acc, offset_format=offset).sum_bits == expected


def test_constants_are_prepared_and_accumulators_are_not() -> None:
    spec, acc = unit(), np.array([5])
    assert spec.prepare("acc", acc) is acc
    for name, constant in constants(1, 1, 1).items():
        assert isinstance(spec.prepare(name, constant), requantizer.Constant)


def test_no_channels_give_no_codes() -> None:
    none = np.zeros((3, 0), np.int64)
    assert unit().compute(acc=none, **dict.fromkeys(constants(1, 1, 1), none[0])).shape == (3, 0)


def test_widest_operands_do_not_wrap() -> None:
    """−2^44 · −2^17 + 2^39 − 1 stays below 2^62; shifted by 40 it is 2^21, exactly."""
    spec = unit(acc_format=Integer(bits=45, signed=True), out_bits=32)
    operands = constants(-(1 << 17), (1 << 39) - 1, 40)
    assert spec.compute(acc=np.array([-(1 << 44)]), **operands).item() == 1 << 21


def test_streams_agree_with_whole_tensors() -> None:
    spec, rng = unit(), np.random.default_rng(1)
    operands = {
        "acc": rng.integers(-(1 << 15), 1 << 15, 7),
        "multiplier": rng.integers(-(1 << 17), 1 << 17, 7),
        "offset": rng.integers(-(1 << 30), 1 << 30, 7),
        "shift": rng.integers(10, 30, 7),
    }
    streams = {name: Beats(codes[:, None], np.ones(7, np.bool_)) for name, codes in operands.items()}
    expected = [
        definition(spec, *row) for row in zip(*(codes.tolist() for codes in operands.values()), strict=True)
    ]
    assert spec.run(**streams)["o"].codes[:, 0].tolist() == expected
    timing = spec.timing(**streams)
    assert set(timing) == {*spec.inputs, *spec.outputs}
    assert all(timing[name].tolist() == list(range(7)) for name in spec.inputs)
    assert timing["o"].tolist() == [n + spec.latency for n in range(7)]
    assert spec.cycles(7) == 7 + spec.latency


@pytest.mark.parametrize("offset_bits", [1, 12, 42])
@pytest.mark.parametrize("acc_bits", [2, 15, 24])
def test_stimuli_suit_operands_of_any_width(offset_bits: int, acc_bits: int) -> None:
    spec = Requantizer(
        acc_format=Integer(bits=acc_bits, signed=True), offset_format=Integer(bits=offset_bits, signed=True),
        out_bits=8, out_signed=False,
    )  # fmt: skip
    for inputs in (
        report.stimuli(spec, np.random.default_rng(0)),
        report.volume(spec, np.random.default_rng(0), 400),
    ):
        assert len(np.unique(spec.run(**inputs)["o"].codes)) >= (100 if offset_bits + acc_bits > 60 else 2)

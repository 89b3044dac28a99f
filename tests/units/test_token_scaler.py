"""token_scaler: hand-worked totals, the definition over formats, ties, faults, overflow, streams and cycles."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from reports.units.token_scaler import SWEEP, stimuli
from sim.unit import Beats, Codes
from sim.units import token_scaler
from sim.units.token_scaler import TokenScaler


def unit(**changes: Any) -> TokenScaler:
    parameters: dict[str, Any] = {
        "acc_format": Integer(bits=17, signed=True),
        "outlier_format": Integer(bits=29, signed=True),
        "column_sum_format": Integer(bits=13, signed=True),
        "outlier_shift": 2,
        "shift": 3,
        "out_bits": 44,
    }
    return TokenScaler(**parameters | changes)


def definition(
    spec: TokenScaler, acc: int, outlier: int, multiplier: int, zero_point: int, column_sum: int
) -> int:
    """docs/datapath.md, token_scaler, for one total."""
    total = (acc - zero_point * column_sum) * multiplier + outlier * 2**spec.outlier_shift
    return (total + 2 ** (spec.shift - 1)) // 2**spec.shift if spec.shift else total


def expected_of(spec: TokenScaler, operands: Mapping[str, Codes]) -> list[Any]:
    """The definition over whole tensors: nested lists of acc's shape."""
    shape = operands["acc"].shape
    rows = (operands[name].reshape(-1, shape[-1]).tolist() for name in ("acc", "outlier"))
    constants = {name: operands[name].tolist() for name in ("multiplier", "zero_point", "column_sum")}
    totals = [
        [
            definition(spec, a, o, constants["multiplier"][t % shape[-2]], constants["zero_point"][t % shape[-2]], s)
            for a, o, s in zip(acc, outlier, constants["column_sum"], strict=True)
        ]
        for t, (acc, outlier) in enumerate(zip(*rows, strict=True))
    ]  # fmt: skip
    nested: list[Any] = np.array(totals, object).reshape(shape).tolist()
    return nested


def drawn(spec: TokenScaler, shape: tuple[int, ...], seed: int) -> dict[str, Codes]:
    """Operands over their whole ranges, every end among them likely."""
    rng = np.random.default_rng(seed)
    shapes = {"acc": shape, "outlier": shape, "column_sum": shape[-1:]}
    operands = {}
    for name, port in spec.inputs.items():
        low, high = port.format.min_code, port.format.max_code
        low = max(low, 1) if name == "multiplier" else low
        wanted = shapes.get(name, shape[-2:-1])
        codes = rng.integers(low, high, wanted, endpoint=True)
        operands[name] = np.where(rng.random(wanted) < 0.3, rng.choice([low, high], wanted), codes)
    return operands


def beats(operands: Mapping[str, Codes]) -> dict[str, Beats]:
    return {name: Beats(codes.reshape(-1, 1), np.ones(codes.size, bool)) for name, codes in operands.items()}


def test_hand_worked() -> None:
    # Two tokens of scale 3 and 5, zero points 10 and 0; column sums 7 and −2; outliers count 4, the result 8.
    # (100 − 70) · 3 + 1 · 4 = 94, 94 / 8 = 11.75 → 12; (0 + 20) · 3 + 0 = 60, 7.5, a tie, up: 8;
    # (1 − 0) · 5 + (−1) · 4 = 1, 0.125 → 0; (−12) · 5 + 2 · 4 = −52, −6.5, a tie, up: −6.
    operands = {
        "acc": np.array([[100, 0], [1, -12]]),
        "outlier": np.array([[1, 0], [-1, 2]]),
        "multiplier": np.array([3, 5]),
        "zero_point": np.array([10, 0]),
        "column_sum": np.array([7, -2]),
    }
    assert unit().compute(**operands).tolist() == [[12, 8], [0, -6]]
    assert unit(shift=0).compute(**operands).tolist() == [[94, 60], [1, -52]]
    assert unit(outlier_shift=0, shift=1).compute(**operands).tolist() == [[46, 30], [2, -29]]


formats = st.builds(Integer, bits=st.integers(1, 24), signed=st.booleans())


@given(
    formats, st.builds(Integer, bits=st.integers(1, 40), signed=st.booleans()), formats,
    st.integers(0, 20), st.integers(0, 50), st.integers(0, 2**32),
)  # fmt: skip
def test_equals_definition(
    acc: Integer, outlier: Integer, column_sum: Integer, outlier_shift: int, shift: int, seed: int
) -> None:
    """Whole ranges of signed and unsigned operands, with a batch."""
    spec = unit(acc_format=acc, outlier_format=outlier, column_sum_format=column_sum,
                outlier_shift=outlier_shift, shift=shift, out_bits=62)  # fmt: skip
    operands = drawn(spec, (2, 3, 4), seed)
    expected = expected_of(spec, operands)
    assume(max(abs(n) for n in np.array(expected, object).ravel()) < 1 << 61)
    assert spec.compute(**operands).tolist() == expected


@pytest.mark.parametrize("shift", [1, 2, 5, 9])
@pytest.mark.parametrize("multiplier", [1, 3, 131071])
def test_every_remainder_of_the_shift(shift: int, multiplier: int) -> None:
    """All accumulators around 0 of both signs: every bit pattern shifted out, ties among them."""
    spec = unit(shift=shift, outlier_shift=1)
    acc = np.arange(-(1 << 10), 1 << 10)[None]
    operands = {
        "acc": acc,
        "outlier": np.resize([0, 1, -7], acc.shape),
        "multiplier": np.array([multiplier]),
        "zero_point": np.array([3]),
        "column_sum": np.resize([0, 1, -1, 5], acc.size),
    }
    assert spec.compute(**operands).tolist() == expected_of(spec, operands)


def test_constants_belong_to_their_axis_at_any_batch_and_memory_order() -> None:
    spec = unit(shift=0, outlier_shift=0)
    operands = drawn(spec, (4, 3, 5), 5)
    operands["multiplier"] = np.array([1, 10, 100])
    expected = expected_of(spec, operands)
    assert spec.compute(**operands).tolist() == expected
    strided = operands | {"acc": np.asfortranarray(operands["acc"])}
    assert spec.compute(**strided).tolist() == expected
    alone = operands | {"acc": operands["acc"][2], "outlier": operands["outlier"][2]}
    assert spec.compute(**alone).tolist() == expected[2]
    grouped = {name: operands[name].reshape(2, 2, 3, 5) for name in ("acc", "outlier")}
    assert spec.compute(**operands | grouped).reshape(4, 3, 5).tolist() == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sums[n]", "sums[n - 1]"),
        ("zero_point[token]", "zero_point[token - 1]"),
        ("multiplier[token]", "multiplier[token - 1]"),
        ("row % multiplier.size", "row % (multiplier.size - 1)"),
        ("row % multiplier.size", "row // (rows // multiplier.size)"),
        ("acc[row, n]", "acc[row - 1, n]"),
        ("outlier[row, n]", "outlier[row, n - 1]"),
    ],
)
def test_planted_faults_of_an_index_are_seen(mutate: Any, old: str, new: str) -> None:
    spec = unit(out_bits=62)
    operands = drawn(spec, (2, 3, 4), 6)
    expected = expected_of(spec, operands)
    assert spec.compute(**operands).tolist() == expected
    mutate(token_scaler, "_scale", old, new)
    assert spec.compute(**operands).tolist() != expected


EVERYWHERE = [
    ("acc[row, n] - zero_point", "acc[row, n] + zero_point"),
    ("multiplier[token]", "(multiplier[token] ^ 1)"),
    ("row % column_sum.shape[0]", "0"),
    ("<< outlier_shift", "<< (outlier_shift + 1)"),
    ("+ share", ""),
    ("+ half", "+ half + 1"),
    (">> shift", ">> (shift + 1)"),
]
ROUNDING = [("+ half", ""), ("+ half", "+ half - 1")]
"""Faults that need something to be shifted out."""
EARLY = ("+ share + half) >> shift", "+ half >> shift) + (share >> shift)")
"""A fault that needs bits of the outliers' share to be shifted out."""


@pytest.mark.parametrize(
    ("spec", "old", "new"),
    [
        *((spec, *fault) for spec in SWEEP for fault in EVERYWHERE),
        *((spec, *fault) for spec in SWEEP if spec.shift for fault in ROUNDING),
        *((spec, *EARLY) for spec in SWEEP if spec.shift > spec.outlier_shift),
    ],
    ids=str,
)
def test_planted_faults_are_seen_in_the_stimuli(mutate: Any, spec: TokenScaler, old: str, new: str) -> None:
    """As streams, where every beat has constants of its own."""
    streams = stimuli(spec, np.random.default_rng(2))
    wide = replace(spec, out_bits=62)  # a fault is to be seen in the bits, not by leaving the range
    expected = spec.run(**streams)["o"].codes[:, 0].tolist()
    rows = zip(*(streams[name].codes[:, 0].tolist() for name in spec.inputs), strict=True)
    assert expected == [definition(spec, *row) for row in rows]
    mutate(token_scaler, "_scale", old, new)
    assert wide.run(**streams)["o"].codes[:, 0].tolist() != expected


ONE = {
    "acc": np.array([[5]]),
    "outlier": np.array([[1]]),
    "multiplier": np.array([4]),
    "zero_point": np.array([2]),
    "column_sum": np.array([3]),
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"acc": np.array([[1 << 16]])}, r"token_scaler acc spans \[65536, 65536\], outside s17"),
        ({"outlier": np.array([[-(1 << 28) - 1]])}, "token_scaler outlier spans .*, outside s29"),
        ({"multiplier": np.array([1 << 17])}, r"token_scaler multiplier spans \[131072, 131072\], outside u17"),
        ({"multiplier": np.array([0])}, "token_scaler multiplier must be positive, but one is 0"),
        ({"multiplier": np.array([-1])}, "token_scaler multiplier spans .*, outside u17"),
        ({"zero_point": np.array([1 << 16])}, "token_scaler zero_point spans .*, outside u16"),
        ({"zero_point": np.array([-1])}, "token_scaler zero_point spans .*, outside u16"),
        ({"column_sum": np.array([1 << 12])}, "token_scaler column_sum spans .*, outside s13"),
        ({"outlier": np.array([[1, 1]])}, r"token_scaler outlier has shape \(1, 2\), not \(1, 1\)"),
        ({"multiplier": np.array([4, 4])}, r"token_scaler multiplier has shape \(2,\), not \(1,\)"),
        ({"zero_point": np.array([[2]])}, r"token_scaler zero_point has shape \(1, 1\), not \(1,\)"),
        ({"column_sum": np.array([3, 3])}, r"token_scaler column_sum has shape \(2,\), not \(1,\)"),
    ],
)  # fmt: skip
def test_operands_outside_their_range_raise(changed: dict[str, Codes], message: str) -> None:
    assert unit().compute(**ONE).tolist() == [[0]]  # (5 − 6) · 4 + 4 = 0
    with pytest.raises(InvariantError, match=message):
        unit().compute(**ONE | changed)


@pytest.mark.parametrize(("acc", "multiplier"), [((1 << 15) + 7, (1 << 16) + 3), (-(1 << 16), (1 << 16) + 3)])
def test_a_total_beyond_32_bits_is_refused_not_wrapped(acc: int, multiplier: int) -> None:
    """A result of 32 bits may be asked for as int32, which then must not be what an unproven total is made in."""
    spec = unit(shift=0, out_bits=32)
    assert spec.compute(**ONE, kind=np.int32).item() == 0
    beyond = ONE | {"acc": np.array([[acc]]), "multiplier": np.array([multiplier])}
    total = definition(spec, *(codes.item() for codes in beyond.values()))
    assert not -(1 << 31) <= total < 1 << 31
    with pytest.raises(InvariantError, match=rf"token_scaler total spans \[{total}, {total}\], outside s32"):
        spec.compute(**beyond, kind=np.int32)
    # Beside one that is 0, so that the ends of the operand lie on one side of 0.
    wider = {name: np.repeat(beyond[name], 2, axis=-1) for name in ("acc", "outlier", "column_sum")}
    wider["acc"][0, 1] = wider["column_sum"][1] = 0
    with pytest.raises(InvariantError, match=r"token_scaler total spans .*, outside s32"):
        spec.compute(**beyond | wider, kind=np.int32)


def test_a_total_outside_the_result_raises() -> None:
    spec = unit(shift=0, out_bits=8)
    top = ONE | {"acc": np.array([[36]])}  # (36 − 6) · 4 + 4 = 124
    assert spec.compute(**top).item() == 124
    with pytest.raises(InvariantError, match=r"token_scaler total spans \[128, 128\], outside s8"):
        spec.compute(**ONE | {"acc": np.array([[37]])})
    assert spec.compute(**ONE | {"acc": np.array([[-27]])}).item() == -128
    with pytest.raises(InvariantError, match=r"token_scaler total spans \[-132, -132\], outside s8"):
        spec.compute(**ONE | {"acc": np.array([[-28]])})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outlier_shift": -1}, r"outlier_shift must be in \[0, 62\], not -1"),
        ({"outlier_shift": 63}, r"outlier_shift must be in \[0, 62\], not 63"),
        ({"shift": -1}, r"shift must be in \[0, 62\], not -1"),
        ({"shift": 63}, r"shift must be in \[0, 62\], not 63"),
        ({"out_bits": 0}, r"out_bits must be in \[1, 62\], not 0"),
        ({"out_bits": 63}, r"out_bits must be in \[1, 62\], not 63"),
        ({"outlier_shift": 35}, r"\(s17 − u16 · s13\) · u17 \+ \(s29 << 35\) takes 65 > 64 bits"),
        ({"acc_format": Integer(bits=48, signed=True)}, "takes 65 > 64 bits"),
        ({"column_sum_format": Integer(bits=32, signed=True)}, "takes 65 > 64 bits"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    unit(outlier_shift=34)
    unit(acc_format=Integer(bits=47, signed=True))
    unit(column_sum_format=Integer(bits=31, signed=True))
    unit(shift=62, out_bits=62)
    with pytest.raises(ValueError, match=message):
        unit(**changes)


def test_widths_hold_the_corners_of_deit_tiny() -> None:
    """The difference reaches 2^28 − 2^12 + 2^16, 30 bits; 17 more scaled, with room for the outliers' 2^34."""
    reach = unit(outlier_shift=6, shift=0).reach
    assert reach == (
        65535 << 12,
        65535 * 4096 + 65536,
        reach.centred * 131071,
        1 << 34,
        reach.product + (1 << 34),
    )
    assert [token_scaler.signed_bits(magnitude) for magnitude in reach] == [29, 30, 47, 36, 47]


def test_widest_operands_do_not_wrap() -> None:
    """The farthest total of a spec that takes all 64 bits, shifted into the result."""
    spec = unit(column_sum_format=Integer(bits=31, signed=True), shift=2, out_bits=62)
    assert token_scaler.signed_bits(spec.reach.total) == 64
    operands = {
        "acc": np.array([[(1 << 16) - 1]]),
        "outlier": np.array([[(1 << 28) - 1]]),
        "multiplier": np.array([(1 << 17) - 1]),
        "zero_point": np.array([(1 << 16) - 1]),
        "column_sum": np.array([-(1 << 30)]),
    }
    total = definition(spec, *(codes.item() for codes in operands.values()))
    assert total > (1 << 61) - (1 << 46)
    assert spec.compute(**operands).item() == total


def test_an_empty_tensor_has_no_totals() -> None:
    operands = {name: np.zeros((*codes.shape[:-1], 0), np.int64) for name, codes in ONE.items()}
    operands |= {name: ONE[name] for name in ("multiplier", "zero_point")}
    assert unit().compute(**operands).shape == (1, 0)


def test_streams_agree_with_whole_tensors() -> None:
    spec = unit(outlier_shift=0, shift=4)
    operands = drawn(spec, (3, 5), 8)
    flat = {name: operands[name] for name in ("acc", "outlier")}
    flat |= {name: np.repeat(operands[name], 5) for name in ("multiplier", "zero_point")}
    flat["column_sum"] = np.tile(operands["column_sum"], 3)
    streams = beats(flat)
    out = spec.run(**streams)["o"]
    assert (
        out.codes.reshape(3, 5).tolist() == spec.compute(**operands).tolist() == expected_of(spec, operands)
    )
    assert out.last.all()
    timing = spec.timing(**streams)
    assert set(timing) == {*spec.inputs, *spec.outputs}
    assert all(timing[name].tolist() == list(range(15)) for name in spec.inputs)
    assert timing["o"].tolist() == [n + spec.latency for n in range(15)]
    assert spec.cycles(15) == timing["o"][-1] + 1

"""two_scale_mac: hand-worked sums, the definition in Python integers, every code, planted faults, refusals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from reports.units.two_scale_mac import SWEEP, stimuli
from sim import products
from sim.units.two_scale_mac import TwoScaleMac


def unit(**changes: Any) -> TwoScaleMac:
    parameters: dict[str, Any] = {
        "code_bits": 4, "shift": 5, "signed_regions": False, "w_format": Integer(bits=5, signed=True),
        "w_zero_point": 0, "acc_bits": 24,
    }  # fmt: skip
    return TwoScaleMac(**parameters | changes)


def definition(spec: TwoScaleMac, a: Any, w: Any, bias: Any) -> list[list[int]]:
    """docs/datapath.md, two_scale_mac, for one matrix product."""
    acc = []
    for row in a:
        acc.append([])
        for column, start in zip(w, bias, strict=True):
            total = start
            for code, operand in zip(row, column, strict=True):
                flag, payload = code >> (spec.code_bits - 1), code & (2 ** (spec.code_bits - 1) - 1)
                product = payload * (operand - spec.w_zero_point)
                if spec.signed_regions:
                    total += product << spec.shift if flag else -product
                else:
                    total += product << (spec.shift if flag else 0)
            acc[-1].append(total)
    return acc


def random_operands(
    spec: TwoScaleMac, rng: np.random.Generator, m: int, n: int, k: int
) -> tuple[Any, Any, Any]:
    a = rng.integers(0, 1 << spec.code_bits, (m, k))
    w = rng.integers(spec.w_format.min_code, spec.w_format.max_code + 1, (n, k))
    return a, w, rng.integers(-999, 1000, n)


def test_hand_worked() -> None:
    # Codes 5 (flag 0, payload 5), 8 + 3 and 8 + 0 on w − 1 = 4, −5, 6, bias 10:
    # two-scale  5·4 + (3·−5 << 5) + 0 + 10 = 20 − 480 + 10;  sign-scale  −5·4 + (3·−5 << 5) + 0 + 10.
    operands = {"a": np.array([[5, 11, 8]]), "w": np.array([[5, -4, 7]]), "bias": np.array([10])}
    assert unit(w_zero_point=1).compute(**operands).tolist() == [[-450]]
    assert unit(w_zero_point=1, signed_regions=True).compute(**operands).tolist() == [[-490]]


@given(st.integers(2, 16), st.integers(0, 24), st.booleans(), st.integers(1, 16), st.booleans(),
       st.integers(-300, 300), st.tuples(*[st.integers(1, 12)] * 3), st.integers(0, 2**32))  # fmt: skip
def test_equals_definition(
    code_bits: int, shift: int, signed_regions: bool, w_bits: int, w_signed: bool, zero_point: int,
    shape: tuple[int, int, int], seed: int,
) -> None:  # fmt: skip
    """Values on both sides of 16 bits and sums on both sides of 32 take both kernels."""
    spec = unit(code_bits=code_bits, shift=shift, signed_regions=signed_regions, w_zero_point=zero_point,
                w_format=Integer(bits=w_bits, signed=w_signed), acc_bits=62)  # fmt: skip
    a, w, bias = random_operands(spec, np.random.default_rng(seed), *shape)
    expected = definition(spec, a.tolist(), w.tolist(), bias.tolist())
    assert spec.compute(a=a, w=w, bias=bias).tolist() == expected
    assert spec.compute(a=a, w=spec.prepare("w", w), bias=bias).tolist() == expected


@pytest.mark.parametrize("spec", SWEEP, ids=str)
def test_every_code_times_every_operand(spec: TwoScaleMac) -> None:
    a = np.arange(1 << spec.code_bits)[:, None]
    w = np.arange(spec.w_format.min_code, spec.w_format.max_code + 1)[:, None]
    spec = replace(spec, acc_bits=48)
    assert spec.compute(a=a, w=w).tolist() == definition(spec, a.tolist(), w.tolist(), [0] * len(w))


@pytest.mark.parametrize("signed_regions", [False, True])
def test_values(signed_regions: bool) -> None:
    spec = unit(code_bits=3, shift=2, signed_regions=signed_regions)
    fine = [0, -1, -2, -3] if signed_regions else [0, 1, 2, 3]
    assert spec.values.tolist() == [*fine, 0, 4, 8, 12]
    assert str(spec.value_format) == "s5"


def test_batched_operands_and_any_memory_order() -> None:
    spec, rng = unit(w_zero_point=-3, signed_regions=True), np.random.default_rng(3)
    a = rng.integers(0, 16, (7, 2, 5)).transpose(1, 2, 0)
    w = rng.integers(-16, 16, (4, 7, 2)).transpose(2, 0, 1)
    acc = spec.compute(a=a, w=w)
    assert acc.shape == (2, 5, 4)
    for b in range(2):
        assert acc[b].tolist() == definition(spec, a[b].tolist(), w[b].tolist(), [0] * 4)


@pytest.mark.parametrize("spec", SWEEP, ids=str)
@pytest.mark.parametrize("change", ["shift", "signed_regions", "w_zero_point"])
def test_stimuli_show_every_wrong_parameter(spec: TwoScaleMac, change: str) -> None:
    """With room to spare in the accumulator, so that the sums show the fault and not its overflow."""
    wrong = {
        "shift": spec.shift + 1,
        "signed_regions": not spec.signed_regions,
        "w_zero_point": spec.w_zero_point + 1,
    }
    beats = stimuli(spec, np.random.default_rng(3))
    right = replace(spec, acc_bits=48)
    fault = replace(right, **{change: wrong[change]})
    assert not np.array_equal(fault.run(**beats)["o"].codes, right.run(**beats)["o"].codes)


@pytest.mark.parametrize("spec", SWEEP, ids=str)
def test_stimuli_reach_the_accumulators_limits(spec: TwoScaleMac) -> None:
    sums = spec.run(**stimuli(spec, np.random.default_rng(3)))["o"].codes
    assert (sums.min(), sums.max()) == (spec.acc_format.min_code, spec.acc_format.max_code)


@pytest.mark.parametrize("signed_regions", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("range(depth)", "range(1, depth)"),
        ("bias[n] + np.int64(total)", "np.int64(total)"),
        ("np.int32(a[group, m, k])", "np.int32(np.int8(a[group, m, k]))"),
    ],
)
def test_planted_faults_in_the_kernel_are_seen(mutate: Any, signed_regions: bool, old: str, new: str) -> None:
    spec = unit(signed_regions=signed_regions)
    a, w, bias = random_operands(spec, np.random.default_rng(4), 9, 3, 6)
    mutate(products, "_narrow_products", old, new)
    try:
        acc = spec.compute(a=a, w=w, bias=bias).tolist()
    except InvariantError:
        acc = None  # a sum beyond the accumulator is seen by the range check first
    assert acc != definition(spec, a.tolist(), w.tolist(), bias.tolist())


def terms(spec: TwoScaleMac, row: Any, column: Any) -> list[int]:
    """Each alone, as a sum of one."""
    return [definition(spec, [[code]], [[w]], [0])[0][0] for code, w in zip(row, column, strict=True)]


@pytest.mark.parametrize(("signed_regions", "wrapped", "saturated"), [(False, -468, 491), (True, -428, 511)])
def test_overflow_worked_by_hand(signed_regions: bool, wrapped: int, saturated: int) -> None:
    """Ten bits, −512 to 511: 3·5 << 5 = 480, and 3·1 << 5 more is 576, so −448 or 511; then 5·−4 or −5·−4."""
    for overflow, expected in (("wrap", wrapped), ("saturate", saturated)):
        spec = unit(signed_regions=signed_regions, acc_bits=10, overflow=overflow)
        operands = {"a": np.array([[11, 11, 5], [11, 5, 5]]), "w": np.array([[5, 1, -4]])}
        assert spec.compute(**operands)[0].tolist() == [expected]
        assert spec.overflows(**operands) == 1


@given(st.integers(2, 8), st.integers(0, 8), st.booleans(), st.integers(1, 30),
       st.sampled_from(["wrap", "saturate"]), st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**32))  # fmt: skip
def test_overflow_equals_definition(
    accumulate: Any, code_bits: int, shift: int, signed_regions: bool, acc_bits: int, overflow: str,
    shape: tuple[int, int, int], seed: int,
) -> None:  # fmt: skip
    spec = unit(code_bits=code_bits, shift=shift, signed_regions=signed_regions, acc_bits=acc_bits,
                overflow=overflow)  # fmt: skip
    a, w, bias = random_operands(spec, np.random.default_rng(seed), *shape)
    found = [
        [
            accumulate(b, terms(spec, row, column), acc_bits, overflow)
            for column, b in zip(w.tolist(), bias.tolist(), strict=True)
        ]
        for row in a.tolist()
    ]
    assert spec.compute(a=a, w=w, bias=bias).tolist() == [[acc for acc, _ in row] for row in found]
    assert spec.overflows(a=a, w=w, bias=bias) == sum(over for row in found for _, over in row)


def test_operands_and_accumulators_outside_their_format_raise() -> None:
    for code in (-1, 16):
        with pytest.raises(InvariantError, match=rf"operand a spans \[{code}, {code}\], outside u4"):
            unit().compute(a=np.array([[code]]), w=np.array([[1]]))
    with pytest.raises(InvariantError, match=r"operand w spans \[16, 16\], outside s5"):
        unit().compute(a=np.array([[1]]), w=np.array([[16]]))
    # 8 + 1 is 1 << 5: 32 · 15 = 480 and 7 · 4 = 28 fit s10, one more 7 does not.
    narrow = unit(acc_bits=10)
    assert narrow.compute(a=np.array([[9, 7]]), w=np.array([[15, 4]])).item() == 508
    with pytest.raises(InvariantError, match=r"accumulator spans \[515, 515\], outside s10"):
        narrow.compute(a=np.array([[9, 7]]), w=np.array([[15, 5]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code_bits": 1}, r"code_bits must be in \[2, 16\], not 1"),
        ({"code_bits": 17}, r"code_bits must be in \[2, 16\], not 17"),
        ({"shift": -1}, r"shift must be in \[0, 24\], not -1"),
        ({"shift": 25}, r"shift must be in \[0, 24\], not 25"),
        ({"acc_bits": 63}, r"acc_bits must be in \[1, 62\], not 63"),
        ({"w_format": Integer(bits=62, signed=True)}, "exceeds 62 bits"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit(**changes)

"""log2_mac, accumulators that are too narrow: refused, wrapped and saturated, even, odd and joined sums."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from sim import accumulation
from sim.accumulation import settled
from sim.units import log2_mac
from sim.units.log2_mac import Log2Mac
from tests.units.log2_mac_sample import random_operands, unit
from tests.units.overflow_faults import one_bit_less, one_bit_more, unlimited


def test_overflow_raises() -> None:
    spec = unit(acc_bits=9, frac_bits=0)
    assert spec.compute(a=np.array([[0]]), w=np.array([[255]])).item() == 255
    with pytest.raises(InvariantError, match=r"log2_mac accumulator spans \[256, 256\], outside s9"):
        spec.compute(a=np.array([[0, 0]]), w=np.array([[255], [1]]))
    wide = unit(frac_bits=30, w_format=Integer(bits=14, signed=True), steps_per_octave=2, acc_bits=62)
    with pytest.raises(InvariantError, match="log2_mac joined sum may reach"):
        wide.compute(a=np.zeros((1, 64), np.int64), w=np.full((64, 1), -(1 << 13)))


def overflowing(accumulate: Any, spec: Log2Mac, a: Any, w: Any) -> tuple[list[list[int]], int]:
    """docs/datapath.md, log2_mac and accumulators, for one matrix product: values, and how many overflowed."""

    def value(row: Any, column: Any) -> tuple[int, bool]:
        terms: tuple[list[int], list[int]] = ([], [])
        for code, operand in zip(row, column, strict=True):
            if code < 2**spec.code_bits - 1:
                shift = min(-(-code // spec.steps_per_octave), 62)
                odd = code % 2 if spec.steps_per_octave == 2 else 0
                terms[odd].append(((operand - spec.w_zero_point) << spec.frac_bits) >> shift)
        (even, e), (odd, o) = (accumulate(0, part, spec.acc_bits, spec.overflow) for part in terms)
        joined, j = accumulate(even + ((odd * 46341 + (1 << 14)) >> 15), [], spec.acc_bits, spec.overflow)
        return joined, e or o or j

    found = [[value(row, column) for column in zip(*w, strict=True)] for row in a]
    return [[acc for acc, _ in row] for row in found], sum(over for row in found for _, over in row)


@pytest.mark.parametrize(
    ("steps", "a", "w", "wrapped", "saturated", "overflows"),
    [
        # Six bits, −32 to 31. 20, 40: −24 or 31; then −5: −29 or 26. In the other order 20, 15, 35.
        (1, [0, 0, 2], [10, 10, -10], -29, 26, 1),
        (1, [0, 2, 0], [10, -10, 10], -29, 31, 1),
        (1, [0, 2, 15], [10, -10, 10], 15, 15, 0),
        # E as above, 40: −24 or 31. O = −10 − 10 − 10: −42.4 joined, −66 or −11, of which −66 is −2.
        (2, [0, 1, 0, 1, 1], [10, -10, 10, -10, -10], -2, -11, 1),
        # O = 40: −24 or 31: −33.94, so −34 + 20 or 43.84, so 44 + 20 = 64: −14 or 31.
        (2, [0, 1, 1, 1, 1], [10, 10, 10, 10, 10], -14, 31, 1),
        # E and O fit, their joint 20 + 28.28 does not: 48 is −16.
        (2, [0, 1, 1], [10, 10, 10], -16, 31, 1),
        # −20 + 28.28 does.
        (2, [0, 1, 1], [-10, 10, 10], 8, 8, 0),
    ],
)
def test_overflow_worked_by_hand(
    steps: int, a: list[int], w: list[int], wrapped: int, saturated: int, overflows: int
) -> None:
    for overflow, expected in (("wrap", wrapped), ("saturate", saturated)):
        spec = unit(steps_per_octave=steps, frac_bits=1, acc_bits=6, w_format=Integer(bits=8, signed=True),
                    overflow=overflow)  # fmt: skip
        operands = {"a": np.array([a]), "w": np.array(w)[:, None]}
        assert spec.compute(**operands).item() == expected
        assert spec.overflows(**operands) == overflows


@given(st.integers(2, 8), st.sampled_from([1, 2]), st.integers(0, 16),
       st.builds(Integer, bits=st.integers(1, 12), signed=st.booleans()), st.integers(-300, 300),
       st.one_of(st.integers(1, 30), st.integers(1, 62)), st.sampled_from(["wrap", "saturate"]),
       st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**32))  # fmt: skip
def test_overflow_equals_definition(
    accumulate: Any, code_bits: int, steps: int, frac_bits: int, w_format: Integer, zero_point: int, acc_bits: int,
    overflow: str, shape: tuple[int, int, int], seed: int,
) -> None:  # fmt: skip
    spec = unit(code_bits=code_bits, steps_per_octave=steps, frac_bits=frac_bits, w_format=w_format,
                w_zero_point=zero_point, acc_bits=acc_bits, overflow=overflow)  # fmt: skip
    a, w = random_operands(spec, np.random.default_rng(seed), *shape)
    sums, overflows = overflowing(accumulate, spec, a.tolist(), w.tolist())
    assert spec.compute(a=a, w=w).tolist() == sums
    assert spec.overflows(a=a, w=w) == overflows


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_overflow_of_batched_operands(accumulate: Any, overflow: str) -> None:
    spec = unit(steps_per_octave=2, w_zero_point=128, acc_bits=22, overflow=overflow)
    rng, overflows = np.random.default_rng(3), 0
    a, w = rng.integers(0, 4, (2, 3, 5, 7)), rng.integers(0, 256, (4, 2, 3, 7)).transpose(1, 2, 3, 0)
    acc = spec.compute(a=a, w=w)
    for b in range(2):
        for h in range(3):
            sums, count = overflowing(accumulate, spec, a[b, h].tolist(), w[b, h].tolist())
            assert acc[b, h].tolist() == sums
            overflows += count
    assert spec.overflows(a=a, w=w) == overflows
    assert 0 < overflows < acc.size


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize(
    ("steps", "w_bits", "acc_bits"), [(1, 31, 62), (1, 31, 40), (2, 14, 62), (2, 14, 50)]
)
def test_sums_beyond_int64_overflow_as_any(
    accumulate: Any, overflow: str, steps: int, w_bits: int, acc_bits: int
) -> None:
    """Nine terms of 2^60 exceed 64 bits, and so does an O of 62 bits times 46341."""
    spec = unit(steps_per_octave=steps, frac_bits=30, w_format=Integer(bits=w_bits, signed=True),
                acc_bits=acc_bits, overflow=overflow)  # fmt: skip
    a = np.array([[0] * 9, [1] * 9, [0, 1, 2] * 3])
    w = np.stack((np.full(9, spec.w_format.min_code), np.arange(9) - spec.w_format.min_code - 9), axis=1)
    deep, tall = np.tile(a, 64), np.tile(w, (64, 1))
    sums, overflows = overflowing(accumulate, spec, deep.tolist(), tall.tolist())
    assert spec.compute(a=deep, w=tall).tolist() == sums
    assert spec.overflows(a=deep, w=tall) == overflows


@pytest.mark.parametrize("acc_bits", [31, 32])
def test_saturated_sums_at_the_end_of_int32(acc_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """31 bits and a term of 2^30 − 1 still fit int32, 32 bits do not, which a wrong bound would not know."""
    spec = unit(frac_bits=0, w_format=Integer(bits=31, signed=True), acc_bits=acc_bits, overflow="saturate")
    operands = {"a": np.zeros((1, 4), np.int64), "w": np.full((4, 1), (1 << 30) - 1)}
    expected = min(spec.acc_format.max_code, 4 * ((1 << 30) - 1))
    assert spec.compute(**operands).item() == expected
    monkeypatch.setattr(accumulation, "_INT32_MAX", 1 << 33)
    assert (spec.compute(**operands).item() == expected) is (acc_bits == 31)


def test_sums_of_minus_1_leave_the_bound_that_forgets_the_rounding() -> None:
    """Twelve odd terms, −1 each however far shifted: −16.97, so −17, which the 4 bits after the sign do not hold."""
    spec = unit(
        steps_per_octave=2,
        frac_bits=0,
        w_format=Integer(bits=1, signed=True),
        acc_bits=5,
        overflow="saturate",
    )
    operands = {"a": np.ones((1, 12), np.int64), "w": np.full((12, 1), -1)}
    assert spec.compute(**operands).item() == -16
    assert spec.overflows(**operands) == 1


FAULTS = {
    "one term short": ("_saturated_shifts", "range(depth)", "range(depth - 1)"),
    "backwards": ("_saturated_shifts", "codes[group, m, k]]", "codes[group, m, -1 - k]]"),
    "a zero code counts": ("_saturated_shifts", "shift >= 0", "True"),
    "shift 0 does not": ("_saturated_shifts", "shift >= 0", "shift > 0"),
    "both on one accumulator": ("_saturated_shifts", "total[parity]", "total[0]"),
    "no saturation": ("_take_shifted", "min(max(exact, low), high)", "exact"),
    "below only": ("_take_shifted", "low), high)", "low), exact)"),
    "lower limit off by one": ("_take_shifted", "max(exact, low)", "max(exact, low + 1)"),
    "upper limit off by one": ("_take_shifted", "low), high)", "low), high - 1)"),
    "counts the last term only": ("_take_shifted", "over[n] |=", "over[n] ="),
    "counts nothing": ("_saturated_shifts", "changed != 0", "changed != changed"),
}
"""Kernel, old and new source."""


def narrow_operands(spec: Log2Mac) -> tuple[Any, Any]:
    """Codes and integers of which E, O and what they join to leave 12 bits at either end and come back."""
    a, w = np.zeros((6, 12), np.int64), np.zeros((12, 3), np.int64)
    a[1], a[2, ::2], a[3], a[4:] = 1, 1, 2, np.random.default_rng(8).integers(0, 16, (2, 12))
    w[:, 0], w[:, 1] = np.repeat([50, -50], 6), 20
    w[:, 2] = np.random.default_rng(9).integers(-30, 30, 12)
    return a, w


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_in_saturation_are_seen(accumulate: Any, mutate: Any, fault: str) -> None:
    spec = unit(steps_per_octave=2, frac_bits=4, w_format=Integer(bits=8, signed=True), acc_bits=12,
                overflow="saturate")  # fmt: skip
    a, w = narrow_operands(spec)
    expected = overflowing(accumulate, spec, a.tolist(), w.tolist())
    assert (spec.compute(a=a, w=w).tolist(), spec.overflows(a=a, w=w)) == expected
    kernel, old, new = FAULTS[fault]
    mutate(accumulation, kernel, old, new)
    if kernel != "_saturated_shifts":  # which then calls the changed one
        mutate(accumulation, "_saturated_shifts", "range(depth)", "range(depth)")
    assert (spec.compute(a=a, w=w).tolist(), spec.overflows(a=a, w=w)) != expected


def other_mode(sums: Any, format: Integer, overflow: str) -> Any:
    return settled(sums, format, "wrap" if overflow == "saturate" else "saturate")


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize(
    "fault", [unlimited, one_bit_more, one_bit_less, other_mode], ids=lambda fault: fault.__name__
)
def test_planted_faults_around_the_kernel_are_seen(
    accumulate: Any, monkeypatch: pytest.MonkeyPatch, fault: Any, overflow: str
) -> None:
    """The joined value that is not limited once more, and widths off by one."""
    spec = unit(steps_per_octave=2, frac_bits=4, w_format=Integer(bits=8, signed=True), acc_bits=12,
                overflow=overflow)  # fmt: skip
    a, w = narrow_operands(spec)
    expected, _ = overflowing(accumulate, spec, a.tolist(), w.tolist())
    assert spec.compute(a=a, w=w).tolist() == expected
    monkeypatch.setattr(log2_mac, "settled", fault)
    try:
        found = spec.compute(a=a, w=w).tolist()
    except InvariantError:
        found = None
    assert found != expected


@pytest.mark.parametrize("steps", [1, 2])
def test_kernels_of_sums_that_fit_serve_every_mode(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three terms within 300 << 2 stay within 3600, and with √2 within 5092, whatever their codes are."""
    bits = 13 if steps == 1 else 14
    monkeypatch.setattr(log2_mac, "saturated_shifts", None)
    operands = {"a": np.array([[0, 0, 0]]), "w": np.array([[300], [300], [300]])}
    changes = {"steps_per_octave": steps, "frac_bits": 2, "w_format": Integer(bits=10, signed=True)}
    spec = unit(**changes, acc_bits=bits, overflow="saturate")
    assert spec.compute(**operands).item() == 3600
    assert spec.overflows(**operands) == 0
    with pytest.raises(TypeError, match="not callable"):
        unit(**changes, acc_bits=bits - 1, overflow="saturate").compute(**operands)

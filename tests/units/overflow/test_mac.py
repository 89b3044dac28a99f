"""mac, accumulators that are too narrow: refused, wrapped and saturated, each as the definition in Python integers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from sim import accumulation, products
from sim.accumulation import settled
from sim.units import mac
from sim.units.mac import Mac
from tests.units.mac_sample import FORMATS, random_operands, unit
from tests.units.overflow_faults import one_bit_less, one_bit_more, unlimited


def test_accumulator_overflow_raises() -> None:
    """127 fits 8 bits, 128 does not."""
    spec = unit(acc_bits=8)
    assert spec.compute(a=np.array([[127]]), w=np.array([[1]])).item() == 127
    with pytest.raises(InvariantError, match=r"mac accumulator spans \[128, 128\], outside s8"):
        spec.compute(a=np.array([[128]]), w=np.array([[1]]))


def test_int64_overflow_raises_before_the_kernel() -> None:
    """Eight products of (2^30 − 1) · 2^30 stay below 2^63; nine would wrap to a positive sum."""
    spec = unit(a_format=Integer(bits=30, signed=False), w_format=Integer(bits=31, signed=True), acc_bits=62)
    largest = ((1 << 30) - 1) << 30
    with pytest.raises(InvariantError, match=f"mac accumulator spans .-{8 * largest}, "):
        spec.compute(a=np.full((1, 8), (1 << 30) - 1), w=np.full((1, 8), -(1 << 30)))
    with pytest.raises(InvariantError, match=f"mac partial sum may reach ±{9 * largest}, beyond"):
        spec.compute(a=np.full((1, 9), (1 << 30) - 1), w=np.full((1, 9), -(1 << 30)))


def overflowing(accumulate: Any, spec: Mac, a: Any, w: Any, bias: Any) -> tuple[list[list[int]], int]:
    """docs/datapath.md, mac and accumulators, for one matrix product: sums, and how many overflowed."""
    za, zw = spec.a_zero_point, spec.w_zero_point
    found = [
        [
            accumulate(
                b,
                [(x - za) * (y - zw) for x, y in zip(row, column, strict=True)],
                spec.acc_bits,
                spec.overflow,
            )
            for column, b in zip(w, bias, strict=True)
        ]
        for row in a
    ]
    return [[acc for acc, _ in row] for row in found], sum(over for row in found for _, over in row)


@pytest.mark.parametrize(
    ("a", "bias", "wrapped", "saturated", "overflows"),
    [
        ([5, 5, -4], 0, 6, 3, 1),  # 5, then 10: 7 or −6; then 3, or −10: 6
        ([-4, 5, 5], 0, 6, 6, 0),  # the same terms in an order in which every sum fits
        ([-4, -5, 2], 1, -6, -6, 0),  # −3, −8, the smallest that fits, −6
        ([-4, -5, 2], 0, -7, -6, 1),  # −9: −8 or 7
        ([1], 7, -8, 7, 1),
        ([0], 8, -8, 7, 1),  # the bias alone overflows
        ([-1], 24, 7, 6, 1),  # 24 is 8 modulo 16, so −8
        ([], 7, 7, 7, 0),
    ],
)
def test_overflow_worked_by_hand(
    a: list[int], bias: int, wrapped: int, saturated: int, overflows: int
) -> None:
    """Four bits: −8 to 7."""
    for overflow, expected in (("wrap", wrapped), ("saturate", saturated)):
        spec = unit(a_format=Integer(bits=4, signed=True), acc_bits=4, overflow=overflow)
        operands = {
            "a": np.array([a], np.int64),
            "w": np.ones((1, len(a)), np.int64),
            "bias": np.array([bias]),
        }
        assert spec.overflows(**operands) == overflows
        if a:
            assert spec.compute(**operands).tolist() == [[expected]]


@given(FORMATS, FORMATS, st.integers(-400, 400), st.integers(1, 62), st.sampled_from(["wrap", "saturate"]),
       st.tuples(*[st.integers(1, 19)] * 3), st.integers(0, 2**32))  # fmt: skip
def test_overflow_equals_definition(
    accumulate: Any, a_format: Integer, w_format: Integer, zero_point: int, acc_bits: int, overflow: str,
    shape: tuple[int, int, int], seed: int,
) -> None:  # fmt: skip
    """Accumulators far too narrow, narrow now and then, and wide enough; biases beyond them."""
    spec = unit(a_format=a_format, w_format=w_format, a_zero_point=zero_point, w_zero_point=-zero_point // 2,
                acc_bits=acc_bits, overflow=overflow)  # fmt: skip
    rng = np.random.default_rng(seed)
    a, w, bias = random_operands(spec, rng, *shape)
    bias = bias * rng.integers(0, (1 << min(acc_bits, 50)) // 500 + 1, bias.size)
    sums, overflows = overflowing(accumulate, spec, a.tolist(), w.tolist(), bias.tolist())
    for operand in (w, spec.prepare("w", w)):
        assert spec.compute(a=a, w=operand, bias=bias).tolist() == sums
        assert spec.overflows(a=a, w=operand, bias=bias) == overflows


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_overflow_of_batched_operands(accumulate: Any, overflow: str) -> None:
    spec, rng = unit(a_zero_point=100, acc_bits=11, overflow=overflow), np.random.default_rng(3)
    a, w = rng.integers(0, 256, (2, 3, 5, 7)), rng.integers(-8, 8, (7, 2, 3, 4)).transpose(1, 2, 3, 0)
    acc, overflows = spec.compute(a=a, w=w), 0
    for b in range(2):
        for h in range(3):
            sums, count = overflowing(accumulate, spec, a[b, h].tolist(), w[b, h].tolist(), [0] * 4)
            assert acc[b, h].tolist() == sums
            overflows += count
    assert spec.overflows(a=a, w=w) == overflows > 0
    assert np.array_equal(spec.compute(a=a, w=w[0, 0])[0, 0], acc[0, 0])


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize("acc_bits", [40, 61, 62])
def test_sums_beyond_int64_overflow_as_any(accumulate: Any, overflow: str, acc_bits: int) -> None:
    """Nine products of about 2^60 exceed 64 bits, however they are added."""
    wide = Integer(bits=31, signed=True)
    spec = unit(a_format=wide, w_format=wide, acc_bits=acc_bits, overflow=overflow)
    a = np.full((2, 9), wide.min_code)
    a[1, ::2] += 12345
    w, bias = np.stack((a[1] + 1, -a[1] - 1)), np.array([(1 << 61) - 1, -(1 << 61)])
    sums, overflows = overflowing(accumulate, spec, a.tolist(), w.tolist(), bias.tolist())
    assert spec.compute(a=a, w=w, bias=bias).tolist() == sums
    assert spec.overflows(a=a, w=w, bias=bias) == overflows == 4


@pytest.mark.parametrize("acc_bits", [31, 32])
def test_saturated_sums_at_the_end_of_int32(acc_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """2^30 − 1 and 32767² more still fit int32; 2^31 − 1 and that need int64, which a wrong bound would not give."""
    wide = Integer(bits=16, signed=True)
    spec = unit(a_format=wide, w_format=wide, acc_bits=acc_bits, overflow="saturate")
    operands = {"a": np.full((1, 4), 32767), "w": np.array([[32767, 32767, 32767, -32767]])}
    operands["bias"] = np.array([spec.acc_format.max_code])
    expected = spec.acc_format.max_code - 32767**2
    assert spec.compute(**operands).item() == expected
    monkeypatch.setattr(accumulation, "_INT32_MAX", 1 << 33)
    assert (spec.compute(**operands).item() == expected) is (acc_bits == 31)


def test_kernels_of_sums_that_fit_serve_every_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """8-bit codes times −8 in 3 terms stay within −6120; 14 bits hold that, 13 do not."""
    monkeypatch.setattr(mac, "saturated_products", None)
    monkeypatch.setattr(mac, "wrapped_products", None)
    operands = {"a": np.array([[255, 255, 255]]), "w": np.array([[-8, -8, -8]])}
    for overflow in ("wrap", "saturate"):
        spec = unit(acc_bits=14, overflow=overflow)
        assert spec.compute(**operands).item() == -6120
        assert spec.overflows(**operands) == 0
        with pytest.raises(TypeError, match="not callable"):
            unit(acc_bits=13, overflow=overflow).compute(**operands)


FAULTS = {
    "one term short": ("_saturated_products", "range(depth)", "range(depth - 1)"),
    "no bias": ("_saturated_products", "total[:] = start", "total[:] = 0"),
    "bias not counted": ("_saturated_products", "changed[:] = spilt", "changed[:] = 0"),
    "backwards": ("_saturated_products", "w[group, k], a[group, m, k]",
                  "w[group, depth - 1 - k], a[group, m, depth - 1 - k]"),
    "no saturation": ("_take", "min(max(exact, low), high)", "exact"),
    "above only": ("_take", "max(exact, low)", "exact"),
    "lower limit off by one": ("_take", "max(exact, low)", "max(exact, low + 1)"),
    "upper limit off by one": ("_take", "low), high)", "low), high - 1)"),
    "saturates what it counts only": ("_take", "total[n] = limited", "total[n] = exact"),
    "counts the last term only": ("_take", "over[n] |=", "over[n] ="),
}  # fmt: skip
"""Kernel, old and new source."""


def narrow_operands(spec: Mac) -> dict[str, Any]:
    """Sums that leave 10 bits at either end and come back, sums that fit, and a bias that alone does not."""
    a, _, _ = random_operands(spec, np.random.default_rng(4), 9, 5, 12)
    turn = np.repeat([4, -4], 6)
    w = np.stack((turn, -turn, np.resize([1, -1], 12), np.full(12, -8), -np.eye(1, 12, dtype=np.int64)[0]))
    return {"a": a, "w": w, "bias": np.array([-300, 300, 3, -512, 4000])}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_in_saturation_are_seen(accumulate: Any, mutate: Any, fault: str) -> None:
    spec = unit(acc_bits=10, overflow="saturate")
    operands = narrow_operands(spec)
    expected = overflowing(accumulate, spec, *(x.tolist() for x in operands.values()))
    kernel, old, new = FAULTS[fault]
    mutate(accumulation, kernel, old, new)
    if kernel != "_saturated_products":  # which then calls the changed one
        mutate(accumulation, "_saturated_products", "range(depth)", "range(depth)")
    try:
        found = (spec.compute(**operands).tolist(), spec.overflows(**operands))
    except InvariantError:
        found = None
    assert found != expected


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize("fault", [unlimited, one_bit_more, one_bit_less], ids=lambda fault: fault.__name__)
def test_planted_faults_around_the_kernels_are_seen(
    accumulate: Any, monkeypatch: pytest.MonkeyPatch, fault: Any, overflow: str
) -> None:
    """The bias that is not limited first, and widths off by one."""
    spec = unit(acc_bits=10, overflow=overflow)
    operands = narrow_operands(spec)
    expected = overflowing(accumulate, spec, *(x.tolist() for x in operands.values()))
    assert (spec.compute(**operands).tolist(), spec.overflows(**operands)) == expected
    monkeypatch.setattr(accumulation, "settled", fault)
    try:
        found = spec.compute(**operands).tolist()
    except InvariantError:
        found = None
    assert found != expected[0]


def test_saturation_at_the_end_alone_is_seen(accumulate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = unit(acc_bits=10, overflow="saturate")
    operands = narrow_operands(spec)

    def at_the_end(a: Any, w: Any, bias: Any, format: Integer) -> Any:
        return settled(products.products(a, w, bias), format, "saturate"), None

    monkeypatch.setattr(mac, "saturated_products", at_the_end)
    expected, _ = overflowing(accumulate, spec, *(x.tolist() for x in operands.values()))
    assert spec.compute(**operands).tolist() != expected


def test_biases_beyond_64_bits_or_without_integers_raise() -> None:
    for bias, message in (([1 << 61], "mac bias spans"), ([0.5], "mac bias must hold integers")):
        with pytest.raises(InvariantError, match=message):
            unit(acc_bits=8, overflow="wrap").compute(
                a=np.array([[1]]), w=np.array([[1]]), bias=np.array(bias)
            )

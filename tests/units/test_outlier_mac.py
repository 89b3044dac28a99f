"""outlier_mac: hand-worked sums, the definition in Python integers, overflow, faults, refusals, streams, cycles."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from reports.stimuli import column
from reports.units.outlier_mac import SWEEP, label, stimuli
from sim import accumulation
from sim.accumulation import settled
from sim.unit import Beats, Codes
from sim.units import outlier_mac
from sim.units.outlier_mac import OutlierMac


def unit(**changes: Any) -> OutlierMac:
    parameters: dict[str, Any] = {
        "value_bits": 9, "index_bits": 3, "w_format": Integer(bits=5, signed=True), "acc_bits": 24,
    }  # fmt: skip
    return OutlierMac(**parameters | changes)


def definition(spec: OutlierMac, a: Any, w: Any, bias: Any) -> list[list[int]]:
    """docs/datapath.md, outlier_mac, for one matrix product."""
    acc = []
    for row in a:
        acc.append([])
        for weights, start in zip(w, bias, strict=True):
            total = start
            for word in row:
                index, value = divmod(word, 2**spec.value_bits)
                if value >= 2 ** (spec.value_bits - 1):
                    value -= 2**spec.value_bits
                total += value * weights[index]
            acc[-1].append(total)
    return acc


def words(spec: OutlierMac, rng: np.random.Generator, depth: int, *shape: int) -> Codes:
    """Any words with indices below `depth`; a third of them of value 0, with any index, and a third empty."""
    index = rng.integers(0, depth, shape) << spec.value_bits
    value = rng.integers(0, 1 << spec.value_bits, shape)
    return rng.choice([0, 1, 1], shape) * (index | value * rng.integers(0, 2, shape))


def test_hand_worked() -> None:
    # Values of 9 bits: −3 (509) at index 2 and 255 at 0, then nothing, which fetches weight 0 in vain.
    # On (7, 1, −16): −3 · −16 + 255 · 7 = 1833, + 10; on (−1, 5, 2): −6 − 255 = −261, − 4.
    operands = {"a": np.array([[2 << 9 | 509, 255, 0]]), "w": np.array([[7, 1, -16], [-1, 5, 2]])}
    assert unit().compute(**operands).tolist() == [[1833, -261]]
    assert unit().compute(**operands, bias=np.array([10, -4])).tolist() == [[1843, -265]]


@given(st.integers(3, 17), st.integers(1, 12), st.integers(1, 31), st.booleans(), st.tuples(*[st.integers(1, 9)] * 4),
       st.integers(0, 2**32))  # fmt: skip
def test_equals_definition(
    value_bits: int, index_bits: int, w_bits: int, w_signed: bool, shape: tuple[int, int, int, int], seed: int
) -> None:
    spec = unit(value_bits=value_bits, index_bits=index_bits, acc_bits=62,
                w_format=Integer(bits=w_bits, signed=w_signed))  # fmt: skip
    rng, (groups, rows, places, outputs) = np.random.default_rng(seed), shape
    depth = min(int(rng.integers(1, 300)), 1 << index_bits)
    a = words(spec, rng, depth, groups, rows, places)
    w = rng.integers(spec.w_format.min_code, spec.w_format.max_code, (outputs, depth), endpoint=True)
    bias = rng.integers(-(1 << 50), 1 << 50, outputs)
    expected = [definition(spec, group, w.tolist(), bias.tolist()) for group in a.tolist()]
    assert spec.compute(a=a, w=w, bias=bias).tolist() == expected
    assert spec.compute(a=a, w=spec.prepare("w", w), bias=bias).tolist() == expected
    turned = np.ascontiguousarray(a.transpose(2, 1, 0)).transpose(2, 1, 0)
    assert spec.compute(a=turned, w=np.asfortranarray(w), bias=bias).tolist() == expected


def test_only_weights_are_prepared() -> None:
    bias = np.array([1, 2])
    assert unit().prepare("bias", bias) is bias


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_stimuli_reach_the_accumulators_limits(spec: OutlierMac) -> None:
    sums = spec.run(**stimuli(spec, np.random.default_rng(3)))["o"].codes
    assert (sums.min(), sums.max()) == (spec.acc_format.min_code, spec.acc_format.max_code)


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_streams_carry_the_weights_at_the_words_indices(spec: OutlierMac) -> None:
    """Each list on weights of its own, put back where their words point."""
    beats = stimuli(spec, np.random.default_rng(3))
    cuts = np.flatnonzero(beats["a"].last)[:-1] + 1
    lists, fetched = (np.split(beats[name].codes[:, 0], cuts) for name in ("a", "w"))
    acc = []
    for a, w, bias in zip(lists, fetched, beats["bias"].codes, strict=True):
        weights = np.zeros((1, 1 << spec.index_bits), np.int64)
        weights[0, a >> spec.value_bits] = w
        assert np.array_equal(weights[0, a >> spec.value_bits], w)
        acc.append(spec.compute(a=a[None], w=weights, bias=bias).item())
    assert spec.run(**beats)["o"].codes[:, 0].tolist() == acc
    assert any((a == 0).all() for a in lists)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("acc[row, n] = bias[n]", "acc[row, n] = 0"),
        ("acc[row, n] += value", "acc[row, n] = value"),
        ("range(places)", "range(places - 1)"),
        ("range(places)", "range(1, places)"),
        ("+ half) & (2 * half - 1)) - half", ") & (2 * half - 1))"),
        ("2 * half - 1", "half - 1"),
        ("value != 0", "value > 0"),
        ("value != 0", "words[row, p] >> value_bits"),
        ("words[row, p] >> value_bits", "words[row, p] >> (value_bits + 1)"),
        ("columns[index, n]", "columns[index - 1, n]"),
        ("columns[index, n]", "columns[index, 0]"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, old: str, new: str) -> None:
    spec, rng = unit(), np.random.default_rng(4)
    a, w, bias = words(spec, rng, 8, 6, 5), rng.integers(-16, 16, (3, 8)), rng.integers(-99, 99, 3)
    a[0] = [3, 1 << 9, 255, 1 << 9 | 256, 5]  # index 0 with a value, and index 1 without
    mutate(outlier_mac, "_sparse_products", old, new)
    assert spec.compute(a=a, w=w, bias=bias).tolist() != definition(
        spec, a.tolist(), w.tolist(), bias.tolist()
    )


def test_an_unchanged_kernel_as_python_agrees(mutate: Any) -> None:
    """What the planted faults run in is itself right."""
    spec, rng = unit(), np.random.default_rng(4)
    a, w, bias = words(spec, rng, 8, 6, 5), rng.integers(-16, 16, (3, 8)), rng.integers(-99, 99, 3)
    mutate(outlier_mac, "_sparse_products", "range(places)", "range(places)")
    assert spec.compute(a=a, w=w, bias=bias).tolist() == definition(
        spec, a.tolist(), w.tolist(), bias.tolist()
    )


def overflowing(accumulate: Any, spec: OutlierMac, a: Any, w: Any, bias: Any) -> tuple[list[list[int]], int]:
    """docs/datapath.md, outlier_mac and accumulators, for one matrix product: sums, and how many overflowed."""

    def term(word: int, weights: list[int]) -> int:
        return definition(spec, [[word]], [weights], [0])[0][0]

    found = [
        [
            accumulate(start, [term(word, weights) for word in row], spec.acc_bits, spec.overflow)
            for weights, start in zip(w, bias, strict=True)
        ]
        for row in a
    ]
    return [[acc for acc, _ in row] for row in found], sum(over for row in found for _, over in row)


def test_overflow_worked_by_hand() -> None:
    # Ten bits, −512 to 511: 255 at index 0 twice and 509, which is −3, at 2; weights 2 and 7, then −1 and 5.
    # 510, then 1020: −4 or 511, then −21: −25 or 490. −255, −510, then −525: 499 or −512.
    operands = {"a": np.array([[255, 255, 2 << 9 | 509]]), "w": np.array([[2, 0, 7], [-1, 0, 5]])}
    for overflow, expected in (("wrap", [-25, 499]), ("saturate", [490, -512])):
        spec = unit(acc_bits=10, overflow=overflow)
        assert spec.compute(**operands).tolist() == [expected]
        assert spec.overflows(**operands) == 2
        # From 20, the second ends at −505; the bias 520 is −504 or 511 at once.
        biased = spec.compute(**operands, bias=np.array([520, 20]))
        assert biased.tolist() == [[495 if overflow == "wrap" else 490, -505]]
        assert spec.overflows(**operands, bias=np.array([520, 20])) == 1


@given(st.integers(3, 17), st.integers(1, 31), st.one_of(st.integers(1, 30), st.integers(1, 62)),
       st.sampled_from(["wrap", "saturate"]), st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**32))  # fmt: skip
def test_overflow_equals_definition(
    accumulate: Any, value_bits: int, w_bits: int, acc_bits: int, overflow: str, shape: tuple[int, int, int],
    seed: int,
) -> None:  # fmt: skip
    """Biases of twice the accumulator's width, and so beyond it."""
    spec = unit(value_bits=value_bits, acc_bits=acc_bits, overflow=overflow,
                w_format=Integer(bits=w_bits, signed=True))  # fmt: skip
    rng, (rows, places, outputs) = np.random.default_rng(seed), shape
    a = words(spec, rng, 8, rows, places)
    w = rng.integers(spec.w_format.min_code, spec.w_format.max_code, (outputs, 8), endpoint=True)
    bias = rng.integers(-(1 << min(acc_bits, 60)), 1 << min(acc_bits, 60), outputs)
    sums, overflows = overflowing(accumulate, spec, a.tolist(), w.tolist(), bias.tolist())
    for operand in (w, spec.prepare("w", w)):
        assert spec.compute(a=a, w=operand, bias=bias).tolist() == sums
        assert spec.overflows(a=a, w=operand, bias=bias) == overflows
        assert spec.compute(a=a[:, None], w=operand, bias=bias).tolist() == [[row] for row in sums]


def test_sums_beyond_int64_wrap_as_any() -> None:
    """2^17 values of −2^16 on a weight of −2^31 are 2^64, and one of 5 on 7 with them."""
    spec = unit(value_bits=17, w_format=Integer(bits=32, signed=True), acc_bits=62, overflow="wrap")
    a = np.full((1, (1 << 17) + 1), 1 << 16)
    a[0, 77] = 1 << 17 | 5
    assert spec.compute(a=a, w=np.array([[-(1 << 31), 7]]), bias=np.array([-40])).item() == -5


@pytest.mark.parametrize("acc_bits", [31, 32])
def test_saturated_sums_at_the_end_of_int32(acc_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """31 bits and a term of 2^30 still fit int32, 32 bits do not, which a wrong bound would not know."""
    spec = unit(value_bits=17, w_format=Integer(bits=15, signed=True), acc_bits=acc_bits, overflow="saturate")
    operands = {"a": np.full((1, 4), 1 << 16), "w": np.array([[-(1 << 14) + 1]])}
    expected = min(spec.acc_format.max_code, 4 * ((1 << 14) - 1) << 16)
    assert spec.compute(**operands).item() == expected
    monkeypatch.setattr(accumulation, "_INT32_MAX", 1 << 33)
    assert (spec.compute(**operands).item() == expected) is (acc_bits == 31)


FAULTS = {
    "one word short": ("_saturated_list", "range(places)", "range(places - 1)"),
    "backwards": ("_saturated_list", "range(places)", "range(places - 1, -1, -1)"),
    "no bias": ("_saturated_list", "total[:] = start", "total[:] = 0"),
    "bias not counted": ("_saturated_list", "changed[:] = spilt", "changed[:] = 0"),
    "value without sign": ("_saturated_list", "+ half) & (2 * half - 1)) - half", ") & (2 * half - 1))"),
    "index of the neighbour": ("_saturated_list", ">> value_bits]", ">> value_bits - 1]"),
    "no saturation": ("_take", "min(max(exact, low), high)", "exact"),
    "lower limit off by one": ("_take", "max(exact, low)", "max(exact, low + 1)"),
    "upper limit off by one": ("_take", "low), high)", "low), high - 1)"),
}
"""Kernel, old and new source."""


def narrow_operands(spec: OutlierMac) -> dict[str, Codes]:
    """Sums that leave 12 bits at either end and come back, sums that fit, and a bias that alone does not."""
    turn = np.array([255] * 4 + [300] * 4)
    a = np.stack((turn, turn[::-1], 1 << 9 | turn, words(spec, np.random.default_rng(4), 4, 8)))
    w = np.array([[4, 1, -5, 0], [3, -4, 0, 2], [-1, 0, 0, 0]])
    return {"a": a, "w": w, "bias": np.array([-1500, 7, 9000])}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_in_saturation_are_seen(accumulate: Any, mutate: Any, fault: str) -> None:
    spec = unit(acc_bits=12, index_bits=2, overflow="saturate")
    operands = narrow_operands(spec)
    expected = overflowing(accumulate, spec, *(x.tolist() for x in operands.values()))
    assert (spec.compute(**operands).tolist(), spec.overflows(**operands)) == expected
    kernel, old, new = FAULTS[fault]
    mutate(accumulation, kernel, old, new)
    if kernel != "_saturated_list":  # which then calls the changed one
        mutate(accumulation, "_saturated_list", "range(places)", "range(places)")
    try:
        found = (spec.compute(**operands).tolist(), spec.overflows(**operands))
    except (InvariantError, IndexError):
        found = None
    assert found != expected


@pytest.mark.parametrize(("overflow", "module"), [("wrap", outlier_mac), ("saturate", accumulation)])
@pytest.mark.parametrize("step", [-1, 1])
def test_a_width_off_by_one_around_the_kernel_is_seen(
    accumulate: Any, monkeypatch: pytest.MonkeyPatch, overflow: str, module: Any, step: int
) -> None:
    """Of the wrapped sums, or of the bias that saturates first."""
    spec = unit(acc_bits=12, index_bits=2, overflow=overflow)
    operands = narrow_operands(spec)
    expected, _ = overflowing(accumulate, spec, *(x.tolist() for x in operands.values()))
    assert spec.compute(**operands).tolist() == expected

    def off(sums: Any, format: Integer, overflow: str) -> Any:
        return settled(sums, replace(format, bits=format.bits + step), overflow)

    monkeypatch.setattr(module, "settled", off)
    try:
        found = spec.compute(**operands).tolist()
    except InvariantError:
        found = None
    assert found != expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"a": np.array([[1 << 12]])}, r"operand a spans \[4096, 4096\], outside u12"),
        ({"a": np.array([[-1]])}, r"operand a spans \[-1, -1\], outside u12"),
        # Even of value 0: in hardware it would fetch from beyond the buffer.
        ({"a": np.array([[2 << 9]])}, "index 2 is beyond a depth of 2"),
        ({"w": np.array([[16, 0]])}, r"operand w spans \[0, 16\], outside s5"),
        ({"w": np.zeros((1, 1, 2), np.int64)}, r"operand w has shape \(1, 1, 2\), not \[N, K\]"),
        ({"bias": np.array([1, 1])}, "bias has length 2, not 1"),
        ({"bias": np.array([1 << 23])}, "bias spans .*outside s24"),
        (
            {"a": np.array([[255, 255]]), "bias": np.array([(1 << 23) - 7650])},
            r"accumulator spans .*outside s24",
        ),
    ],
)
def test_operands_and_accumulators_outside_their_format_raise(
    changed: dict[str, Codes], message: str
) -> None:
    operands = {"a": np.array([[255, 255]]), "w": np.array([[15, 0]]), "bias": np.array([(1 << 23) - 7651])}
    assert unit().compute(**operands).item() == (1 << 23) - 1
    with pytest.raises(InvariantError, match=message):
        unit().compute(**operands | changed)


@pytest.mark.parametrize(("acc_bits", "expected"), [(6, 31), (7, 32)])
def test_a_sum_at_its_bound_saturates_where_it_must(acc_bits: int, expected: int) -> None:
    """−4 · −8 is the bound of one word, 32: one more than 6 bits hold."""
    spec = unit(value_bits=3, w_format=Integer(bits=4, signed=True), acc_bits=acc_bits, overflow="saturate")
    operands = {"a": np.array([[4]]), "w": np.array([[-8]])}
    assert spec.compute(**operands).item() == expected
    assert spec.overflows(**operands) == (acc_bits == 6)


def test_the_multiplier_takes_values_and_weights_as_they_are() -> None:
    spec = unit(w_format=Integer(bits=32, signed=True))
    assert spec.value_format == Integer(bits=9, signed=True)
    assert (spec.mac.a_zero_point, spec.mac.w_zero_point) == (0, 0)


def test_a_sum_that_could_wrap_raises_before_the_kernel() -> None:
    """2^16 values of magnitude 2^16 on a weight of −2^31: the bound is 2^63, one place less is below it."""
    spec = unit(value_bits=17, w_format=Integer(bits=32, signed=True), acc_bits=62)
    w = np.array([[-(1 << 31)]])
    assert spec.compute(a=np.zeros((1, (1 << 16) - 1), np.int64), w=w).item() == 0
    with pytest.raises(InvariantError, match="partial sum may reach ±9223372036854775808"):
        spec.compute(a=np.zeros((1, 1 << 16), np.int64), w=w)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value_bits": 2}, r"value_bits must be in \[3, 17\], not 2"),
        ({"value_bits": 18}, r"value_bits must be in \[3, 17\], not 18"),
        ({"index_bits": 0}, r"index_bits must be in \[1, 12\], not 0"),
        ({"index_bits": 13}, r"index_bits must be in \[1, 12\], not 13"),
        ({"acc_bits": 63}, r"acc_bits must be in \[1, 62\], not 63"),
        ({"overflow": "clip"}, "overflow must be one of none, wrap, saturate, not 'clip'"),
        ({"w_format": Integer(bits=33, signed=True)}, "w_format must fit s32, not s33"),
        ({"w_format": Integer(bits=32, signed=False)}, "w_format must fit s32, not u32"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit(**changes)


def test_streams_and_cycles() -> None:
    spec = unit()
    a = Beats(np.array([[1 << 9 | 3], [2 << 9 | 510], [511], [0]]), np.array([False, True, False, True]))
    inputs = {"a": a, "w": column(np.array([5, -7, 9, 9])), "bias": column(np.array([100, -1]))}
    assert spec.run(**inputs)["o"].codes[:, 0].tolist() == [100 + 15 + 14, -1 - 9]
    timing = {name: cycles.tolist() for name, cycles in spec.timing(**inputs).items()}
    assert timing == {"a": [0, 1, 2, 3], "w": [0, 1, 2, 3], "bias": [0, 2], "o": [3, 5]}
    assert spec.cycles(2, 2) == timing["o"][-1] + 1
    bad = replace(spec, value_bits=3, index_bits=1)
    with pytest.raises(InvariantError, match=r"operand a spans .*outside u4"):
        bad.run(**inputs)

"""table_mac: hand-worked sums, the definition in Python integers, every code, planted faults, refusals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from reports.units.table_mac import SWEEP, label, stimuli
from sim import products
from sim.units.mac import Mac
from sim.units.table_mac import TableMac

U4, S5 = Integer(bits=4, signed=False), Integer(bits=5, signed=True)


def unit(**changes: Any) -> TableMac:
    parameters: dict[str, Any] = {
        "code_bits": 2, "entry_bits": 5, "table": (0, 3, 30, 11), "w_format": S5, "w_zero_point": 0, "acc_bits": 24,
    }  # fmt: skip
    return TableMac(**parameters | changes)


def definition(spec: TableMac, a: Any, w: Any, bias: Any) -> list[list[int]]:
    """docs/datapath.md, table_mac, for one matrix product."""
    return [
        [
            b + sum(spec.table[x] * (y - spec.w_zero_point) for x, y in zip(row, column, strict=True))
            for column, b in zip(w, bias, strict=True)
        ]
        for row in a
    ]


def random_operands(spec: TableMac, rng: np.random.Generator, m: int, n: int, k: int) -> tuple[Any, Any, Any]:
    a = rng.integers(0, 1 << spec.code_bits, (m, k))
    w = rng.integers(spec.w_format.min_code, spec.w_format.max_code + 1, (n, k))
    return a, w, rng.integers(-999, 1000, n)


def test_hand_worked() -> None:
    # table[2]·(5 − 1) + table[1]·(−4 − 1) + table[0]·(7 − 1) + 10 = 30·4 − 3·5 + 0 + 10
    acc = unit(w_zero_point=1).compute(a=np.array([[2, 1, 0]]), w=np.array([[5, -4, 7]]), bias=np.array([10]))
    assert acc.tolist() == [[115]]


@given(st.integers(2, 8), st.integers(1, 24), st.integers(1, 20), st.booleans(), st.integers(-300, 300),
       st.tuples(*[st.integers(1, 12)] * 3), st.integers(0, 2**32))  # fmt: skip
def test_equals_definition(
    code_bits: int, entry_bits: int, w_bits: int, signed: bool, zero_point: int, shape: tuple[int, int, int], seed: int
) -> None:  # fmt: skip
    """Entries on both sides of 15 bits and sums on both sides of 32 take both kernels."""
    rng = np.random.default_rng(seed)
    table = tuple(rng.integers(0, 1 << entry_bits, 1 << code_bits).tolist())
    spec = unit(code_bits=code_bits, entry_bits=entry_bits, table=table, acc_bits=62,
                w_format=Integer(bits=w_bits, signed=signed), w_zero_point=zero_point)  # fmt: skip
    a, w, bias = random_operands(spec, rng, *shape)
    expected = definition(spec, a.tolist(), w.tolist(), bias.tolist())
    assert spec.compute(a=a, w=w, bias=bias).tolist() == expected
    assert spec.compute(a=a, w=spec.prepare("w", w), bias=bias).tolist() == expected


@pytest.mark.parametrize("largest", [32767, 32768, 65535])
def test_entries_at_the_end_of_int16_do_not_wrap(largest: int) -> None:
    spec = unit(entry_bits=16, table=(0, 1, 2, largest))
    assert spec.compute(a=np.array([[3]]), w=np.array([[-16]])).item() == -16 * largest


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_every_code_times_every_operand(spec: TableMac) -> None:
    a, w = np.arange(1 << spec.code_bits)[:, None], np.arange(1 << spec.w_format.bits)[:, None]
    spec = replace(spec, acc_bits=48)
    assert spec.compute(a=a, w=w).tolist() == definition(spec, a.tolist(), w.tolist(), [0] * len(w))


def test_a_table_that_counts_is_the_plain_product() -> None:
    """Entry k of code k: `mac` on unsigned codes."""
    spec = unit(code_bits=4, entry_bits=4, table=tuple(range(16)), w_zero_point=-2)
    plain = Mac(a_format=U4, w_format=S5, a_zero_point=0, w_zero_point=-2, acc_bits=24)
    a, w, bias = random_operands(spec, np.random.default_rng(2), 5, 6, 7)
    assert np.array_equal(spec.compute(a=a, w=w, bias=bias), plain.compute(a=a, w=w, bias=bias))


def test_batched_operands_and_any_memory_order() -> None:
    spec, rng = unit(w_zero_point=-3), np.random.default_rng(3)
    a = rng.integers(0, 4, (7, 2, 5)).transpose(1, 2, 0)
    w = rng.integers(-16, 16, (4, 7, 2)).transpose(2, 0, 1)
    acc = spec.compute(a=a, w=w)
    assert acc.shape == (2, 5, 4)
    for b in range(2):
        assert acc[b].tolist() == definition(spec, a[b].tolist(), w[b].tolist(), [0] * 4)


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_stimuli_show_every_entry_that_is_off_by_one(spec: TableMac) -> None:
    beats = stimuli(spec, np.random.default_rng(3))
    a, right = spec.run(**beats)["o"].codes, np.arange(1 << spec.code_bits)
    assert set(beats["a"].codes[:, 0].tolist()) == set(right.tolist())
    for n in range(0, 1 << spec.code_bits, 1 if spec.code_bits == 4 else 37):
        step = -1 if spec.table[n] else 1
        fault = replace(spec, table=(*spec.table[:n], spec.table[n] + step, *spec.table[n + 1 :]))
        try:
            assert not np.array_equal(fault.run(**beats)["o"].codes, a)
        except InvariantError:
            continue  # a sum that was at the accumulator's limit is beyond it


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("range(depth)", "range(1, depth)"),
        ("bias[n] + np.int64(total)", "np.int64(total)"),
        ("np.int32(a[group, m, k])", "np.int32(np.int8(a[group, m, k]))"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, old: str, new: str) -> None:
    spec = SWEEP[0]
    a, w, bias = random_operands(spec, np.random.default_rng(4), 9, 3, 6)
    mutate(products, "_narrow_products", old, new)
    try:
        acc = spec.compute(a=a, w=w, bias=bias).tolist()
    except InvariantError:
        acc = None
    assert acc != definition(spec, a.tolist(), w.tolist(), bias.tolist())


def test_overflow_worked_by_hand() -> None:
    # Ten bits, −512 to 511: 30·15 = 450, and 30·3 more is 540, so −484 or 511; then 11·−2.
    operands = {"a": np.array([[2, 2, 3]]), "w": np.array([[15, 3, -2], [-2, 3, 15]])}
    for overflow, expected in (("wrap", [-506, 195]), ("saturate", [489, 195])):
        spec = unit(acc_bits=10, overflow=overflow)
        assert spec.compute(**operands).tolist() == [expected]
        assert spec.overflows(**operands) == 1


@given(st.integers(2, 6), st.integers(1, 12), st.integers(1, 30), st.sampled_from(["wrap", "saturate"]),
       st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**32))  # fmt: skip
def test_overflow_equals_definition(
    accumulate: Any, code_bits: int, entry_bits: int, acc_bits: int, overflow: str, shape: tuple[int, int, int],
    seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    table = tuple(rng.integers(0, 1 << entry_bits, 1 << code_bits).tolist())
    spec = unit(code_bits=code_bits, entry_bits=entry_bits, table=table, w_zero_point=-1, acc_bits=acc_bits,
                overflow=overflow)  # fmt: skip
    a, w, bias = random_operands(spec, rng, *shape)
    found = [
        [
            accumulate(b, [table[x] * (y + 1) for x, y in zip(row, column, strict=True)], acc_bits, overflow)
            for column, b in zip(w.tolist(), bias.tolist(), strict=True)
        ]
        for row in a.tolist()
    ]
    assert spec.compute(a=a, w=w, bias=bias).tolist() == [[acc for acc, _ in row] for row in found]
    assert spec.overflows(a=a, w=w, bias=bias) == sum(over for row in found for _, over in row)


def test_operands_and_accumulators_outside_their_format_raise() -> None:
    with pytest.raises(InvariantError, match=r"operand a spans \[4, 4\], outside u2"):
        unit().compute(a=np.array([[4]]), w=np.array([[1]]))
    with pytest.raises(InvariantError, match=r"operand a spans \[-1, -1\], outside u2"):
        unit().compute(a=np.array([[-1]]), w=np.array([[1]]))
    with pytest.raises(InvariantError, match=r"operand w spans \[16, 16\], outside s5"):
        unit().compute(a=np.array([[1]]), w=np.array([[16]]))
    # 30 · 15 = 450 fits s10, 30 · 17 in two terms = 510 as well, one more does not.
    narrow = unit(acc_bits=10)
    assert narrow.compute(a=np.array([[2, 2]]), w=np.array([[15, 2]])).item() == 510
    with pytest.raises(InvariantError, match=r"accumulator spans \[513, 513\], outside s10"):
        narrow.compute(a=np.array([[2, 2, 1]]), w=np.array([[15, 2, 1]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entry_bits": 0}, r"entry_bits must be in \[1, 24\], not 0"),
        ({"entry_bits": 25}, r"entry_bits must be in \[1, 24\], not 25"),
        ({"entry_bits": 4}, r"table entries must be in \[0, 15\], but one is 30"),
        ({"table": (0, -1, 2, 3)}, r"table entries must be in \[0, 31\], but one is -1"),
        ({"table": (0, 1, 2)}, "table must have 4 entries, not 3"),
        ({"code_bits": 3}, "table must have 8 entries, not 4"),
        ({"code_bits": 0}, "code_bits must be in"),
        ({"acc_bits": 63}, r"acc_bits must be in \[1, 62\], not 63"),
        ({"w_format": Integer(bits=62, signed=True)}, "exceeds 62 bits"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit(**changes)

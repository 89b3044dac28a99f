"""Accumulators that overflow: what every unit that has one owes: parameter, stimuli, counts; pieces of their sums."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from golden.program import Program
from reports.registry import entry
from sim import accumulation
from sim.accumulation import (
    _kind,
    _part,
    check_overflow,
    saturated_list,
    saturated_products,
    saturated_shifts,
    settled,
    stretches,
)
from sim.products import Operand
from sim.registry import unit_of

UNITS = ("log2_mac", "mac", "outlier_mac", "table_mac", "two_scale_mac")
SWEEPS = [(name, spec) for name in UNITS for spec in entry(name).report.SWEEP]
NARROW = [
    pytest.param(name, spec, id=f"{name}-{entry(name).report.label(spec)}")
    for name, spec in SWEEPS
    if spec.overflow != "none"  # type: ignore[attr-defined]
]


def sums(name: str, spec: Any) -> Any:
    return spec.run(**entry(name).report.stimuli(spec, np.random.default_rng(5)))["o"].codes[:, 0]


@pytest.mark.parametrize("name", UNITS)
def test_every_sweep_has_every_mode(name: str) -> None:
    found = [spec.overflow for spec in entry(name).report.SWEEP]  # type: ignore[attr-defined]
    assert set(found) == {"none", "wrap", "saturate"}


@pytest.mark.parametrize(("name", "spec"), NARROW)
def test_stimuli_overflow_at_both_ends_and_come_back(name: str, spec: Any) -> None:
    stimuli = entry(name).report.stimuli(spec, np.random.default_rng(5))
    low, high = spec.acc_format.min_code, spec.acc_format.max_code
    exact = replace(spec, overflow="none", acc_bits=48).run(**stimuli)["o"].codes[:, 0]
    found = sums(name, spec)
    assert exact.min() < low
    assert exact.max() > high
    assert len(np.unique(found)) > 20
    if spec.overflow == "saturate":
        assert (found.min(), found.max()) == (low, high)
        # Off a limit again, and elsewhere than the sum of all terms, limited once, would be.
        differs = found != np.clip(exact, low, high)
        assert (differs & (found > low) & (found < high)).sum() > 3


@pytest.mark.parametrize(("name", "spec"), NARROW)
@pytest.mark.parametrize("change", ["other mode", "one bit less", "one bit more"])
def test_stimuli_show_a_wrong_accumulator(name: str, spec: Any, change: str) -> None:
    stimuli = entry(name).report.stimuli(spec, np.random.default_rng(5))
    wrong = {
        "other mode": replace(spec, overflow="wrap" if spec.overflow == "saturate" else "saturate"),
        "one bit less": replace(spec, acc_bits=spec.acc_bits - 1),
        "one bit more": replace(spec, acc_bits=spec.acc_bits + 1),
    }[change]
    assert not np.array_equal(wrong.run(**stimuli)["o"].codes[:, 0], sums(name, spec))


def test_operations_without_the_parameter_do_not_overflow(digits_program: Callable[[int], Program]) -> None:
    program = digits_program(4)
    operations = [operation for operation in program.operations if operation.unit in UNITS]
    assert len(operations) > 10
    for operation in operations:
        assert unit_of(program, operation).overflow == "none"  # type: ignore[attr-defined]
        for overflow in ("wrap", "saturate"):
            changed = replace(operation, parameters={**operation.parameters, "overflow": overflow})
            assert unit_of(program, changed).overflow == overflow  # type: ignore[attr-defined]
        changed = replace(operation, parameters={**operation.parameters, "overflow": "clip"})
        with pytest.raises(
            InvariantError, match=r"refuses its parameters: overflow must be one of none, wrap"
        ):
            unit_of(program, changed)


@pytest.mark.parametrize("overflow", ["", "Wrap", "saturated", "clip"])
def test_other_modes_are_refused(overflow: str) -> None:
    with pytest.raises(ValueError, match=f"overflow must be one of none, wrap, saturate, not '{overflow}'"):
        check_overflow(overflow)


@given(st.integers(1, 62), st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=9))
def test_settled_over_all_of_int64(bits: int, codes: list[int]) -> None:
    format, half = Integer(bits=bits, signed=True), 1 << (bits - 1)
    sums = np.array([*codes, -half - 1, -half, half - 1, half], np.int64)
    assert settled(sums, format, "wrap").tolist() == [(x + half) % (2 * half) - half for x in sums.tolist()]
    assert settled(sums, format, "saturate").tolist() == [max(-half, min(x, half - 1)) for x in sums.tolist()]


@given(st.integers(0, 100), st.integers(0, (1 << 61) - 1))
def test_stretches_cover_every_term_and_fit(depth: int, largest: int) -> None:
    terms = np.arange(depth)
    parts = [terms[part] for part in stretches(depth, largest)]
    assert [*np.concatenate([*parts, []])] == terms.tolist()
    assert all(len(part) * largest + (1 << 61) < 1 << 63 for part in parts)
    assert largest > 1 << 55 or len(parts) <= 1


@pytest.mark.parametrize(("largest", "kind"), [((1 << 30) - 1, np.int32), (1 << 30, np.int64)])
def test_int32_up_to_its_end(largest: int, kind: Any) -> None:
    """An accumulator of 31 bits goes down to −2^30: 2^31 − 1 fits, 2^31 does not."""
    assert _kind(Integer(bits=31, signed=True), largest) is kind


def operand(codes: Any, reach: int) -> Operand:
    return Operand(np.array(codes), reach, 10 * reach)


def test_the_largest_term_decides_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """|a| · |w|, and each alone, where the other is 0; 2^(bits − 1) times a column; a term before its shift."""
    asked = []

    def kind(format: Integer, largest: int) -> type[np.int64]:
        asked.append(largest)
        return np.int64

    monkeypatch.setattr(accumulation, "_kind", kind)
    acc, bias = Integer(bits=8, signed=True), np.zeros(1, np.int64)
    for a, w in ((3, 5), (0, 5), (3, 0)):
        saturated_products(operand([[a]], a), operand([[w]], w), bias, acc)
    for reach in (0, 1, 6):
        saturated_list(np.array([[1]]), np.zeros((1, 1), np.int32), 5, reach, bias, acc)
    for term in (-9, 0, 4):
        saturated_shifts(np.array([[[0]]]), np.array([[0, -1]]), np.array([[[term]]]), acc)
    assert asked == [15, 5, 3, 16, 16, 96, 9, 0, 4]


@pytest.mark.parametrize("shared", [False, True])
def test_products_of_more_groups_than_terms(shared: bool) -> None:
    """Three groups of two rows, one term; 7 bits hold −64 to 63."""
    a = np.arange(6).reshape(3, 2, 1)
    w = np.array([[[9], [-9]]] * (1 if shared else 3)) + np.arange(1 if shared else 3)[:, None, None]
    acc, over = saturated_products(
        Operand(a, 5, 5),
        Operand(w[0] if shared else w, 11, 11),
        np.array([30, -40]),
        Integer(bits=7, signed=True),
    )
    exact = a @ w.transpose(0, 2, 1) + [30, -40]
    assert acc.reshape(exact.shape).tolist() == np.clip(exact, -64, 63).tolist()
    assert over.reshape(exact.shape).tolist() == ((exact < -64) | (exact > 63)).tolist()


def test_shifts_by_all_bits_of_a_term() -> None:
    """2^30 + 5 in 32 bits: 1 after 30 places, nothing after 31; a term of 2^40 is 1 after 40 and −1 is −1 after 62."""
    acc = Integer(bits=4, signed=True)
    codes, shifts = np.array([[[0], [1], [2], [3]]]), np.array([[30, 31, 40, 62, -1]])
    for term, due in (((1 << 30) + 5, [1, 0, 0, 0]), (1 << 40, [7, 7, 1, 0]), (-1, [-1] * 4)):
        sums, _ = saturated_shifts(codes, shifts, np.array([[[term]]]), acc)
        assert sums[0, 0, :, 0].tolist() == due


def test_the_longest_stretch_fits_64_bits() -> None:
    """An accumulator of 62 bits and the sum onto it: (2^63 − 1 − 2^62) / 2^40 terms of 2^40, and one at least."""
    assert next(stretches(1 << 24, 1 << 40)) == slice(0, (1 << 22) - 1)
    assert [part.start for part in stretches(1 << 23, 1 << 40)] == [0, (1 << 22) - 1, (1 << 23) - 2]
    assert next(stretches(1 << 63, 1)) == slice(0, (1 << 62) - 1)
    assert list(stretches(5, 0)) == [slice(0, (1 << 62) - 1)]
    assert list(stretches(2, 1 << 62)) == [slice(0, 1), slice(1, 2)]


def test_a_part_reaches_no_further_than_its_terms() -> None:
    whole = Operand(np.arange(12).reshape(1, 3, 4), 11, 38)
    assert _part(whole, slice(0, 4)) is whole
    assert _part(whole, slice(0, 2)).row_reach == 22
    assert _part(whole, slice(0, 2)).codes.tolist() == [[[0, 1], [4, 5], [8, 9]]]
    assert _part(whole._replace(row_reach=7), slice(0, 2)).row_reach == 7

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
from sim.accumulation import check_overflow, settled, stretches
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

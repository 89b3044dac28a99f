"""Vector steps of kernels: the LLVM instructions against their definitions in Python, which the same names are."""

import inspect
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest

from sim import vectors


def compiled(module: ModuleType) -> tuple[Any, Any]:
    """Kernels that call the two functions of `module`, and nothing else."""
    list_terms, add_terms = module.list_terms, module.add_terms

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def listed(codes, none, steps, parity, longest, stride, offsets, amounts):  # type: ignore[no-untyped-def]
        return list_terms(codes, none, steps, parity, longest, stride, offsets, amounts)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def added(terms, offsets, amounts, count, sums):  # type: ignore[no-untyped-def]
        add_terms(terms, offsets, amounts, count, sums)

    return listed, added


@pytest.fixture(scope="module")
def kernels() -> tuple[Any, Any]:
    return compiled(vectors)


def lists_equal(listed: Any, length: int, steps: int, longest: int) -> bool:
    """Codes of 8 bits with the top one among them, of each parity; nothing is written beyond the lists' room."""
    rng = np.random.default_rng(length)
    codes = rng.integers(0, 256, length).astype(np.int32)
    codes[rng.integers(0, max(length, 1), length // 4)] = 255
    for parity in range(steps):
        scalars = (np.int32(number) for number in (255, steps, parity, longest, 3))
        found = np.full((2, length + vectors.LANES + 1), -7, np.int32)
        count = listed(codes, *scalars, found[0, :-1], found[1, :-1])
        expected = np.zeros_like(found)
        if count != vectors.list_terms(codes, 255, steps, parity, longest, 3, *expected):
            return False
        if not np.array_equal(found[:, :count], expected[:, :count]) or (found[:, -1] != -7).any():
            return False
    return True


def sums_equal(added: Any, kind: type[Any], count: int) -> bool:
    """Every shift, a list filled up with terms that are 0, others before and after; beyond the sums nothing changes."""
    rng, width = np.random.default_rng(count), vectors.WIDTH
    bits = np.iinfo(kind).bits
    terms = rng.integers(-(1 << (bits - 8)), 1 << (bits - 8), 40 * width).astype(kind)
    terms[:width] = 0
    offsets, amounts = np.zeros((2, 1 + count + vectors.UNROLLED), np.int32)
    offsets[[0, -1]] = 5 * width
    offsets, amounts = offsets[1:], amounts[1:]
    offsets[:count], amounts[:count] = rng.integers(1, 39 * width, count), rng.integers(0, bits, count)
    found, expected = np.full((2, width + 1), 5, kind)
    added(terms, offsets, amounts, count, found)
    vectors.add_terms(terms, offsets, amounts, count, expected)
    return np.array_equal(found, expected)


LISTS = [(length, steps, longest) for length in (0, 16, 48) for steps in (1, 2) for longest in (31, 62)]
SUMS = [(kind, count) for kind in (np.int32, np.int64) for count in (0, 1, 3, 4, 5, 8, 50)]


def test_instructions_equal_the_definitions(kernels: tuple[Any, Any]) -> None:
    listed, added = kernels
    assert all(lists_equal(listed, *case) for case in LISTS)
    assert all(sums_equal(added, *case) for case in SUMS)


def test_definitions_on_a_few_numbers() -> None:
    offsets, amounts = np.zeros((2, 8), np.int32)
    assert vectors.list_terms(np.array([0, 1, 2, 255, 5, 7]), 255, 2, 1, 3, 10, offsets, amounts) == 3
    assert (offsets[:3].tolist(), amounts[:3].tolist()) == ([10, 40, 50], [1, 3, 3])
    terms, sums = np.arange(-20, 80), np.empty(vectors.WIDTH, np.int64)
    vectors.add_terms(terms, offsets, amounts, 3, sums)
    assert sums.tolist() == [((n - 10) >> 1) + ((n + 20) >> 3) + ((n + 30) >> 3) for n in range(32)]  # FLOOR


def faulty(old: str, new: str) -> tuple[Any, Any]:
    """The kernels of a module that has `new` where it should have `old`."""
    source, module = inspect.getsource(vectors), ModuleType("faulty")
    assert source.count(old) == 1
    exec(compile(source.replace(old, new), "faulty", "exec"), vars(module))
    return compiled(module)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('icmp_signed("!=", code, none)', 'icmp_signed("==", code, code)'),
        ("builder.and_(code, halves)", "code"),
        ("builder.add(code, halves), halves)", "code, halves)"),
        ("amount, longest), amount, longest)", "amount, longest), amount, amount)"),
        ("list(range(LANES))), first)", "[0] * LANES), first)"),
        ("zext(ones, _INT64)", "zext(builder.sub(ones, ones), _INT64)"),
        ("(amount, of_amounts)", "(offset, of_amounts)"),
    ],
)
def test_planted_faults_in_the_lists_are_seen(old: str, new: str) -> None:
    listed, _ = faulty(old, new)
    assert not all(lists_equal(listed, *case) for case in LISTS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("builder.ashr(term, amount)", "builder.lshr(term, amount)"),
        ("range(UNROLLED):", "range(UNROLLED - 1):"),
        ("builder.add(j, _INT64(place))", "j"),
        ("builder.add(offset, _INT64(start))", "offset"),
        ('icmp_signed("<", following', 'icmp_signed("<=", following'),
        ("[zero] * len(sums)", "[ir.Constant(kind, [1] * kind.count)] * len(sums)"),
        ("of_sums, _INT64(start)", "of_sums, _INT64(0)"),
    ],
)
def test_planted_faults_in_the_sums_are_seen(old: str, new: str) -> None:
    _, added = faulty(old, new)
    assert not all(sums_equal(added, *case) for case in SUMS)

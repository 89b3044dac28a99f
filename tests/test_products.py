"""Matrix products: every arithmetic equals the definition, at the ends of its bounds and not one beyond them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import digits, products
from sim.digits import first_digits, multiply, second_digits, tightened
from sim.products import Operand, centred, fixed
from sim.products_torch import Engine, engines
from sim.unit import Codes

ENGINES = {engine.name: engine for engine in engines()}
INT8, FLOAT32 = ENGINES["int8"], ENGINES["float32"]
Spy = tuple[Engine, list[tuple[tuple[int, ...], tuple[int, ...]]]]


@contextmanager
def only(*chosen: Engine) -> Iterator[None]:
    """These engines, for products of any size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "chosen", lambda: chosen)
        patch.setattr(products, "_WORTH", 0)
        yield


def spied(engine: Engine) -> Spy:
    """The engine, and the shapes of what it will have multiplied."""
    calls: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def multiply(a: Any, w: Any, out: Any) -> None:
        calls.append((a.shape, w.shape))
        engine.multiply(a, w, out)

    return engine._replace(multiply=multiply), calls


def operand(values: Codes, zero_point: int = 0) -> Operand:
    """`values`, as codes of that zero point."""
    codes = values + zero_point
    return centred(codes, (int(codes.min(initial=0)), int(codes.max(initial=0))), zero_point)


def definition(a: Codes, w: Codes, bias: Codes) -> list[Any]:
    """In Python integers, of `[G, M, K]` and `[G or 1, N, K]`."""
    starts = bias.tolist()
    return [
        [
            [b + sum(x * y for x, y in zip(row, column, strict=True)) for column, b in zip(n, starts, strict=True)]
            for row in m
        ]
        for m, n in zip(a.tolist(), (w.tolist() * len(a))[: len(a)], strict=True)
    ]  # fmt: skip


ranges = st.tuples(st.integers(-70000, 70000), st.integers(0, 140000)).map(lambda r: (r[0], r[0] + r[1]))
narrow = st.tuples(st.integers(-300, 300), st.integers(0, 400)).map(lambda r: (r[0], r[0] + r[1]))
tiny = st.tuples(st.integers(-8, 8), st.integers(0, 15)).map(lambda r: (r[0], r[0] + r[1]))
either = st.one_of(tiny, narrow, ranges)
shapes = st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(0, 9), st.integers(0, 70))
"""G, M, N, K."""


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@given(either, either, shapes, st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_engines_and_kernels_equal_the_definition(
    engine: Engine, of_a: Any, of_w: Any, shape: Any, shared: bool, ready: bool, seed: int
) -> None:
    """Up to 18 bits on either side, one row or column, lengths that are no multiple of 4 or 64, and empty ones."""
    groups, m, n, k = shape
    rng = np.random.default_rng(seed)
    a = rng.integers(of_a[0], of_a[1] + 1, (groups, m, k))
    # Ranges that differ from row to row have offsets of their own.
    w = rng.integers(of_w[0], of_w[1] + 1, (1 if shared else groups, n, k)) + 50 * np.arange(n)[:, None]
    bias = rng.integers(-(2**40), 2**40, n)
    expected = definition(a, w, bias)
    for chosen in ((engine,), ()):
        with only(*chosen):
            right = fixed(operand(w)) if ready else operand(w)
            assert products.products(operand(a), right, bias).tolist() == expected


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(
    ("x", "y"),
    [*product((0, 127, 255, -128), (127, -128)), (255, 255), (-255, 255), (65535, -128), (4095, 127)],
)
def test_all_at_the_ends(engine: Engine, x: int, y: int) -> None:
    """Where additions of pairs in 16 bits would saturate."""
    with only(engine):
        for m, n, k in ((1, 1, 768), (5, 1, 2), (1, 9, 64), (40, 33, 129)):
            a, w = np.full((1, m, k), x), np.full((1, n, k), y)
            acc = products.products(operand(a), operand(w), np.zeros(n, np.int64))
            assert (acc == k * x * y).all()


@pytest.mark.parametrize(
    ("x", "y", "most"), [(255, -128, (2**31 - 1) // (255 * 128)), (-128, -128, 2**17 - 1)]
)
def test_int8_up_to_the_last_sum_of_32_bits(x: int, y: int, most: int) -> None:
    """2^17 products of 2^14 are 2^31, one more than fits."""
    for k, times in ((most, 1), (most + 1, 0)):
        engine, calls = spied(INT8)
        a, w = np.full((1, 1, k), x), np.full((1, 1, k), y)
        with only(engine):
            acc = products.products(operand(a), operand(w), np.zeros(1, np.int64))
        assert acc.item() == k * x * y
        assert len(calls) == times


def test_float32_up_to_the_last_sum_of_24_bits() -> None:
    """2^12 products of 2^12 are 2^24, which float32 still holds; the next takes digits, and from 2^24 on the kernel."""
    for k, x, shape in ((4096, 4096, (1, 4096)), (4097, 4096, (2, 4097))):
        engine, calls = spied(FLOAT32)
        with only(engine):
            a, w = np.full((1, 1, k), x), np.ones((1, 1, k), np.int64)
            a[..., 0] = 0  # codes that are all the same need no digits but an offset
            assert products.products(operand(a), operand(w), np.zeros(1, np.int64)).item() == (k - 1) * x
        assert [left for left, _ in calls] == [shape]
    for k, times in ((514, 1), (515, 0)):  # 514 · 255 · 128 = 2^24 − 256
        engine, calls = spied(FLOAT32)
        with only(engine):
            a, w = np.full((1, 1, k), 255), np.full((1, 1, k), -128)
            assert products.products(operand(a), operand(w), np.zeros(1, np.int64)).item() == -k * 255 * 128
        assert len(calls) == times


def test_bounds_that_are_one_too_high_are_seen() -> None:
    """2^31 wraps, and 2^24 + 1 is none of float32's. The trial of int8's shape would see it, too."""
    a, w = np.full((1, 1, 1 << 17), -128), np.full((1, 1, 1 << 17), -128)
    with only(INT8._replace(limit=1 << 31, exact=lambda kind, shape: True)):
        assert products.products(operand(a), operand(w), np.zeros(1, np.int64)).item() == -(2**31)
    a, w = np.array([[[8191, 1]]]), np.array([[[2048, 2049]]])
    with only(FLOAT32._replace(limit=1 << 26)):
        wrong = products.products(operand(a), operand(w), np.zeros(1, np.int64)).item()
    assert wrong != 8191 * 2048 + 2049


@pytest.mark.parametrize(
    ("kernel", "old", "new"),
    [
        ("_split", "- offset + half", "- offset + half + 1"),
        ("_split", "- offset + half", "+ half"),
        ("_split", "& 255) - less", "& 255)"),
        ("_split", "8 * d", "8 * (d + 1)"),
        ("_split", "np.int64(line[k]) - offset\n", "np.int64(line[k])\n"),
        ("_join", "total[n] = lowest[n] + one * factor[n] +", "total[n] = lowest[n] +"),
        (
            "_join",
            "total[n] = lowest[n] + one * factor[n] + column[n]",
            "total[n] = lowest[n] + one * factor[n]",
        ),
        ("_join", "range(1, high * wide)", "range(1, high)"),
        ("_join", "d // wide + d % wide", "d // wide"),
        ("_join", "m, d % wide]", "m, 0]"),
        ("_join", "group % len(factors)", "0"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, kernel: str, old: str, new: str) -> None:
    """Two digits on both sides, offsets on both sides, one for each row of the second, two groups."""
    rng = np.random.default_rng(1)
    a = rng.integers(-40000, 20000, (2, 3, 7))
    w = rng.integers(-20000, 20000, (2, 5, 7)) + rng.integers(-(10**6), 10**6, (2, 5, 1))
    bias = rng.integers(-99, 99, 5)
    mutate(digits, kernel, old, new)
    try:
        with only(INT8):
            acc = products.products(operand(a), operand(w), bias).tolist()
    except OverflowError:
        acc = None  # a digit beyond its type
    assert acc != definition(a, w, bias)


def test_as_few_digits_as_hold_the_integers() -> None:
    def parts(split: Callable[[Any], Any], *codes: list[int]) -> tuple[int, str, list[int]]:
        found = split(np.array([codes]))
        return found.parts.shape[1], str(found.parts.dtype), found.offsets[0].tolist()

    assert parts(first_digits, [0, 255]) == (1, "uint8", [0])
    assert parts(first_digits, [-128, 127]) == (1, "int8", [0])
    assert parts(first_digits, [-126, 129]) == (1, "uint8", [-126])
    assert parts(first_digits, [-127, 129]) == (2, "int8", [0])
    assert parts(first_digits, [0, 65535]) == (2, "uint8", [0])
    assert parts(first_digits, [0, 127]) == (1, "uint8", [0])
    assert parts(first_digits, [-1, 5]) == (1, "int8", [0])
    assert parts(first_digits, [-129, 100]) == (1, "uint8", [-129])
    assert parts(first_digits, [-100, 128]) == (1, "uint8", [-100])
    assert parts(first_digits, [-1, 200]) == (1, "uint8", [-1])
    assert parts(first_digits, [1, 256]) == (1, "uint8", [1])
    assert parts(second_digits, [0, 255]) == (1, "int8", [128])
    assert parts(second_digits, [-128, 127]) == (1, "int8", [0])
    assert parts(second_digits, [-32896, 32639]) == (2, "int8", [0])
    assert parts(second_digits, [-32897, 32638]) == (2, "int8", [-1])
    # Weights with zero points of their own: 510 codes in all, 256 in a row.
    assert parts(second_digits, [-255, 0], [0, 255], [-128, 127]) == (1, "int8", [-127, 128, 0])
    assert parts(second_digits, [-100, 127]) == (1, "int8", [0])
    assert parts(second_digits, [-100, 128]) == (1, "int8", [28])
    assert parts(second_digits, [0, 300], [10**6, 10**6 + 5]) == (2, "int8", [0, 10**6 + 32896])
    # Of no fewer digits with offsets of their own, so one serves all; the second would need none.
    assert parts(second_digits, [-32800, 32640], [-32800, 32639]) == (2, "int8", [96, 96])
    assert second_digits(np.array([[[-(2**55), 2**55]]])) is None


def test_reaches_of_digits() -> None:
    found = second_digits(np.array([[[1, -2, 3], [4, 5, -6]], [[0, 0, 1], [-1, 0, 0]]]))
    assert found is not None
    assert (found.reach, found.row_reach) == (6, 18)
    assert tightened(found).row_reach == 15


def test_an_engine_is_asked_about_the_product_that_it_gets() -> None:
    """Two digits of three rows, three digits of four columns, five terms."""
    asked = []

    def exact(kind: Any, shape: tuple[int, int, int]) -> bool:
        asked.append(shape)
        return True

    a, w = (
        first_digits(np.full((1, 3, 5), 1) * [0, 1, 256, 3, 65535]),
        second_digits(np.eye(5)[None, :4].astype(int) * 10**6),
    )
    assert a is not None
    assert w is not None
    assert multiply(INT8._replace(exact=exact), a, w, np.zeros(4, np.int64), np.empty((1, 3, 4), np.int64))
    assert asked == [(2 * 3, 3 * 4, 5)]


def test_sums_of_31_bits_take_the_wide_kernel() -> None:
    """Eight products of 2^28 are 2^31, which int32 does not hold."""
    a = np.full((1, 17, 8), 1 << 14)
    with only():
        acc = products.products(fixed(operand(a)), fixed(operand(a[:, :1])), np.zeros(1, np.int64))
    assert (acc == 1 << 31).all()


@pytest.mark.parametrize(("bias", "kind"), [(115, np.int8), (116, np.int64), (-116, np.int64)])
def test_results_of_a_type_that_holds_them(bias: int, kind: Any) -> None:
    """3 · 4 and a bias: 127 fits int8, 128 does not, and the bound knows no signs."""
    with only():
        acc = products.products(
            operand(np.array([[[3]]])), operand(np.array([[[4]]])), np.array([bias]), np.int8
        )
    assert acc.dtype == kind
    assert acc.item() == 12 + bias


def test_every_row_of_the_narrow_kernel() -> None:
    """Blocks of eight rows: full ones, and one that is not."""
    rng = np.random.default_rng(4)
    for rows in (7, 8, 9, 16, 23, 24):
        a, w = rng.integers(-9, 9, (2, rows, 3)), rng.integers(-9, 9, (2, 2, 3))
        with only():
            acc = products.products(operand(a), operand(w), np.array([5, -5]))
        assert acc.tolist() == definition(a, w, np.array([5, -5]))


def test_wide_operands_take_the_kernel() -> None:
    """Seven digits are more passes than they are worth."""
    engine, calls = spied(INT8)
    a, w = np.array([[[2**50, -(2**50), 3]]]), np.array([[[1, 2, 3]]])
    with only(engine):
        assert products.products(operand(a), operand(w), np.zeros(1, np.int64)).item() == 9 - 2**50
    assert not calls

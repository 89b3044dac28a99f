"""Accumulators that wrap or saturate: every unit against plain Python."""

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from golden.errors import InvariantError
from golden.lowering.accumulators import UNITS
from golden.overflow import overflowed
from golden.units import log2_mac, mac

MODES = ("wrap", "saturate")


def held(x: int, bits: int, mode: str) -> int:
    """What an accumulator makes of one sum."""
    top = 1 << (bits - 1)
    return (x + top) % (2 * top) - top if mode == "wrap" else min(max(x, -top), top - 1)


def hardware(start: int, terms: Iterable[int], bits: int, mode: str) -> tuple[int, bool]:
    """(accumulator, whether some sum did not fit), one term after the other."""
    acc = held(start, bits, mode)
    over = acc != start
    for term in terms:
        exact = acc + term
        acc = held(exact, bits, mode)
        over |= acc != exact
    return acc, over


def dot(a: list[int], w: list[int], bias: int, bits: int, overflow: str) -> tuple[int, bool]:
    """The mac unit on one row and one column of 8-bit integers."""
    operands = {"a": torch.tensor([a]), "w": torch.tensor([w]), "bias": torch.tensor([bias])}
    settings: dict[str, Any] = {"a_zero_point": 0, "w_zero_point": 0, "acc_bits": bits}
    acc = mac.golden(**operands, **settings, overflow=overflow)
    return int(acc), bool(overflowed("mac", operands, settings | {"overflow": overflow}))


@pytest.mark.parametrize(
    ("w", "bias", "wrapped", "saturated", "over"),
    [
        # 100, 200, 180: wraps to 180 - 256; saturates at 127 after two terms; saturated at the end it were 127.
        ([100, 100, -20], 0, -76, 107, True),
        # 100, 200, 50: the sum fits, yet one on the way does not.
        ([100, 100, -150], 0, 50, -23, True),
        # The same terms in the order 100, -150, 100: nothing ever leaves.
        ([100, -150, 100], 0, 50, 50, False),
        # The bias alone: 300 - 256 - 100, and 127 - 100.
        ([-100, 0, 0], 300, -56, 27, True),
        ([-200, 0, 0], 300, 100, -73, True),
        ([-100, -28, 0], 0, -128, -128, False),
        ([-100, -29, 0], 0, 127, -128, True),
        ([100, 27, 0], 0, 127, 127, False),
        ([100, 28, 0], 0, -128, 127, True),
    ],
)
def test_sums_worked_by_hand(w: list[int], bias: int, wrapped: int, saturated: int, over: bool) -> None:
    assert dot([1, 1, 1], w, bias, 8, "wrap") == (wrapped, over)
    assert dot([1, 1, 1], w, bias, 8, "saturate") == (saturated, over)


def test_two_accumulators_and_their_joint_worked_by_hand() -> None:
    """Base √2, no fraction bits, 8 bits: code 0 is 1, code 1 is √2 / 2 (a shift by 1 into the odd accumulator)."""

    def mix(codes: list[int], w: list[int], mode: str) -> tuple[int, bool]:
        operands = {"a": torch.tensor([codes]), "w": torch.tensor([[value] for value in w])}
        settings: dict[str, Any] = {"code_bits": 2, "steps_per_octave": 2, "frac_bits": 0, "w_zero_point": 0}
        settings |= {"acc_bits": 8, "overflow": mode}
        return int(log2_mac.golden(**operands, **settings)), bool(overflowed("log2_mac", operands, settings))

    # E = 100, O = 100: 100 + round(141.42) = 241 fits neither, though both accumulators do.
    assert mix([0, 1], [100, 200], "wrap") == (241 - 256, True)
    assert mix([0, 1], [100, 200], "saturate") == (127, True)
    # O = 150: -106, or 127; E = -100 comes to it: -100 - 150, and -100 + round(179.6).
    assert mix([0, 1], [-100, 300], "wrap") == (-250 + 256, True)
    assert mix([0, 1], [-100, 300], "saturate") == (80, True)
    # E passes 127 and comes back; the odd terms between do not count there.
    assert mix([0, 1, 0], [100, -100, 27], "wrap") == (127 - 71, False)
    assert mix([0, 0, 0], [100, 28, -28], "saturate") == (99, True)
    assert mix([3, 0], [10_000, 5], "saturate") == (5, False)


def test_without_the_parameter_a_wide_sum_is_a_broken_invariant() -> None:
    assert dot([1, 1, 1], [100, 100, -150], 0, 8, "none")[0] == 50
    with pytest.raises(InvariantError, match=r"mac accumulator spans \[180, 180\], outside s8"):
        dot([1, 1, 1], [100, 100, -20], 0, 8, "none")
    with pytest.raises(InvariantError, match="overflow is none, wrap or saturate, not 'clip'"):
        dot([1, 1, 1], [1, 1, 1], 0, 8, "clip")


@pytest.mark.parametrize("mode", ["none", *MODES])
def test_sums_beyond_int64_are_refused(mode: str) -> None:
    with pytest.raises(InvariantError, match="not exact in int64"):
        dot([1 << 30] * 4, [1 << 30] * 4, 0, 62, mode)
    operands = (torch.tensor([[1]]), torch.tensor([[1 << 50]]))
    settings: dict[str, Any] = {"code_bits": 2, "steps_per_octave": 2, "w_zero_point": 0, "acc_bits": 62}
    with pytest.raises(InvariantError, match="times √2 is not exact in int64"):
        log2_mac.golden(*operands, frac_bits=0, **settings, overflow=mode)
    with pytest.raises(InvariantError, match="with 13 fraction bits is not exact"):
        log2_mac.golden(*operands, frac_bits=13, **settings, overflow=mode)


SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6))


def matrix(draw: st.DrawFn, rows: int, columns: int, low: int, high: int) -> list[list[int]]:
    row = st.lists(st.integers(low, high), min_size=columns, max_size=columns)
    return draw(st.lists(row, min_size=rows, max_size=rows))


@st.composite
def cases(draw: st.DrawFn, unit: str) -> tuple[dict[str, Any], dict[str, Any], list[list[Any]]]:
    """Operands, parameters, and per output (terms of E, terms of O) as docs/datapath.md states them."""
    m, n, k = draw(SIZES)
    zero, w = draw(st.integers(-3, 9)), matrix(draw, n, k, -8, 15)
    settings: dict[str, Any] = {"w_zero_point": zero}
    decode: Callable[[int], int]
    if unit == "mac":
        a_zero = draw(st.integers(-3, 9))
        a, decode = matrix(draw, m, k, 0, 15), lambda code: code - a_zero
        settings["a_zero_point"] = a_zero
    elif unit == "two_scale_mac":
        shift, signed = draw(st.integers(1, 3)), draw(st.booleans())
        a = matrix(draw, m, k, 0, 15)
        decode = lambda code: (code & 7) << shift if code >> 3 else -code if signed else code  # noqa: E731
        settings |= {"code_bits": 4, "shift": shift, "signed_regions": signed}
    elif unit == "table_mac":
        table = draw(st.lists(st.integers(0, 31), min_size=8, max_size=8))
        a, decode = matrix(draw, m, k, 0, 7), table.__getitem__
        settings |= {"code_bits": 3, "entry_bits": 5, "table": table}
    elif unit == "outlier_mac":
        words = 3
        a = matrix(draw, m, words, 0, 8 * k - 1)
        settings = {"value_bits": 3, "index_bits": max(1, (k - 1).bit_length())}
        value = lambda word: (word & 7) - 8 * (word >> 2 & 1)  # noqa: E731
        terms = [[([value(x) * w[j][x >> 3] for x in a[i]], []) for j in range(n)] for i in range(m)]
        return {"a": a, "w": w}, settings, terms
    else:
        steps, frac = draw(st.sampled_from([1, 2])), draw(st.integers(0, 3))
        a = matrix(draw, m, k, 0, 7)
        settings |= {"code_bits": 3, "steps_per_octave": steps, "frac_bits": frac}

        def log_terms(i: int, j: int, odd: int) -> list[int]:
            pairs = [(a[i][x], w[j][x] - zero) for x in range(k) if a[i][x] < 7]
            return [(v << frac) >> -(-c // steps) for c, v in pairs if (c % steps) == odd]

        terms = [[(log_terms(i, j, 0), log_terms(i, j, 1)) for j in range(n)] for i in range(m)]
        return {"a": a, "w": [list(column) for column in zip(*w, strict=True)]}, settings, terms
    terms = [
        [([decode(a[i][x]) * (w[j][x] - zero) for x in range(k)], []) for j in range(n)] for i in range(m)
    ]
    return {"a": a, "w": w}, settings, terms


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("unit", sorted(UNITS))
@given(data=st.data(), bits=st.integers(3, 10))
def test_units_do_what_plain_python_does(unit: str, mode: str, data: st.DataObject, bits: int) -> None:
    operands, settings, terms = data.draw(cases(unit))
    columns = len(terms[0])
    bias = [0] * columns
    if unit != "log2_mac" and data.draw(st.booleans()):
        bias = data.draw(st.lists(st.integers(-700, 700), min_size=columns, max_size=columns))
        operands["bias"] = bias
    expected: list[list[tuple[int, bool]]] = []
    for row in terms:
        expected.append([])
        for start, (e, o) in zip(bias, row, strict=True):
            (even, over_even), (odd, over_odd) = (hardware(s, t, bits, mode) for s, t in ((start, e), (0, o)))
            joined = even + (odd * 46341 + (1 << 14) >> 15)
            acc = held(joined, bits, mode)
            expected[-1].append((acc, over_even or over_odd or acc != joined))
    # A leading axis, as of batch and heads; weights stay constant where the unit knows no others.
    tensors = {port: torch.tensor(values) for port, values in operands.items()}
    tensors["a"] = tensors["a"].expand(2, -1, -1)
    settings |= {"acc_bits": bits, "overflow": mode}
    golden: Callable[..., Tensor] = importlib.import_module(f"golden.units.{unit}").golden
    for found, which in ((golden(**tensors, **settings), 0), (overflowed(unit, tensors, settings), 1)):
        assert found.tolist() == [[[output[which] for output in row] for row in expected]] * 2

"""mac: hand-worked sums, the definition in Python integers, refused operands, streams and cycles."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from sim import products
from sim.unit import Beats
from sim.units.mac import Mac
from tests.units.mac_sample import FORMATS, random_operands, unit


def definition(spec: Mac, a: Any, w: Any, bias: Any) -> list[list[int]]:
    """docs/datapath.md, mac, for one matrix product."""
    za, zw = spec.a_zero_point, spec.w_zero_point
    return [
        [
            b + sum((x - za) * (y - zw) for x, y in zip(row, column, strict=True))
            for column, b in zip(w, bias, strict=True)
        ]
        for row in a
    ]


def test_hand_worked() -> None:
    # (5 − 3)·(2 − 1) + (0 − 3)·(−4 − 1) + 10 = 2 + 15 + 10
    spec = unit(a_zero_point=3, w_zero_point=1)
    acc = spec.compute(a=np.array([[5, 0]]), w=np.array([[2, -4]]), bias=np.array([10]))
    assert acc.tolist() == [[27]]


@given(FORMATS, FORMATS, st.integers(-40000, 40000), st.integers(-300, 300), st.tuples(*[st.integers(1, 19)] * 3),
       st.integers(0, 2**32))  # fmt: skip
def test_equals_definition(
    a_format: Integer, w_format: Integer, za: int, zw: int, shape: tuple[int, int, int], seed: int
) -> None:
    """Formats on both sides of 16 bits and sums on both sides of 32 take both kernels."""
    spec = unit(a_format=a_format, w_format=w_format, a_zero_point=za, w_zero_point=zw, acc_bits=62)
    a, w, bias = random_operands(spec, np.random.default_rng(seed), *shape)
    expected = definition(spec, a.tolist(), w.tolist(), bias.tolist())
    assert spec.compute(a=a, w=w, bias=bias).tolist() == expected
    assert spec.compute(a=a, w=spec.prepare("w", w), bias=bias).tolist() == expected


@pytest.mark.parametrize(("reach", "kernel"), [(32767, "narrow"), (32768, "wide")])
def test_largest_products_of_either_kernel(reach: int, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 · 32767² < 2^31 is the last sum of int16 operands in int32; one more code needs int64."""
    other = "_wide_products" if kernel == "narrow" else "_narrow_products"
    monkeypatch.setattr(products, other, None)
    wide = Integer(bits=17, signed=True)
    codes = np.array([[reach, -reach]])
    acc = unit(a_format=wide, w_format=wide, acc_bits=40).compute(a=codes, w=codes)
    assert acc.tolist() == [[2 * reach * reach]]


@pytest.mark.parametrize("code", [-32769, -32768, 32767, 32768])
def test_codes_around_the_ends_of_int16(code: int) -> None:
    """The sum fits int32 in any case, the code does not fit int16."""
    spec = unit(a_format=Integer(bits=17, signed=True))
    assert spec.compute(a=np.array([[code]]), w=np.array([[1]])).item() == code


def test_int32_bound_is_exact_at_the_edge() -> None:
    """Two products of 32767² fit int32, three and four must not wrap."""
    wide = Integer(bits=16, signed=True)
    spec = unit(a_format=wide, w_format=wide, acc_bits=40)
    for k in (2, 3, 4):
        codes = np.full((1, k), 32767)
        assert spec.compute(a=codes, w=codes).tolist() == [[k * 32767**2]]


def test_batched_operands_and_any_memory_order() -> None:
    spec, rng = unit(a_zero_point=100, w_zero_point=-3), np.random.default_rng(3)
    a = rng.integers(0, 256, (7, 2, 3, 5)).transpose(1, 2, 3, 0)
    w = rng.integers(-8, 8, (4, 7, 2, 3)).transpose(2, 3, 0, 1)
    acc = spec.compute(a=a, w=w)
    assert acc.shape == (2, 3, 5, 4)
    for b in range(2):
        for h in range(3):
            assert acc[b, h].tolist() == definition(spec, a[b, h].tolist(), w[b, h].tolist(), [0] * 4)
            assert np.array_equal(spec.compute(a=a[b, h], w=w[b, h]), acc[b, h])


@pytest.mark.parametrize(
    ("kernel", "old", "new"),
    [
        ("_narrow_products", "range(depth)", "range(1, depth)"),
        ("_narrow_products", "bias[n] + np.int64(total)", "np.int64(total)"),
        ("_narrow_products", "weights[n, k]", "weights[n, k - 1]"),
        ("_narrow_products", "np.int32(weights", "np.int8(weights"),
        ("_narrow_products", "start + 8", "start + 7"),
        ("_wide_products", "range(depth)", "range(depth - 1)"),
        ("_wide_products", "total = bias[n]", "total = 0"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, kernel: str, old: str, new: str) -> None:
    bits = 20 if kernel == "_wide_products" else 10
    spec = unit(
        a_format=Integer(bits=bits, signed=False), w_format=Integer(bits=10, signed=True), acc_bits=40
    )
    a, w, bias = random_operands(spec, np.random.default_rng(4), 9, 3, 6)
    expected = definition(spec, a.tolist(), w.tolist(), bias.tolist())
    mutate(products, kernel, old, new)
    try:
        acc = spec.compute(a=a, w=w, bias=bias).tolist()
    except InvariantError:
        acc = None  # rows that were never written hold anything, and the range check may be first to say so
    assert acc != expected


@pytest.mark.parametrize("bit", range(4))
def test_every_weight_bit_counts(bit: int) -> None:
    spec = unit(w_format=Integer(bits=4, signed=False))
    a, w, bias = random_operands(spec, np.random.default_rng(5), 2, 2, 6)
    a[:, 3] |= 1
    flipped = w.copy()
    flipped[1, 3] ^= 1 << bit
    assert not np.array_equal(spec.compute(a=a, w=flipped, bias=bias), spec.compute(a=a, w=w, bias=bias))


def test_operands_outside_their_format_raise() -> None:
    with pytest.raises(InvariantError, match=r"mac operand a spans \[256, 256\], outside u8"):
        unit().compute(a=np.array([[256]]), w=np.array([[1]]))
    with pytest.raises(InvariantError, match="mac operand w"):
        unit().compute(a=np.array([[1]]), w=np.array([[8]]))
    with pytest.raises(InvariantError, match="must hold integers, not float64"):
        unit().compute(a=np.array([[1.0]]), w=np.array([[1]]))
    with pytest.raises(InvariantError, match="length 2, not 3"):
        unit().compute(a=np.ones((1, 3), np.int64), w=np.ones((1, 2), np.int64))
    with pytest.raises(InvariantError, match="leading axes"):
        unit().compute(a=np.ones((2, 1, 3), np.int64), w=np.ones((3, 1, 3), np.int64))


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"acc_bits must be in \[1, 62\], not 63"):
        unit(acc_bits=63)
    with pytest.raises(ValueError, match="overflow must be one of none, wrap, saturate, not 'clip'"):
        unit(overflow="clip")
    with pytest.raises(ValueError, match="exceeds 62 bits"):
        unit(a_format=Integer(bits=32, signed=True), w_format=Integer(bits=32, signed=True))


def test_streams_agree_with_whole_tensors() -> None:
    spec, rng = unit(a_zero_point=7, w_zero_point=-2), np.random.default_rng(6)
    lengths = [3, 1, 5]
    last = np.zeros(9, np.bool_)
    last[[2, 3, 8]] = True
    a, w = rng.integers(0, 256, 9), rng.integers(-8, 8, 9)
    bias = np.array([5, -6, 7])
    streams = {
        "a": Beats(a[:, None], last),
        "w": Beats(w[:, None], last),
        "bias": Beats(bias[:, None], np.ones(3, np.bool_)),
    }
    out = spec.run(**streams)["o"]
    stops = np.cumsum(lengths)
    expected = [
        definition(spec, [a[s - n : s].tolist()], [w[s - n : s].tolist()], [b])[0][0]
        for s, n, b in zip(stops, lengths, bias.tolist(), strict=True)
    ]
    assert out.codes[:, 0].tolist() == expected
    timing = spec.timing(**streams)
    assert {name: cycles.tolist() for name, cycles in timing.items()} == {
        "a": list(range(9)), "w": list(range(9)), "bias": [0, 3, 4], "o": [n + spec.latency for n in (2, 3, 8)],
    }  # fmt: skip


@given(st.integers(1, 9), st.integers(1, 9))
def test_cycles_are_those_of_the_last_handshake(rows: int, length: int) -> None:
    spec = unit()
    beats = Beats(np.zeros((rows * length, 1), np.int64), np.arange(1, rows * length + 1) % length == 0)
    bias = Beats(np.zeros((rows, 1), np.int64), np.ones(rows, np.bool_))
    assert spec.cycles(rows, length) == spec.timing(a=beats, w=beats, bias=bias)["o"][-1] + 1


def test_weights_are_prepared_and_other_operands_are_not() -> None:
    spec, codes = unit(), np.array([[1, 2]])
    assert spec.prepare("a", codes) is codes
    assert isinstance(spec.prepare("w", codes), products.Operand)

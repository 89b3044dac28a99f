"""log2_mac: hand-worked sums, the definition in Python integers, real mathematics, its kernels, streams, cycles."""

from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from sim import log2_products
from sim.log2_products import Weights, joined_sums, weights
from sim.unit import Beats
from sim.units import log2_mac
from sim.units.log2_mac import Log2Mac
from tests.units.log2_mac_sample import random_operands, unit


def definition(spec: Log2Mac, a: Any, w: Any) -> list[list[int]]:
    """docs/datapath.md, log2_mac, for one matrix product."""
    acc = []
    for row in a:
        acc.append([])
        for n in range(len(w[0])):
            sums = [0, 0]
            for k, code in enumerate(row):
                if code == 2**spec.code_bits - 1:
                    continue
                shift = min(-(-code // spec.steps_per_octave), 62)
                odd = code % 2 if spec.steps_per_octave == 2 else 0
                sums[odd] += ((w[k][n] - spec.w_zero_point) << spec.frac_bits) >> shift
            acc[-1].append(sums[0] + ((sums[1] * 46341 + (1 << 14)) >> 15))
    return acc


def test_hand_worked_base_2() -> None:
    # F = 2, zero point 3: codes 0, 1, 3 and the top code 15 on w − 3 = 4, −3, −3, 100:
    # (4 << 2) >> 0 = 16;  (−3 << 2) >> 1 = −6;  (−3 << 2) >> 3 = −12 / 8 → FLOOR −2;  zero. Sum 8.
    spec = unit(frac_bits=2, w_zero_point=3)
    acc = spec.compute(a=np.array([[0, 1, 3, 15]]), w=np.array([[7], [0], [0], [103]]))
    assert acc.tolist() == [[8]]


def test_hand_worked_base_sqrt2() -> None:
    # F = 4. Code 2: shift 1, even: (10 << 4) >> 1 = 80. Code 1: shift 1, odd: (3 << 4) >> 1 = 24.
    # Code 3: shift 2, odd: (5 << 4) >> 2 = 20. O = 44: 44 · 46341 = 2 039 004; + 16 384 = 2 055 388; >> 15 = 62.
    # Sum 142.
    spec = unit(steps_per_octave=2, frac_bits=4)
    assert spec.compute(a=np.array([[2, 1, 3]]), w=np.array([[10], [3], [5]])).tolist() == [[142]]


@given(st.integers(2, 8), st.sampled_from([1, 2]), st.integers(0, 30),
       st.builds(Integer, bits=st.integers(1, 12), signed=st.booleans()), st.integers(-3000, 3000),
       st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**32))  # fmt: skip
def test_equals_definition(
    code_bits: int, steps: int, frac_bits: int, w_format: Integer, zero_point: int, shape: tuple[int, int, int],
    seed: int,
) -> None:  # fmt: skip
    """Sums on both sides of 32 bits, K that are and are not multiples of four."""
    if frac_bits + max(w_format.bits, 13) + 17 * (steps == 2) > 60:
        frac_bits -= 17
    spec = unit(code_bits=code_bits, steps_per_octave=steps, frac_bits=frac_bits, w_format=w_format,
                w_zero_point=zero_point, acc_bits=62)  # fmt: skip
    a, w = random_operands(spec, np.random.default_rng(seed), *shape)
    assert spec.compute(a=a, w=w).tolist() == definition(spec, a.tolist(), w.tolist())


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("code_bits", [2, 3, 4, 8])
def test_every_code(code_bits: int, steps: int) -> None:
    """All codes against both signs; 8 bits shift by up to 254, which counts as 62."""
    spec = unit(code_bits=code_bits, steps_per_octave=steps, frac_bits=16, w_zero_point=128)
    a = np.arange(1 << code_bits)[:, None]
    w = np.array([[0, 127, 128, 129, 255]])
    assert spec.compute(a=a, w=w).tolist() == definition(spec, a.tolist(), w.tolist())


@pytest.mark.parametrize("code", [29, 30, 31, 32, 254])
def test_shifts_beyond_int32(code: int) -> None:
    """±2^30 is summed in int32, where a shift by 31 must stand for all longer ones; −1 stays −1."""
    spec = unit(code_bits=8, frac_bits=30, w_format=Integer(bits=2, signed=True))
    for w in (1, -1):
        assert spec.compute(a=np.array([[code]]), w=np.array([[w]])).item() == (w << 30) >> min(code, 62)


@pytest.mark.parametrize("steps", [1, 2])
def test_close_to_real_mathematics(steps: int) -> None:
    """With F large enough a term is exact, so only √2 in 15 bits and one rounding remain."""
    frac_bits = -(-14 // steps)
    spec = unit(steps_per_octave=steps, frac_bits=frac_bits)
    a, w = random_operands(spec, np.random.default_rng(7), 5, 50, 3)
    weights = np.where(a == 15, 0.0, 2.0 ** (-a / steps))
    error = spec.compute(a=a, w=w) / 2.0**frac_bits - weights @ w
    assert np.abs(error).max() <= (
        0 if steps == 1 else 50 * 255 * abs(46341 / 2**15 - sqrt(2)) + 2.0**-frac_bits
    )


def test_batched_operands_and_any_memory_order() -> None:
    spec, rng = unit(steps_per_octave=2), np.random.default_rng(3)
    a = rng.integers(0, 16, (7, 2, 3, 5)).transpose(1, 2, 3, 0)
    w = rng.integers(0, 256, (4, 2, 3, 7)).transpose(1, 2, 3, 0)
    acc = spec.compute(a=a, w=w)
    for b in range(2):
        for h in range(3):
            assert acc[b, h].tolist() == definition(spec, a[b, h].tolist(), w[b, h].tolist())


def kernels_result(spec: Log2Mac) -> tuple[Any, Any]:
    """Two products of a spec by whatever kernel is in place, and what they must be."""
    pairs = [random_operands(spec, np.random.default_rng(seed), 11, 19, 40) for seed in (8, 9)]
    a, w = (np.stack(operands) for operands in zip(*pairs, strict=True))
    return spec.compute(a=a, w=w).tolist(), [definition(spec, *(x.tolist() for x in pair)) for pair in pairs]


def planted(mutate: Any, kernel: str, old: str, new: str) -> None:
    """One part of the kernel changed; what calls it was compiled with the part as it was, so it runs as Python."""
    mutate(log2_products, kernel, old, new)
    if kernel != "_joined_sums":
        mutate(log2_products, "_joined_sums", "for group", "for group")


@pytest.mark.parametrize(
    ("kernel", "old", "new"),
    [
        ("_lay_out", "(some[n]) << frac_bits", "(some[n]) << (frac_bits - 1)"),
        ("_lay_out", "some[n]", "some[0]"),
        ("_lay_out", "terms[block, k]", "terms[0, k]"),
        ("_lay_out", "range(len(weights))", "range(len(weights) - 1)"),
        ("_joined_sums", "_lay_out(w[group]", "_lay_out(w[0]"),
        ("_joined_sums", "codes[group, first + m]", "codes[group, m]"),
        ("_joined_sums", "codes[group, first + m]", "codes[0, first + m]"),
        ("_joined_sums", "min(rows - first, _ROWS)", "min(rows - first, _ROWS - 1)"),
        ("_joined_sums", "range(0, rows, _ROWS)", "range(0, rows - _ROWS, _ROWS)"),
        ("_joined_sums", "terms[block]", "terms[0]"),
        ("_joined_sums", "sums[m, 0], sums[m, 1], root", "sums[m, 1], sums[m, 0], root"),
        ("_list_row", "range(steps)", "range(1)"),
        ("_list_row", "np.int32(none)", "np.int32(none - 1)"),
        ("_list_row", "counts[parity] = listed", "counts[parity] = listed - 1"),
        ("_join_row", " + rounded", ""),
        ("_join_row", "(times >> root_frac_bits) * root", "times * root"),
        ("_join_row", "* root + half)", "* root)"),
        ("_join_row", "range(out.size)", "range(out.size - 1)"),
    ],
)
def test_planted_faults_in_the_kernel_are_seen(mutate: Any, kernel: str, old: str, new: str) -> None:
    spec = unit(steps_per_octave=2)
    found, expected = kernels_result(spec)
    assert found == expected
    planted(mutate, kernel, old, new)
    try:
        found, _ = kernels_result(spec)
    except (InvariantError, ValueError):  # beyond the accumulator, or a list of more terms than there are
        return
    assert found != expected


@pytest.mark.parametrize(("old", "new"), [("max(high, joined)", "high"), ("min(low, joined)", "low")])
def test_planted_faults_in_the_ends_are_seen(mutate: Any, old: str, new: str) -> None:
    """The smallest and the largest sum decide what is refused."""
    w = Weights(np.array([[[3, -5, 200, 7]]]), 200, (1, 1, 4), 0)
    codes, acc = np.zeros((1, 1, 1), np.int64), np.empty((1, 1, 4), np.int64)
    root = {"none": 15, "steps": 1, "root": 1, "root_frac_bits": 0}
    assert joined_sums(codes, w, acc, **root) == (-5, 200)
    assert joined_sums(codes[:, :0], w, acc[:, :0], **root) == (0, 0)
    planted(mutate, "_join_row", old, new)
    assert joined_sums(codes, w, acc, **root) != (-5, 200)


def test_lists_are_filled_up_with_nothing() -> None:
    """Any number of terms of either parity, the first and the last k among them, in the compiled kernel."""
    spec = unit(steps_per_octave=2)
    w = np.random.default_rng(2).integers(1, 256, (20, 3))
    for count in range(21):
        a = np.full((2, 20), spec.zero_code)
        a[0, :count], a[1, 20 - count :] = 2, 3
        assert spec.compute(a=a, w=w).tolist() == definition(spec, a.tolist(), w.tolist())


@pytest.mark.parametrize("beyond", [0, 1])
def test_int32_up_to_its_end(beyond: int) -> None:
    """A column whose sum is 2^31 − 1 − K, K for what the shifts round down, and one more, which takes int64."""
    spec = unit(frac_bits=0, w_format=Integer(bits=31, signed=False))
    w = np.array([[1 << 30], [(1 << 30) - 3 + beyond]])
    assert weights(w, (0, int(w.max())), 0, 0).fit_int32() is (beyond == 0)
    assert spec.compute(a=np.zeros((1, 2), np.int64), w=w).item() == w.sum()


@pytest.mark.parametrize("root", [(46340, 15), (46342, 15), (46341, 14)])
def test_planted_faults_in_the_root_are_seen(monkeypatch: pytest.MonkeyPatch, root: tuple[int, int]) -> None:
    """Also the rounding half, which moves with the shift."""
    spec = unit(steps_per_octave=2, frac_bits=16)
    a, w = np.array([[1]]), np.array([[255]])
    monkeypatch.setattr(log2_mac, "ROOT", root)
    assert spec.compute(a=a, w=w).tolist() != definition(spec, a.tolist(), w.tolist())


def test_term_format_and_shifts_worked_by_hand() -> None:
    """Codes 0 to 255 less 200 are −200 to 55, three bits further −1600 to 440; less −5 they are 5 to 260."""
    assert unit(w_zero_point=200, frac_bits=3).term_format == Integer(bits=12, signed=True)
    assert unit(w_zero_point=-600, frac_bits=3).term_format == Integer(bits=14, signed=True)  # 855 · 8 = 6840
    assert unit(steps_per_octave=2).shifts == (0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, -1)
    assert unit(code_bits=8).shifts[60:64] == (60, 61, 62, 62)
    assert unit(code_bits=8).shifts[-2:] == (62, -1)


def test_weights_are_prepared_and_codes_are_not() -> None:
    w = np.array([[7], [200]])
    prepared = unit().prepare("w", w)
    assert isinstance(prepared, Weights)
    assert prepared.reach == 200 << 14
    assert unit().prepare("a", w) is w


def test_no_sums_have_no_ends() -> None:
    """A 1-bit accumulator holds 0 and −1, so that ends other than 0 would not fit."""
    w = weights(np.ones((1, 2, 3), np.int64), (0, 1), 0, 4)
    acc = np.empty((1, 0, 3), np.int64)
    codes = np.zeros((1, 0, 2), np.int64)
    assert joined_sums(codes, w, acc, none=15, steps=1, root=1, root_frac_bits=0) == (0, 0)


def test_join_rounds_half_up() -> None:
    """O · 46341 / 2^15 for O = 1 … 2^15: HALF_UP and FLOOR differ on half of them; a tie needs O = 2^14."""
    spec = unit(steps_per_octave=2, frac_bits=1, w_format=Integer(bits=17, signed=True))
    w = np.concatenate((np.arange(-(1 << 15), 1 << 15), [-(1 << 14), 1 << 14]))[None]
    acc = spec.compute(a=np.array([[1]]), w=w)
    assert acc[0].tolist() == definition(spec, [[1]], w.tolist())[0]
    assert acc[0, -1] == 23171  # 2^14 · 46341 / 2^15 = 23170.5, a tie, up
    assert acc[0, -2] == -23170  # −23170.5, a tie, up


def test_operands_outside_their_format_raise() -> None:
    with pytest.raises(InvariantError, match=r"log2_mac operand a spans \[16, 16\], outside u4"):
        unit().compute(a=np.array([[16]]), w=np.array([[1]]))
    with pytest.raises(InvariantError, match="log2_mac operand w"):
        unit().compute(a=np.array([[1]]), w=np.array([[256]]))
    with pytest.raises(InvariantError, match="length 1, not 2"):
        unit().compute(a=np.array([[1, 1]]), w=np.array([[1]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code_bits": 9}, r"code_bits must be in \[2, 8\], not 9"),
        ({"steps_per_octave": 3}, "steps_per_octave must be 1"),
        ({"frac_bits": 31}, r"frac_bits must be in \[0, 30\], not 31"),
        ({"acc_bits": 0}, r"acc_bits must be in \[1, 62\], not 0"),
        ({"overflow": "clip"}, "overflow must be one of none, wrap, saturate, not 'clip'"),
        (
            {"w_format": Integer(bits=20, signed=True), "frac_bits": 30, "steps_per_octave": 2},
            "exceeds 62 bits",
        ),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit(**changes)


@pytest.mark.parametrize("steps", [1, 2])
def test_streams_agree_with_whole_tensors(steps: int) -> None:
    spec = unit(steps_per_octave=steps)
    a, w = random_operands(spec, np.random.default_rng(9), 1, 9, 1)
    last = np.zeros(9, np.bool_)
    last[[2, 3, 8]] = True
    streams = {"a": Beats(a.T, last), "w": Beats(w, last)}
    expected = [
        definition(spec, a[:, s:e].tolist(), w[s:e].tolist())[0][0] for s, e in ((0, 3), (3, 4), (4, 9))
    ]
    assert spec.run(**streams)["o"].codes[:, 0].tolist() == expected
    assert spec.timing(**streams)["o"].tolist() == [n + spec.latency for n in (2, 3, 8)]
    assert spec.cycles(3, 3) == 9 + spec.latency

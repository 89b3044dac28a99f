"""layernorm: hand-worked row, the definition in Python integers, the exact inverse root, real mathematics, cycles."""

from math import isqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.formats import Integer
from sim.unit import Beats, Codes
from sim.units import layernorm
from sim.units.layernorm import Layernorm


def unit(**changes: Any) -> Layernorm:
    parameters: dict[str, Any] = {
        "channels": 6,
        "epsilon": 36,
        "norm_frac_bits": 10,
        "shift": 16,
        "in_bits": 16,
        "offset_format": Integer(bits=40, signed=True),
        "out_bits": 8,
    }
    return Layernorm(**parameters | changes)


def inverse_root(variance: int) -> tuple[int, int]:
    """(r, j) of docs/datapath.md, layernorm step 2, by an exact integer square root."""
    j = ((variance.bit_length() - 1) >> 1) - 15
    v = variance >> (2 * j) if j >= 0 else variance << (-2 * j)
    r = isqrt((1 << 62) // v)
    assert r * r * v <= 1 << 62 < (r + 1) ** 2 * v
    return r, j


def definition(spec: Layernorm, x: list[int], gain: list[int], offset: list[int]) -> list[int]:
    """docs/datapath.md, layernorm, for one row."""
    total, squares = sum(x), sum(n * n for n in x)
    r, j = inverse_root(spec.channels * squares - total**2 + spec.epsilon)
    s = 31 + j - spec.norm_frac_bits
    codes = []
    for n, g, b in zip(x, gain, offset, strict=True):
        scaled = (spec.channels * n - total) * r
        t = (scaled + (1 << (s - 1))) >> s if s else scaled
        assert spec.normal_format.min_code < t < spec.normal_format.max_code
        codes.append(min(max((t * g + b) >> spec.shift, 0), 2**spec.out_bits - 1))
    return codes


def test_hand_worked() -> None:
    # x = (−3, 1, 5, 1), C = 4, ε = 4: S1 = 4, S2 = 36, V = 144 − 16 + 4 = 132; p = 7, j = 3 − 15 = −12, v = 132 · 2^24.
    # r = isqrt(2^62 / (132 · 2^24)) = isqrt(2082408385) = 45633. n = 4x − 4 = (−16, 0, 16, 0).
    # F = 8: s = 31 − 12 − 8 = 11; t = round(±16 · 45633 / 2048) = round(±356.51) = ±357, 0.
    # gain 100, offset 128 · 256 + 128, shift 8: (35700 + 32896) >> 8 = 267 → 255; (−35700 + 32896) >> 8 = −11 → 0; 128.
    spec = unit(channels=4, epsilon=4, norm_frac_bits=8, shift=8)
    assert inverse_root(132) == (45633, -12)
    codes = spec.compute(x=np.array([-3, 1, 5, 1]), gain=np.full(4, 100), offset=np.full(4, 32896))
    assert codes.tolist() == [0, 128, 255, 128]
    # With gain 50: (17850 + 32896) >> 8 = 198; (−17850 + 32896) >> 8 = 58.
    codes = spec.compute(x=np.array([-3, 1, 5, 1]), gain=np.full(4, 50), offset=np.full(4, 32896))
    assert codes.tolist() == [58, 128, 198, 128]


def edge_rows(spec: Layernorm, rng: np.random.Generator) -> Codes:
    """All equal, one dominant, both ends of the format, small and large spreads."""
    low, high, c = -(1 << (spec.in_bits - 1)), (1 << (spec.in_bits - 1)) - 1, spec.channels
    rows = [np.full(c, low), np.full(c, high), np.zeros(c, np.int64), np.where(np.arange(c) % 2, low, high)]
    rows += [np.where(np.arange(c) == n, high, low) for n in (0, c - 1)]
    rows += [np.where(np.arange(c) == 0, 1, 0)]
    rows += [rng.integers(max(low, -spread), min(high, spread) + 1, c) for spread in (1, 3, 50, 1000, high)]
    return np.array(rows, np.int64)


@given(st.integers(2, 40), st.integers(1, 2**20), st.integers(0, 16), st.integers(1, 40), st.integers(2, 24),
       st.integers(1, 16), st.integers(0, 2**32))  # fmt: skip
def test_equals_definition(
    channels: int, epsilon: int, frac_bits: int, shift: int, in_bits: int, out_bits: int, seed: int
) -> None:
    spec = unit(channels=channels, epsilon=epsilon, norm_frac_bits=frac_bits, shift=shift, in_bits=in_bits,
                out_bits=out_bits)  # fmt: skip
    rng = np.random.default_rng(seed)
    gain, offset = rng.integers(-(1 << 17), 1 << 17, channels), rng.integers(-(1 << 39), 1 << 39, channels)
    if seed % 2:
        gain, offset = gain >> 8, offset % (1 << min(shift + out_bits, 39))
    x = edge_rows(spec, rng)
    codes = spec.compute(x=x, gain=gain, offset=offset)
    assert codes.tolist() == [definition(spec, row, gain.tolist(), offset.tolist()) for row in x.tolist()]


def test_inverse_root_at_every_octave() -> None:
    """Powers of two, their neighbours and random values from 1 to 2^62 − 1, against an exact integer square root."""
    rng = np.random.default_rng(1)
    near = [(1 << p) + d for p in range(62) for d in (-1, 0, 1) if (1 << p) + d > 0]
    spread = [
        int(n) >> int(s)
        for n, s in zip(rng.integers(1 << 61, 1 << 62, 300), rng.integers(0, 61, 300), strict=True)
    ]
    for variance in near + spread:
        assert layernorm._inverse_root(np.int64(variance)) == inverse_root(variance), variance


def test_close_to_real_mathematics() -> None:
    """With 12 fraction bits the normalised value is within 2^−12 of float LayerNorm, so codes differ only at ties."""
    channels = 192
    spec = unit(channels=channels, epsilon=channels**2, norm_frac_bits=12, shift=17, out_bits=12)
    rng = np.random.default_rng(2)
    x = rng.normal(0, [[3], [400], [8000]], (3, channels)).round().clip(-32768, 32767).astype(np.int64)
    gain, offset = (
        np.full(channels, 1 << 13),
        np.full(channels, (2048 << 17) + (1 << 16)),
    )  # 256 codes per unit
    exact = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1) * 256 + 2048
    assert np.abs(spec.compute(x=x, gain=gain, offset=offset) - exact).max() <= 0.5 + 256 * 2.0**-12 * 1.5


@pytest.mark.parametrize(
    ("kernel", "old", "new"),
    [
        ("_layernorm", "np.int64(1) << down", "np.int64(1) << (down - 1)"),
        ("_layernorm", "31 + octave", "30 + octave"),
        ("_layernorm", "31 + octave", "32 + octave"),
        ("_layernorm", "+ epsilon", "+ epsilon + 1"),
        ("_layernorm", "* gain[c]", "* gain[c - 1]"),
        ("_layernorm", "* gain[c]", "* (gain[c] ^ 1)"),
        ("_layernorm", "+ offset[c]", "+ offset[c] - 1"),
        ("_layernorm", ">> shift", ">> (shift + 1)"),
        ("_layernorm", "0), high)", "0), high - 1)"),
        ("_layernorm", "0), high)", "1), high)"),
        ("_inverse_root", "trial * trial <= limit", "trial * trial < limit"),
        ("_inverse_root", "(leading >> 1) - 15", "(leading >> 1) - 14"),
        ("_inverse_root", "range(16, -1, -1)", "range(16, 0, -1)"),
        ("_inverse_root", "range(16, -1, -1)", "range(15, -1, -1)"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, kernel: str, old: str, new: str) -> None:
    """Codes of 16 bits, as fine as the normalised value; row (1, 1, 1, 0, 0, 0) has the exact root of V = 16."""
    spec = unit(shift=1, out_bits=16, norm_frac_bits=16, epsilon=7)
    rng = np.random.default_rng(3)
    gain, offset = np.array([1, 2, -1, 1, 1, 2]), np.array([40000, 65536, 70000, 90001, 300, 66000])
    x = np.concatenate((edge_rows(spec, rng), rng.integers(-300, 300, (200, 6)), [[1, 1, 1, 0, 0, 0]]))
    expected = [definition(spec, row, gain.tolist(), offset.tolist()) for row in x.tolist()]
    mutate(layernorm, kernel, old, new)
    if kernel == "_inverse_root":
        # The compiled row loop has its own copy of the root; an unchanged Python one sees the fault.
        mutate(layernorm, "_layernorm", "rows, channels = x.shape", "rows, channels = x.shape")
    assert spec.compute(x=x, gain=gain, offset=offset).tolist() != expected


def test_unchanged_kernels_as_python_agree(mutate: Any) -> None:
    """What the planted faults run in is itself right: without a fault it gives the definition."""
    spec = unit()
    x = edge_rows(spec, np.random.default_rng(3))
    gain, offset = np.full(6, 999), np.full(6, 128 << 16)
    mutate(layernorm, "_inverse_root", "octave = (leading", "octave = (leading")
    mutate(layernorm, "_layernorm", "rows, channels = x.shape", "rows, channels = x.shape")
    expected = [definition(spec, row, gain.tolist(), offset.tolist()) for row in x.tolist()]
    assert spec.compute(x=x, gain=gain, offset=offset).tolist() == expected


def test_formats_worked_by_hand() -> None:
    def bits(changes: dict[str, int]) -> tuple[int, int, int]:
        """Of Σ x, of V and of C · x − Σ x."""
        spec = unit(**changes)
        assert spec.sum_format.signed
        assert not spec.variance_format.signed
        return spec.sum_format.bits, spec.variance_format.bits, spec.deviation_format.bits

    # −48 to 45; 48² + 7 = 2311; ±2 · 31 = ±62.
    assert bits({"channels": 3, "in_bits": 5, "epsilon": 7}) == (7, 12, 7)
    # −8 to 4; 8² + 64 = 2^7; ±3 · 3 = ±9.
    assert bits({"channels": 4, "in_bits": 2, "epsilon": 64}) == (4, 8, 5)
    # −6 to 3, of which the lower end alone has 4 bits.
    assert bits({"channels": 3, "in_bits": 2, "epsilon": 1})[0] == 4
    # −64 to 60, which a power of two channels leave in 7 bits.
    assert bits({"channels": 4, "in_bits": 5, "epsilon": 1})[0] == 7


@pytest.mark.parametrize(
    ("channels", "bits"),
    [(14, 6), (15, 7)],  # floor(√14 · 8) + 2 = 31, floor(√15 · 8) + 2 = 32
)
def test_normal_format_worked_by_hand(channels: int, bits: int) -> None:
    assert unit(channels=channels, norm_frac_bits=3).normal_format == Integer(bits=bits, signed=True)


def test_overflow_raises_before_the_kernel() -> None:
    """|t| < √65536 · 2^16, times 2^17 is 2^41: even an offset of 62 bits fits int64, so only ranges can fail."""
    spec = unit(offset_format=Integer(bits=62, signed=True))
    operands = {"x": np.zeros(6, np.int64), "gain": np.full(6, 1 << 16), "offset": np.full(6, (1 << 61) - 1)}
    assert spec.compute(**operands).tolist() == [255] * 6
    for changed, message in (
        ({"x": np.full(6, 1 << 15)}, r"operand x spans \[32768, 32768\], outside s16"),
        ({"gain": np.full(6, 1 << 17)}, "layernorm gain spans .*outside s18"),
        ({"offset": np.full(6, 1 << 61)}, "layernorm offset spans .*outside s62"),
        ({"x": np.zeros(5, np.int64)}, "operand x has length 5, not 6"),
        ({"gain": np.zeros(1, np.int64)}, "operand gain has length 1, not 6"),
    ):
        with pytest.raises(InvariantError, match=message):
            spec.compute(**operands | changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 1}, r"channels must be in \[2, 65536\], not 1"),
        ({"epsilon": 0}, "epsilon must be in"),
        ({"norm_frac_bits": 17}, r"norm_frac_bits must be in \[0, 16\], not 17"),
        ({"shift": 0}, r"shift must be in \[1, 62\], not 0"),
        ({"channels": 65536, "in_bits": 17}, "need a variance of 65 bits, more than 62"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit(**changes)


def test_streams_agree_with_whole_tensors() -> None:
    spec, rng = unit(), np.random.default_rng(4)
    x, gain, offset = (
        rng.integers(-999, 999, (3, 6)),
        rng.integers(-99, 99, (3, 6)),
        rng.integers(0, 1 << 24, (3, 6)),
    )
    last = np.arange(1, 19) % 6 == 0
    streams = {
        name: Beats(codes.reshape(-1, 1), last)
        for name, codes in (("x", x), ("gain", gain), ("offset", offset))
    }
    out = spec.run(**streams)["o"]
    expected = [
        definition(spec, *rows) for rows in zip(x.tolist(), gain.tolist(), offset.tolist(), strict=True)
    ]
    assert out.codes.reshape(3, 6).tolist() == expected
    assert np.array_equal(out.last, last)
    # Row 0 is taken in cycles 0 … 5 and issued `solve_cycles` after its last beat; the next row follows the last issue.
    issue, interval = 5 + spec.solve_cycles, 5 + spec.solve_cycles + 6
    starts = [interval * row + k for row in range(3) for k in range(6)]
    timing = {name: cycles.tolist() for name, cycles in spec.timing(**streams).items()}
    assert timing["x"] == starts
    assert timing["gain"] == timing["offset"] == [n + issue + spec.affine_cycles for n in starts]
    assert timing["o"] == [n + issue + spec.emit_cycles for n in starts]
    assert spec.cycles(3, 6) == timing["o"][-1] + 1
    with pytest.raises(InvariantError, match="rows must have 6 beats"):
        spec.run(**streams | {"x": Beats(x.reshape(-1, 1), np.roll(last, 1))})
    with pytest.raises(InvariantError, match="row has length 5, not 6"):
        spec.cycles(3, 5)

"""Lowering's constants and widths: real factors against exact fractions, bounds against enumeration, units' results
against real mathematics with the parameters that lowering chose."""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from golden.calibrate import Calibrated
from golden.codecs.log2 import Log2Codec
from golden.errors import InvariantError
from golden.formats import MAX_BITS, Integer, Rounding, round_value
from golden.lowering.bounds import centred_range, product_sum, shifted_sum, weighted_sum
from golden.lowering.builder import ProgramBuilder
from golden.lowering.formats import log2 as log2_lowering
from golden.lowering.gelu_table import TABLE_FRAC_BITS, gelu_table
from golden.lowering.multipliers import check_product, fixed_offset, fixed_point, shared_shift
from golden.lowering.scores import LOG_CODES
from golden.lowering.steps import RESIDUAL, Steps
from golden.program import Operation, Program
from golden.units import gelu, layernorm, log2_mac, requantizer, softmax

ratios = st.floats(2.0**-23, 65000.0)
small = st.integers(-3, 3)


def array(*values: float) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def mismatch(found: Tensor, expected: Tensor) -> tuple[float, int]:
    """(share of codes that differ, largest difference)."""
    difference = (found - expected).abs()
    return float((difference > 0).double().mean()), int(difference.max())


@given(ratios)
def test_fixed_point_is_within_an_18_bit_words_rounding(ratio: float) -> None:
    multiplier, shift = (int(values[0]) for values in fixed_point(array(ratio)))
    assert 1 << 16 <= multiplier < 1 << 17
    assert 1 <= shift <= 40
    relative = Fraction(multiplier, 1 << shift) / Fraction(ratio) - 1
    assert abs(relative) <= Fraction(1, 1 << 17)


@given(st.floats(1e-300, 2.0**-23))
def test_tiny_factors_keep_the_shift_and_lose_bits(ratio: float) -> None:
    multiplier, shift = (int(values[0]) for values in fixed_point(array(ratio)))
    assert shift == 40 or (multiplier, shift) == (1 << 16, 39)  # where rounding carries to 2^17
    assert abs(Fraction(multiplier, 1 << shift) - Fraction(ratio)) <= Fraction(1, 1 << 41)


def test_fixed_point_where_rounding_carries() -> None:
    just_below = np.nextafter(0.25, 0)
    assert [int(values[0]) for values in fixed_point(array(just_below))] == [1 << 16, 18]
    assert [values.tolist() for values in fixed_point(array(0.25, just_below, 1.0))] == [
        [1 << 16] * 3,
        [18, 18, 16],
    ]


@pytest.mark.parametrize("ratio", [0.0, -1.0, math.nan, math.inf])
def test_factors_must_be_positive_and_finite(ratio: float) -> None:
    with pytest.raises(InvariantError, match="requantizer factors must be positive and finite"):
        fixed_point(array(1.0, ratio))


def test_a_left_shift_is_refused() -> None:
    with pytest.raises(InvariantError, match=r"requantizer factor 131072\.0 needs a left shift"):
        fixed_point(array(131072.0))


@given(st.floats(-(2.0**19), 2.0**19), st.integers(1, 40))
def test_offset_is_steps_plus_one_half(steps: float, shift: int) -> None:
    offset = int(fixed_offset(array(steps), np.array([shift]))[0])
    exact = Fraction(steps) * (1 << shift) + (1 << (shift - 1))
    assert abs(offset - exact) <= Fraction(1, 2)


def test_offset_far_outside_every_format_keeps_its_sign() -> None:
    offsets = fixed_offset(array(1e30, -1e30, 3.0), np.array([40, 40, 40]))
    assert offsets.tolist() == [(1 << 60) + (1 << 39), -(1 << 60) + (1 << 39), (3 << 40) + (1 << 39)]


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=6))
def test_shared_shift_fills_the_word_with_the_largest(gains: list[float]) -> None:
    multipliers, shift = shared_shift(array(*gains))
    peak = max(abs(gain) for gain in gains)
    assert np.abs(multipliers).max() < 1 << 17
    assert 1 <= shift <= 40
    for gain, multiplier in zip(gains, multipliers.tolist(), strict=True):
        # One more half for the word's end: 2^17 does not fit, 2^17 - 1 does.
        assert abs(Fraction(gain) * (1 << shift) - multiplier) <= 1
    if peak >= 2.0**-22:
        assert np.abs(multipliers).max() >= 1 << 16


@given(
    st.integers(-(1 << 23), (1 << 23) - 1),
    st.floats(2.0**-20, 2.0),
    st.floats(-300, 300),
    st.sampled_from([(4, False), (8, False), (16, True)]),
)
def test_requantizer_rounds_the_real_value(
    acc: int, ratio: float, steps: float, out: tuple[int, bool]
) -> None:
    """acc · ratio + steps, rounded HALF_UP and saturated, unless the 18-bit factor moves it across a boundary."""
    format = Integer(bits=out[0], signed=out[1])
    multiplier, shift = fixed_point(array(ratio))
    offset = fixed_offset(array(steps), shift)
    constants = (torch.from_numpy(values) for values in (multiplier, offset, shift))
    code = int(requantizer.golden(torch.tensor([acc]), *constants, out_bits=out[0], out_signed=out[1]))
    real = Fraction(acc) * Fraction(ratio) + Fraction(steps)
    error = abs(Fraction(acc) * Fraction(ratio)) / (1 << 17) + Fraction(1, 1 << int(shift[0]))
    around = {round_value(real + side, Rounding.HALF_UP) for side in (-error, error)}
    low, high = (min(max(code, format.min_code), format.max_code) for code in (min(around), max(around)))
    assert low <= code <= high


def test_a_product_that_could_wrap_is_refused() -> None:
    wide = np.array([(1 << 17) - 1])
    check_product(44, wide, np.array([1 << 59]), "fits")
    with pytest.raises(InvariantError, match="head: the requantizer's sum needs 63 bits, more than 62"):
        check_product(45, wide, np.array([1 << 60]), "head")


def partial_sums(start: list[int], terms: list[int]) -> set[int]:
    """Every sum of some of the terms, from every start: any order of summation passes only through these."""
    chosen = [subset for count in range(len(terms) + 1) for subset in combinations(terms, count)]
    return {first + sum(subset) for first in start for subset in chosen}


rows = st.tuples(st.lists(small, min_size=3, max_size=3), st.integers(-9, 9))


@given(st.lists(rows, min_size=1, max_size=3), st.integers(1, 3))
@example([([2, 2, 0], -4)], 1)  # the terms may come before a bias of the other sign
@example([([-2, -2, -1], 5)], 1)
def test_weighted_sum_is_the_hull_of_all_partial_sums(rows: list[tuple[list[int], int]], top: int) -> None:
    weights, bias = [row for row, _ in rows], [b for _, b in rows]
    reached = {
        value
        for row, b in zip(weights, bias, strict=True)
        for codes in product(range(top + 1), repeat=3)
        for value in partial_sums([0, b], [w * code for w, code in zip(row, codes, strict=True)])
    }
    assert weighted_sum(np.array(weights), np.array(bias), top) == Integer.holding(min(reached), max(reached))


ranges = st.tuples(small, small).map(sorted).map(tuple)


@given(st.integers(1, 3), ranges, ranges)
def test_product_sum_is_the_hull_of_all_partial_sums(
    length: int, a: tuple[int, int], w: tuple[int, int]
) -> None:
    terms = {x * y for x in range(a[0], a[1] + 1) for y in range(w[0], w[1] + 1)}
    reached = {sum(chosen) for n in range(length + 1) for chosen in product(terms, repeat=n)}
    assert product_sum(length, a, w) == Integer.holding(min(reached), max(reached))


@pytest.mark.parametrize("steps", [1, 2])
@given(st.integers(0, 4), st.integers(-9, 9))
def test_shifted_sum_holds_every_accumulator(steps: int, frac_bits: int, zero_point: int) -> None:
    bits, length = 3, 3
    reach = centred_range(2, zero_point)
    assert reach == (-zero_point, 3 - zero_point)
    format = shifted_sum(length, reach, frac_bits)
    codes = torch.tensor(list(product(range(1 << bits), repeat=length)))
    values = torch.tensor(list(product(range(4), repeat=length))).T
    acc = log2_mac.golden(
        codes, values, code_bits=bits, steps_per_octave=steps, frac_bits=frac_bits, w_zero_point=zero_point,
        acc_bits=40,
    )  # fmt: skip
    # The top code adds nothing, so every partial sum is the sum of some other codes, and in `acc` too.
    assert format.min_code <= int(acc.min())
    assert int(acc.max()) <= format.max_code
    widest = max(-int(acc.min()), int(acc.max()))
    assert format.bits <= (widest + 1).bit_length() + 1  # one unit for the join is all it adds


@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("scale", [0.3, 0.05, 0.011, 0.002])
def test_gelu_codes_of_every_input(scale: float, bits: int) -> None:
    table = gelu_table(scale, bits)
    zero_point = round(0.17 / scale)
    low, high = -(1 << (table.in_bits - 1)), (1 << (table.in_bits - 1)) - 1
    h = torch.arange(low, high + 1)
    codes = gelu.golden(
        h, in_bits=table.in_bits, frac_bits=table.frac_bits, table_frac_bits=TABLE_FRAC_BITS, table=table.table,
        table_step=table.table_step, zero_point=zero_point, out_bits=bits,
    )  # fmt: skip
    steps = F.gelu(h.double() * scale / (1 << table.frac_bits)) / scale
    assert bool(codes.eq((steps + zero_point).round().clamp(0, (1 << bits) - 1)).double().mean() > 0.996)
    # Rounding to a code is half; entries and interpolation round below it, and a centred chord misses by g'' w²/12.
    width = scale / (1 << table.frac_bits) * (1 << table.table_step)
    bound = 0.5 + 2 * 2.0 ** -(table.frac_bits + TABLE_FRAC_BITS) + 0.8 * width**2 / 12 / scale
    unsaturated = (steps + zero_point > 0) & (steps + zero_point < (1 << bits) - 1)
    assert float((codes - zero_point - steps)[unsaturated].abs().max()) <= bound
    # Far below the bump GELU is 0: a saturated input must not stop inside it.
    assert int(codes[0]) == min(zero_point, (1 << bits) - 1)
    assert int(codes[h == 0]) == min(zero_point, (1 << bits) - 1)
    assert int(codes[-1]) == (1 << bits) - 1
    assert table.table[-1] == 0
    assert 2 <= len(table.table) <= 257


def softmax_parameters(codec: Log2Codec, tokens: int) -> dict[str, Any]:
    builder = ProgramBuilder()
    log2_lowering.encode_scores(builder, "p", "scores", codec, (1, tokens, tokens), "p")
    return dict(builder.operations[0].parameters)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("spread", [0.3, 2.0, 8.0])
def test_softmax_codes_are_the_float_codecs(spread: float, bits: int, steps: int) -> None:
    """Rows of 1 to 197 scores with that standard deviation in octaves."""
    codec = Log2Codec(bits=bits, steps_per_octave=steps, scale=torch.tensor(0.83), zero="hardware")
    parameters = softmax_parameters(codec, 197)
    rng = np.random.default_rng(bits + steps)
    different = total = largest = 0
    for length in (*range(1, 20), 49, 64, 100, 196, 197):
        octaves = torch.from_numpy(rng.normal(0, spread, (40, length)))
        scores = (octaves * (1 << LOG_CODES.score_frac_bits)).round().to(torch.int64)
        assert int(scores.abs().max()) < 1 << (LOG_CODES.score.bits - 1)
        found = softmax.golden(scores, **parameters)
        exact = codec.encode(
            torch.softmax(scores.double() / (1 << LOG_CODES.score_frac_bits) * math.log(2), dim=-1)
        )
        difference = (found - exact).abs()
        different += int((difference > 0).sum())
        total += difference.numel()
        largest = max(largest, int(difference.max()))
    assert largest <= 1
    assert different / total <= 0.005


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("norm", ["blocks.0.norm1", "blocks.3.norm2", "norm"])
def test_layernorm_codes_are_the_float_codecs(
    norm: str, bits: int, digits_calibrated: Callable[[int], Calibrated]
) -> None:
    calibrated = digits_calibrated(bits)
    steps = Steps(calibrated)
    dim = len(calibrated.model.weights[f"{norm}.weight"])
    steps.layernorm(norm, steps.builder.tensor("x", (1, dim), RESIDUAL))
    operation = steps.builder.operations[0]
    gain, offset = (
        torch.from_numpy(steps.builder.constants[operation.inputs[name]]) for name in ("gain", "offset")
    )
    generator = torch.Generator().manual_seed(bits)
    for spread in (3, 40, 800, 6000):
        noise = torch.randn(2000, dim, generator=generator, dtype=torch.float64)
        x = (noise * spread + spread * 0.7).round().clamp(-32768, 32767).to(torch.int64)
        found = layernorm.golden(x, gain, offset, **operation.parameters)  # type: ignore[arg-type]
        weights = calibrated.model.to(torch.float64).weights
        real = F.layer_norm(
            x.double() * steps.residual_scale, (dim,), weights[f"{norm}.weight"], weights[f"{norm}.bias"],
            calibrated.model.norm_eps,
        )  # fmt: skip
        share, largest = mismatch(found, steps.uniform(norm).encode(real))
        assert largest <= 1
        assert share <= 0.005


def test_layernorm_of_equal_channels_is_beta(digits_calibrated: Callable[[int], Calibrated]) -> None:
    steps = Steps(digits_calibrated(8))
    dim = len(steps.weights["norm.bias"])
    steps.layernorm("norm", steps.builder.tensor("x", (1, dim), RESIDUAL))
    operation, constants = steps.builder.operations[0], steps.builder.constants
    gain, offset = (torch.from_numpy(constants[operation.inputs[name]]) for name in ("gain", "offset"))
    for value in (-32768, 0, 5, 32767):
        x = torch.full((1, dim), value)
        found = layernorm.golden(x, gain, offset, **operation.parameters)  # type: ignore[arg-type]
        beta = steps.uniform("norm").encode(steps.calibrated.model.weights["norm.bias"].double())
        assert found[0].equal(beta)


def users_of(program: Program, unit: str) -> list[Operation]:
    return [operation for operation in program.operations if operation.unit == unit]


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_every_constant_is_an_integer_of_its_width(
    bits: int, digits_program: Callable[[int], Program]
) -> None:
    program = digits_program(bits)
    for name, constant in program.constants.items():
        assert constant.dtype == np.int64, name
    for operation in program.operations:
        for name, value in operation.parameters.items():
            entries = value if isinstance(value, list) else [value]
            assert all(isinstance(entry, int | str) for entry in entries), (operation.name, name)
    for operation in users_of(program, "requantizer"):
        multiplier, offset, shift = (
            program.constants[operation.inputs[port]] for port in ("multiplier", "offset", "shift")
        )
        assert np.abs(multiplier).max() < 1 << 17
        assert 1 <= shift.min() <= shift.max() <= MAX_BITS
        assert np.abs(offset).max().item().bit_length() < MAX_BITS
    for operation in users_of(program, "layernorm"):
        assert np.abs(program.constants[operation.inputs["gain"]]).max() < 1 << 17
    for operation in users_of(program, "mac"):
        if operation.inputs["w"] in program.constants:
            centred = program.constants[operation.inputs["w"]]
            # Every row has its own zero point, so the range of codes holds row by row.
            assert (centred.max(1) - centred.min(1)).max() < 1 << bits
            acc = program.tensors[operation.output].format
            assert (acc.bits, acc.signed) == (operation.parameters["acc_bits"], True)

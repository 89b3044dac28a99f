"""Shifted log codes: levels and zero, every code of the integer encoder, and the shift folded into the next bias."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from golden.codecs.base import Evidence, Zero
from golden.codecs.shift_log2 import (
    GELU_MINIMUM,
    MAX_OCTAVES,
    UNITY_BITS,
    ShiftLog2Codec,
    ShiftLog2Site,
)
from golden.formats import Integer, Rounding, round_value
from golden.lowering.builder import ProgramBuilder
from golden.lowering.formats import shift_log2
from golden.lowering.wide import Operand, Wide
from golden.program import Program, Tensor
from golden.reference import execute
from golden.units.log2_mac import SQRT2_Q15

SCALE = 2.5


def codec(bits: int, steps: int, zero: Zero = "hardware", scale: float = SCALE) -> ShiftLog2Codec:
    return ShiftLog2Codec(
        bits=bits, steps_per_octave=steps, scale=torch.tensor(scale, dtype=torch.float64), zero=zero
    )


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("bits", range(2, 9))
def test_levels_are_powers_less_the_offset(bits: int, steps: int) -> None:
    spec = codec(bits, steps)
    last = min((1 << bits) - 2, steps * MAX_OCTAVES)
    assert spec.max_level == last
    levels = torch.arange(last + 1)
    values = spec.decode(levels, torch.float64)
    expected = [SCALE * 2.0 ** (-k / steps) - spec.offset for k in range(last + 1)]
    assert values.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert spec.encode(values).equal(levels)
    # Half a step either side in the log domain; below the last level comes the code of zero at once.
    after = torch.where(levels < last, levels + 1, spec.zero_code)
    for nudge, code in ((1 + 1e-9, levels), (1 - 1e-9, after)):
        assert spec.encode(SCALE * torch.exp2(-(levels + 0.5).double() / steps) * nudge - spec.offset).equal(
            code
        )
    assert spec.encode(torch.tensor([50.0])).item() == 0


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("bits", [2, 4, 5])
def test_zero_takes_a_code_in_hardware_and_hides_in_the_papers(bits: int, steps: int) -> None:
    y = torch.cat([SCALE * torch.exp2(-torch.linspace(-1, 40, 30001).double()), torch.zeros(1)])
    paper, hardware = codec(bits, steps, "paper"), codec(bits, steps)
    assert paper.with_zero("hardware").zero_code == hardware.zero_code == (1 << bits) - 1
    for spec, levels in ((paper, 1 << bits), (hardware, hardware.max_level + 1)):
        codes, fake = spec.encode(y - spec.offset), spec.fake(y - spec.offset)
        assert codes.unique().tolist() == [*range(levels), spec.zero_code]
        assert fake[codes == spec.zero_code].eq(-spec.offset).all()
        assert fake[codes < spec.zero_code].gt(-spec.offset).all()
        assert fake.diff().le(0).all()
        assert spec.fake(fake).equal(fake)
    # A float GELU may come out a rounding below its minimum; there is nothing below 0 to take a logarithm of.
    assert hardware.encode(torch.tensor([-0.18, -5.0])).tolist() == [hardware.zero_code] * 2


def test_codes_that_never_occur_are_no_distance() -> None:
    """At 6 bits of base 2 the levels end at 12, so 12 and 63 are neighbours, and codes alone do not say so."""
    assert codec(4, 2).ordered
    assert not codec(6, 1).ordered
    assert not codec(6, 2).ordered


@pytest.mark.parametrize("scale", [0.3, SCALE, 6.4])
def test_the_offset_is_a_whole_number_of_units(scale: float) -> None:
    spec = codec(4, 2, scale=scale)
    fine = shift_log2.fine(spec)
    assert spec.offset == pytest.approx(spec.offset_units * Fraction(spec.unit), rel=1e-15)
    assert abs(spec.offset + GELU_MINIMUM) <= spec.unit / 2
    assert (float(fine.scale), int(fine.zero_point)) == (scale / 2**UNITY_BITS, spec.offset_units)
    assert spec.decode(torch.tensor(0), torch.float64) == scale - spec.offset


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("bits", range(2, 9))
def test_the_encoder_makes_every_code_that_the_codec_means(bits: int, steps: int) -> None:
    """Every integer that GELU can give, so every threshold, and both ends."""
    spec = codec(bits, steps)
    fine = torch.arange(1 << shift_log2.IN_BITS)
    builder = ProgramBuilder()
    source = builder.tensor("fine", tuple(fine.shape), Integer(bits=shift_log2.IN_BITS, signed=False))
    wide = Wide(tensor=source, scale=np.array([spec.unit]), bias=np.zeros(1))
    shift_log2.encode(builder, "codes", wide, spec, tuple(fine.shape), "codes")
    found = run(builder, source, fine[None])["codes"][0]
    assert found.tolist() == spec.encode((fine - spec.offset_units).double() * spec.unit).tolist()


@pytest.mark.parametrize("steps", [1, 2])
def test_thresholds_are_exact_ceilings(steps: int) -> None:
    n = 4 * (shift_log2.IN_BITS - 1)
    for threshold, quarter in zip(shift_log2.thresholds(steps), {1: (2,), 2: (1, 3)}[steps], strict=True):
        assert (threshold - 1) ** 4 < 1 << (n + quarter) <= threshold**4


def run(builder: ProgramBuilder, source: str, images: torch.Tensor) -> dict[str, np.ndarray]:
    program = builder.finish(source, next(reversed(builder.tensors)), {})
    assert isinstance(program, Program)
    return dict(execute(program, images.numpy()))


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_offset_folds_into_the_bias_exactly(bits: int, steps: int) -> None:
    """sum_k (level_k - c) w_k in the program's integers, through the requantizer, is what fractions say.

    Scales are powers of two, so the requantizer's factor is exact; its rounding then is the only one, beside that of
    the odd codes' √2, which is done here as the unit does it.
    """
    rng = np.random.default_rng(7)
    depth, outputs, output_scale = 96, 5, 2.0**-10
    spec = codec(bits, steps, scale=4.0)
    weights = rng.integers(-9, 8, (outputs, depth))
    weight_scale, layer_bias = 2.0 ** -rng.integers(3, 6, outputs), rng.normal(size=outputs)
    codes = torch.from_numpy(rng.choice([*range(spec.max_level + 1), spec.zero_code], (1, 40, depth)))
    builder = ProgramBuilder()
    builder.tensor("codes", (40, depth), Integer(bits=bits, signed=False))
    operand = Operand(name="w", weights=weights, zero_point=0, reach=(-9, 7), depth=depth, scale=weight_scale)
    wide = shift_log2.multiply(builder, "acc", "codes", spec, operand, (40, outputs))
    bias = wide.bias + layer_bias
    output = Tensor(shape=(40, outputs), format=Integer(bits=24, signed=True))
    builder.requantize("out", "acc", wide.scale / output_scale, bias / output_scale, output)
    found = run(builder, "codes", codes)

    offset, step = Fraction(spec.offset), Fraction(output_scale)
    for row in range(40):
        for n in range(outputs):
            total = sum(
                (level(spec, int(k)) - offset) * int(w)
                for k, w in zip(codes[0, row], weights[n], strict=True)
            )
            real = (total * Fraction(weight_scale[n]) + Fraction(layer_bias[n])) / step
            # The bias is held to 2^-24 codes and better. Base √2 also rounds half of 2^-FRAC_BITS where its sums
            # join, in units of at most 4 · 2^-3, which are 2^9 codes.
            slack = Fraction(1, 1 << (24 if steps == 1 else shift_log2.FRAC_BITS - 8))
            around = {round_value(real + side, Rounding.HALF_UP) for side in (-slack, slack)}
            assert int(found["out"][0, row, n]) in around
    assert len(np.unique(found["out"])) > 100


def level(spec: ShiftLog2Codec, code: int) -> Fraction:
    """Value of a code before the shift, with √2 as the unit has it."""
    if code > spec.max_level:
        return Fraction(0)
    root = Fraction(SQRT2_Q15, 1 << 15) if spec.steps_per_octave == 2 and code % 2 else Fraction(1)
    return Fraction(float(spec.scale)) * root / (1 << -(-code // spec.steps_per_octave))


def test_no_shifted_weight_loses_a_bit() -> None:
    """FLOOR would move every negative term by half a unit: the last level's shift is within the fraction bits."""
    for bits, steps in ((4, 1), (8, 1), (4, 2), (8, 2)):
        assert -(-codec(bits, steps).max_level // steps) <= MAX_OCTAVES < shift_log2.FRAC_BITS


def test_fit_takes_the_candidate_with_the_least_error() -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.nn.functional.gelu(torch.randn(4, 50, 64, generator=generator) * 1.5)
    site = ShiftLog2Site(format="shift_log2", base="sqrt2")
    percentiles = (0.9, 0.99, 0.999, 1.0)
    fitted = site.fit(x, 4, Evidence(percentiles=percentiles))
    assert (fitted.zero, fitted.steps_per_octave) == ("paper", 2)
    shifted = (x - GELU_MINIMUM).double().flatten()
    errors = {
        float(scale): float((codec(4, 2, "paper", float(scale)).fake(x.double()) - x).square().mean())
        for scale in np.quantile(shifted.numpy(), percentiles)
    }
    assert float(fitted.scale) == pytest.approx(min(errors, key=lambda scale: errors[scale]), rel=1e-6)
    # All of the importance on small values moves the choice to a scale that serves them.
    judged = Evidence(percentiles=percentiles, importance=(x.abs() < 0.3).float())
    assert site.fit(x, 4, judged).scale != fitted.scale


def test_zero_lies_near_a_level() -> None:
    """x = 0 is the middle of GELU's outputs and y = c of a log grid: at most a quarter octave of base √2 away."""
    for scale in torch.linspace(0.5, 8, 50).tolist():
        assert (
            abs(float(codec(4, 2, scale=scale).fake(torch.zeros(1)))) <= -GELU_MINIMUM * (2**0.25 - 1) + 1e-4
        )

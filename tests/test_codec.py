"""Tensor codecs against the scalar formats, code by code, and against the papers' formulas."""

from fractions import Fraction
from math import sqrt

import pytest
import torch
from torch import Tensor

from golden.codecs.base import Codec, Zero
from golden.codecs.log2 import Log2Codec
from golden.codecs.sign_scale import SignScaleCodec
from golden.codecs.tan import TanCodec
from golden.codecs.two_scale import TwoScaleCodec
from golden.codecs.uniform import UniformCodec
from golden.formats import Log2, Rounding, Uniform

SCALE = 0.625  # times small integers and quarters, exact in float32
ZEROS: tuple[Zero, ...] = ("paper", "hardware")


def uniform(bits: int, zero_point: int, scale: float = SCALE) -> UniformCodec:
    return UniformCodec(bits=bits, scale=torch.tensor(scale), zero_point=torch.tensor(zero_point))


def log2(bits: int, steps: int, zero: Zero, scale: float = 0.7) -> Log2Codec:
    return Log2Codec(bits=bits, steps_per_octave=steps, scale=torch.tensor(scale), zero=zero)


@pytest.mark.parametrize("zero_point", [-40, 0, 5, 300])
@pytest.mark.parametrize("bits", range(2, 9))
def test_uniform_codec_is_the_scalar_format(bits: int, zero_point: int) -> None:
    """Every quarter step over all codes and beyond both ends, so that every tie is met."""
    codec, spec = uniform(bits, zero_point), Uniform(bits=bits, zero_point=zero_point)
    quarters = range(4 * (spec.decode(0) - 3), 4 * (spec.decode(spec.max_code) + 3) + 1)
    codes = codec.encode(torch.tensor(quarters) / 4 * SCALE)
    assert codes.dtype == torch.int64
    assert codes.tolist() == [spec.encode(Fraction(n, 4), Rounding.HALF_EVEN) for n in quarters]
    every = torch.arange(spec.max_code + 1)
    assert codec.decode(every, torch.float64).tolist() == [spec.decode(k) * SCALE for k in every.tolist()]
    assert codec.encode(codec.decode(every, torch.float32)).equal(every)


def test_uniform_ties_go_to_even() -> None:
    ties = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5]) * SCALE
    assert uniform(8, 100).encode(ties).tolist() == [98, 100, 100, 102, 102]
    # The zero point is added after rounding: an odd one does not move a tie.
    assert uniform(8, 101).encode(ties).tolist() == [99, 101, 101, 103, 103]


def test_uniform_saturates_what_no_int64_holds() -> None:
    far = torch.tensor([1e30, -1e30, torch.inf, -torch.inf])
    assert uniform(8, 3).encode(far).tolist() == [255, 0, 255, 0]


def test_uniform_per_channel_is_each_channel_on_its_own() -> None:
    scale, zero = torch.tensor([[0.5], [0.03], [2.0]]), torch.tensor([[3], [-4], [20]])
    codec = UniformCodec(bits=4, scale=scale, zero_point=zero)
    x = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    for row in range(3):
        alone = uniform(4, int(zero[row]), float(scale[row]))
        assert codec.encode(x)[row].equal(alone.encode(x[row]))
        assert codec.fake(x)[row].equal(alone.fake(x[row]))


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("bits", range(2, 7))
def test_log2_codec_is_the_scalar_format(bits: int, steps: int, zero: Zero) -> None:
    codec, spec = log2(bits, steps, zero), Log2(bits=bits, steps_per_octave=steps)
    scale = float(codec.scale)
    levels = torch.arange(spec.zero_code)
    values = codec.decode(levels, torch.float64)
    assert values.tolist() == pytest.approx([scale * spec.decode(k) for k in levels.tolist()], rel=1e-14)
    assert codec.encode(values).equal(levels)
    # Half a step either side in the log domain: the boundary of round(-steps log2).
    for nudge, code in ((1 + 1e-9, levels), (1 - 1e-9, levels + 1)):
        edge = scale * torch.exp2(-(levels + 0.5).double() / steps) * nudge
        assert codec.encode(edge).equal(code)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("bits", range(2, 7))
def test_zero_takes_a_code_in_hardware_and_hides_in_the_papers(bits: int, steps: int) -> None:
    dense = torch.exp2(-torch.linspace(-2, 80, 20001, dtype=torch.float64))
    x = torch.cat([dense, torch.zeros(1, dtype=torch.float64)])
    for zero, levels in (("paper", 1 << bits), ("hardware", (1 << bits) - 1)):
        codec = log2(bits, steps, zero)  # type: ignore[arg-type]
        codes, fake = codec.encode(x), codec.fake(x)
        assert codes.unique().tolist() == list(range(levels + 1))
        assert len(fake.unique()) == levels + 1
        assert int(codes[-1]) == levels
        assert fake[codes == levels].eq(0).all()
        assert fake[codes < levels].gt(0).all()
        assert int(codes[0]) == 0  # values beyond the scale saturate to it
        assert float(fake[0]) == float(codec.scale)


@pytest.mark.parametrize("bits", range(2, 7))
def test_root_two_is_a_shift_with_one_of_two_scales(bits: int) -> None:
    """RepQ-ViT's hardware form: s [parity(k) (√2 − 1) + 1] · 2^−ceil(k/2)."""
    codec = log2(bits, 2, "hardware")
    for k in range((1 << bits) - 1):
        form = float(codec.scale) * ((k % 2) * (sqrt(2) - 1) + 1) * 2.0 ** -((k + 1) // 2)
        assert float(codec.decode(torch.tensor(k), torch.float64)) == pytest.approx(form, rel=1e-14)


def test_with_zero_changes_zero_alone() -> None:
    paper = log2(4, 2, "paper")
    hardware = paper.with_zero("hardware")
    assert (hardware.zero, hardware.scale, hardware.bits) == ("hardware", paper.scale, 4)
    assert paper.zero == "paper"
    plain = uniform(4, 3)
    assert plain.with_zero("hardware") is plain


CODECS: dict[str, tuple[Codec, Tensor]] = {
    "uniform": (uniform(4, 5, 0.1), torch.linspace(-1, 2, 3001)),
    "log2": (log2(4, 2, "hardware"), torch.linspace(0, 1, 3001)),
    "tan": (TanCodec(bits=4, entry_bits=12, alpha=1.4, beta=0.9, scale=torch.tensor(0.9)), torch.linspace(0, 1, 3001)),
    "two_scale": (TwoScaleCodec(bits=4, shift=3, scale=torch.tensor(0.015)), torch.linspace(0, 1, 3001)),
    "sign_scale": (SignScaleCodec(bits=4, shift=3, scale=torch.tensor(0.03)), torch.linspace(-0.2, 2, 3001)),
}  # fmt: skip


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_fits_its_bits_and_is_stable(name: str) -> None:
    codec, x = CODECS[name]
    codes, fake = codec.encode(x), codec.fake(x)
    assert codec.kind == codec.notes()["kind"] == name
    assert int(codes.min()) >= 0
    assert int(codes.max()) < 1 << codec.bits
    assert len(codes.unique()) > 8
    assert fake.equal(codec.decode(codes, x.dtype))
    assert codec.fake(fake).equal(fake)
    assert fake.diff().ge(0).all()  # monotone, as rounding is
    assert float.fromhex(str(codec.notes()["scale"])) > 0

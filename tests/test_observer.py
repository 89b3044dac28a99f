"""Ranges against a slow search written from RepQ-ViT's rule, one row and one percentile at a time."""

import pytest
import torch
from torch import Tensor

from golden.calibrate import fit_weight
from golden.codecs.log2 import fit_log2
from golden.codecs.uniform import UniformCodec, fit_uniform, fit_uniform_rows
from golden.observer import quantiles
from golden.scheme import load_scheme

PERCENTILES = (0.999, 0.9999, 0.99999)
WIDE = (0.9, 0.97, 1.0)
DTYPE = torch.float64


def samples(*shape: int, seed: int, tail: float = 3.0) -> Tensor:
    """Heavy-tailed, so that percentiles differ and another one wins in every row."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
    return x.sign() * x.abs() ** tail + 0.3


def slow_uniform(row: Tensor, bits: int, percentiles: tuple[float, ...]) -> tuple[float, int]:
    """(scale, zero point) of the percentile pair with the least mean squared error."""
    best = (float("inf"), 0.0, 0)
    for p in percentiles:
        top, bottom = (float(torch.quantile(row, fraction)) for fraction in (p, 1 - p))
        scale = (top - bottom) / (2**bits - 1)
        zero = round(-bottom / scale)  # Python's round ties to even
        error = 0.0
        for x in row.tolist():
            code = min(max(round(x / scale) + zero, 0), 2**bits - 1)
            error += (scale * (code - zero) - x) ** 2
        if error < best[0]:
            best = (error, scale, zero)
    return best[1:]


@pytest.mark.parametrize("percentiles", [PERCENTILES, WIDE])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_uniform_rows_are_the_slow_search(bits: int, percentiles: tuple[float, ...]) -> None:
    x = samples(6, 400, seed=bits)
    codec = fit_uniform_rows(x, bits, percentiles)
    for row in range(len(x)):
        scale, zero = slow_uniform(x[row], bits, percentiles)
        assert float(codec.scale[row]) == pytest.approx(scale, rel=1e-12)
        assert int(codec.zero_point[row]) == zero
    alone = fit_uniform(x[2].reshape(4, 100), bits, percentiles)
    assert (alone.scale.ndim, float(alone.scale)) == (0, float(codec.scale[2]))
    assert int(alone.zero_point) == int(codec.zero_point[2])


def test_every_percentile_can_win() -> None:
    """The search is one: fewer bits take a narrower range."""
    chosen = set()
    for bits in (2, 3, 8):
        x = samples(1, 400, seed=5, tail=1.0)
        scale = float(fit_uniform_rows(x, bits, WIDE).scale[0])
        ranges = [float(torch.quantile(x, p) - torch.quantile(x, 1 - p)) / (2**bits - 1) for p in WIDE]
        chosen.add(min(range(3), key=lambda i: abs(ranges[i] - scale)))
    assert chosen == {0, 1, 2}


def test_the_range_need_not_hold_zero() -> None:
    codec = fit_uniform(samples(500, seed=1).abs() + 100, 4, (1.0,))
    assert int(codec.zero_point) < 0


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("bits", [3, 4])
def test_log2_scale_is_the_slow_search(bits: int, steps: int) -> None:
    x = torch.softmax(samples(20, 30, seed=9, tail=1.5), dim=-1)
    best = (float("inf"), 0.0)
    for p in WIDE:
        scale = torch.quantile(x, p)
        codes = torch.round(-steps * torch.log2(x / scale)).clamp(min=0)
        values = torch.where(codes < 2**bits, scale * 2 ** (-codes / steps), 0.0)  # the papers' hidden zero
        best = min(best, (float((values - x).square().mean()), float(scale)))
    codec = fit_log2(x, bits, steps, WIDE, "paper")
    assert float(codec.scale) == pytest.approx(best[1], rel=1e-12)
    assert (codec.bits, codec.steps_per_octave, codec.zero) == (bits, steps, "paper")


def test_log2_refuses_what_has_no_scale() -> None:
    for x in (torch.zeros(10), torch.full((10,), torch.nan)):
        with pytest.raises(ValueError, match="no percentile gives a finite error"):
            fit_log2(x, 4, 2, PERCENTILES, "paper")


def test_quantiles_interpolate_as_torch_does() -> None:
    x = samples(5, 101, seed=2)
    fractions = (0.0, 0.001, 0.5, 0.99999, 1.0)
    for found, fraction in zip(quantiles(x, fractions), fractions, strict=True):
        torch.testing.assert_close(found, torch.quantile(x, fraction, dim=-1), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constant", [0.37, -0.015625, 0.0, 1e-20, -3e8])
def test_constant_rows_are_exact(constant: float, dtype: torch.dtype) -> None:
    x = torch.stack([torch.full((50,), constant, dtype=dtype), samples(50, seed=4).to(dtype)])
    codec = fit_uniform_rows(x, 4, PERCENTILES)
    first = fit_uniform(x[0], 4, PERCENTILES)
    assert first.fake(x[0]).equal(x[0])
    rows = first.decode(first.encode(x[0]), dtype)
    assert rows.equal(x[0])
    assert float(codec.scale[0]) == (abs(float(x[0, 0])) or 1.0)
    assert int(codec.zero_point[0]) == (1 if constant < 0 else 0)
    # The neighbour is not touched.
    assert float(codec.scale[1]) == float(fit_uniform(x[1], 4, PERCENTILES).scale)


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_are_scale_equivariant(bits: int) -> None:
    """Why RepQ-ViT's mean and DopQ-ViT's median give the same network: a common factor of all weights drops out."""
    scheme, w = load_scheme("repq"), samples(7, 96, seed=bits)
    codec = fit_weight(w, bits, scheme)
    assert codec.scale.shape == codec.zero_point.shape == (7, 1)
    for factor in (0.25, 1.7, 300.0):
        scaled = fit_weight(w * factor, bits, scheme)
        torch.testing.assert_close(scaled.scale, codec.scale * factor, rtol=1e-12, atol=0)
        assert scaled.zero_point.equal(codec.zero_point)
        assert scaled.encode(w * factor).equal(codec.encode(w))


def test_a_row_that_is_constant_but_for_few_samples_keeps_them() -> None:
    row = torch.zeros(1, 1000)
    row[0, 5] = 2.0
    codec = fit_uniform_rows(row, 4, (0.9,))  # cuts the row down to 0 on both sides
    wide = UniformCodec(bits=4, scale=codec.scale[:, None], zero_point=codec.zero_point[:, None])
    assert wide.fake(row)[0, 5] == 2.0

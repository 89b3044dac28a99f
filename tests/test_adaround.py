"""The pieces of reconstruction by hand: learned rounding, gradients of scales, the divergence of attention."""

import pytest
import torch

from golden.adaround import RoundedCodec, Rounding, fake_learned, fake_through
from golden.codecs.log2 import Log2Codec
from golden.codecs.token_uniform import TokenUniformCodec
from golden.codecs.uniform import UniformCodec
from golden.learning import divergence
from golden.scheme import Reconstruction


def test_rounding_starts_at_the_weight_and_its_regulariser_decides() -> None:
    w = torch.rand(5, 40, generator=torch.Generator().manual_seed(1)) * 4.2 - 2.1  # -7 .. 7 steps
    codec = UniformCodec(bits=4, scale=torch.full((5, 1), 0.3), zero_point=torch.full((5, 1), 7))
    rounding = Rounding(w, codec)
    assert torch.allclose(rounding.soft(), w, atol=1e-5)
    assert torch.equal(rounding.codes(), codec.encode(w))
    # Downhill from the float weight lies nearest rounding, all decided.
    optimiser = torch.optim.SGD([rounding.v], lr=0.5)
    for _ in range(200):
        optimiser.zero_grad()
        torch.autograd.backward(rounding.indecision(2.0))
        optimiser.step()
    with torch.no_grad():
        undecided = (rounding.share() - 0.5).abs() < 0.45
        ties = ((w / codec.scale).frac().abs() - 0.5).abs() < 0.02
        assert not undecided[~ties].any()
        assert torch.equal(rounding.codes()[~ties], codec.encode(w)[~ties])
        assert torch.allclose(rounding.soft()[~ties], codec.fake(w)[~ties], atol=0.05 * 0.3)


def test_a_scale_learns_by_the_centred_code_and_the_rounding_error() -> None:
    scale = torch.tensor(0.5, requires_grad=True)
    codec = UniformCodec(bits=3, scale=torch.tensor(0.5), zero_point=torch.tensor(2))
    x = torch.tensor([-5.0, -0.3, 0.0, 0.6, 2.4, 9.0], requires_grad=True)  # centred codes -2 .. 5
    y = fake_learned(codec, x, scale)
    assert torch.equal(y, codec.fake(x))
    weight = torch.tensor([1.0, 10.0, 100.0, 1000.0, 1e4, 1e5])
    to_x, to_scale = torch.autograd.grad((y * weight).sum(), (x, scale))
    assert to_x.tolist() == [0.0, 10.0, 100.0, 1000.0, 1e4, 0.0]
    slopes = torch.tensor([-2.0, -1 + 0.6, 0.0, 1 - 1.2, 5 - 4.8, 5.0])
    assert float(to_scale) == pytest.approx(float((slopes * weight).sum()), rel=1e-5)


def test_outliers_teach_their_tokens_scale_nothing() -> None:
    codec = TokenUniformCodec(
        bits=4, scale=torch.tensor([[0.1], [0.2]]), zero_point=torch.tensor([[8], [8]]), threshold=5.0,
        capacity=1, peak=9.0,
    )  # fmt: skip
    scale = codec.scale.clone().requires_grad_()
    x = torch.tensor([[7.0, 0.11, -0.02], [-8.0, 0.35, 6.0]])[None].expand(3, 2, 3).requires_grad_()
    y = fake_learned(codec, x, scale)
    assert torch.equal(y[0, :, 0], x[0, :, 0])
    to_x, to_scale = torch.autograd.grad(y.sum(), (x, scale))
    assert to_x[0].tolist() == [[1, 1, 1], [1, 1, 0]]  # the second outlier of its row is beyond the list
    assert torch.allclose(to_scale, 3 * torch.tensor([[-0.1 + 0.2], [0.25 + 7.0]]), atol=1e-4)


def test_formats_without_such_a_scale_pass_gradients_straight_through() -> None:
    codec = Log2Codec(bits=3, steps_per_octave=2, scale=torch.tensor(1.0), zero="paper")
    x = torch.tensor([0.9, 0.3, 0.0], requires_grad=True)
    y = fake_through(codec, x)
    assert torch.equal(y, codec.fake(x))
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [1.0, 1.0, 1.0]


def test_rounded_codes_belong_to_one_tensor() -> None:
    codec = RoundedCodec(
        bits=4, scale=torch.ones(2, 1), zero_point=torch.zeros(2, 1, dtype=torch.int64),
        codes=torch.tensor([[1, 2, 3], [4, 5, 6]]),
    )  # fmt: skip
    assert codec.fake(torch.zeros(2, 3)).tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(ValueError, match=r"codes of shape \[2, 3\] for a tensor of \[3, 2\]"):
        codec.encode(torch.zeros(3, 2))


def test_the_regulariser_sets_in_after_the_warm_up() -> None:
    settings = Reconstruction(iterations=100)
    assert settings.exponent_at(19) is None
    assert settings.exponent_at(20) == 20.0
    assert settings.exponent_at(60) == 11.0
    assert settings.exponent_at(99) == pytest.approx(2.225)


def test_divergence_is_that_of_the_float_model_from_the_quantised() -> None:
    p, q = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.1, 0.3, 0.6]])
    a, b = (torch.exp(x / 4) / torch.exp(x / 4).sum() for x in (p, q))
    expected = float((a * (a / b).log()).sum())
    assert float(divergence(p, q, 4.0)) == pytest.approx(expected, rel=1e-4)
    assert abs(float(divergence(q, p, 4.0)) / expected - 1) > 1e-3
    rows, others = p.expand(2, 3, 5, 3), q.expand(2, 3, 5, 3)
    assert float(divergence(rows, others, 4.0)) == pytest.approx(30 * expected, rel=1e-4)

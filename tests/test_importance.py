"""Squared gradients of the loss at every site, against the gradient written out by hand where that is short."""

import pytest
import torch

from golden.digits import images
from golden.families import from_timm
from golden.importance import squared_gradients
from golden.model import Recorder, forward
from golden.pretrained import load_model
from golden.vit import Vit


@pytest.fixture(scope="module")
def vit() -> Vit:
    return from_timm(load_model("vitrtl_digits", None)).to(torch.float64)


def test_gradient_at_the_head_input_is_that_of_softmax_cross_entropy(vit: Vit) -> None:
    batch = images("test").images[:11].double()  # more than one chunk
    recorder = Recorder()
    logits = forward(vit, batch, recorder)
    # d/dx of -log softmax(W x + b)[y] is Wᵀ (softmax - onehot(y)).
    error = logits.softmax(-1) - torch.nn.functional.one_hot(logits.argmax(-1), 10)
    expected = (error @ vit.weights["head.weight"]).square()
    assert torch.allclose(squared_gradients(vit, batch)["norm"], expected, rtol=1e-9, atol=0)


def test_every_site_has_one_as_large_as_its_tensor(vit: Vit) -> None:
    batch = images("test").images[:3].double()
    recorder = Recorder()
    forward(vit, batch, recorder)
    found = squared_gradients(vit, batch)
    assert {site: value.shape for site, value in found.items()} == {
        site: value.shape for site, value in recorder.values.items()
    }
    assert all(value.isfinite().all() and value.sum() > 0 for value in found.values())


def test_gradient_of_a_softmax_entry_by_finite_difference(vit: Vit) -> None:
    batch, site, step = images("test").images[:1].double(), "blocks.3.attn.softmax", 1e-6

    class Nudge(Recorder):
        def __init__(self, amount: float) -> None:
            super().__init__()
            self.amount = amount

        def activation(self, name, kind, x, partner=None):  # type: ignore[no-untyped-def]
            if name == site:
                x = x.clone()
                x[0, 1, 0, 4] += self.amount
            return super().activation(name, kind, x, partner)

    target = forward(vit, batch, Recorder()).argmax(-1)
    losses = [
        torch.nn.functional.cross_entropy(forward(vit, batch, Nudge(sign * step)), target) for sign in (1, -1)
    ]
    slope = float(losses[0] - losses[1]) / (2 * step)
    assert float(squared_gradients(vit, batch)[site][0, 1, 0, 4]) == pytest.approx(slope**2, rel=1e-4)

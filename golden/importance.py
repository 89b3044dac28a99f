"""How much each element of a site matters: squared gradients of the loss, the diagonal of PTQ4ViT's Hessian metric.

PTQ4ViT (arXiv 2111.12293) weights errors of layer outputs; here the error of the quantised tensor itself is weighted,
with the float model's negative log-likelihood of its own prediction as the loss. TSPTQ-ViT's metric is of this kind.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from golden.model import Model, Through

CHUNK = 8
"""Images per backward pass: DeiT-Tiny's sites take 100 MB of gradients per image and pass."""


class _Gradients(Through):
    """Keeps every site's tensor with its gradient to come."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        if not x.requires_grad:  # the image, which nothing before it makes
            x = x.detach().requires_grad_()
        x.retain_grad()
        self.values[site] = x
        return x


def squared_gradients(model: Model, images: Tensor) -> dict[str, Tensor]:
    """Site -> squared gradient, shaped as the site's tensor, for all of `images` [B, C, H, W]."""
    parts: dict[str, list[Tensor]] = {}
    for chunk in torch.split(images, CHUNK):
        tap = _Gradients()
        logits = model.logits(chunk, tap)
        torch.autograd.backward(F.cross_entropy(logits, logits.argmax(-1), reduction="sum"))
        for site, value in tap.values.items():
            if value.grad is not None:
                parts.setdefault(site, []).append(value.grad.square())
    return {site: torch.cat(chunks) for site, chunks in parts.items()}

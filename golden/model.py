"""What every model family offers: parameters, and its function as a chain of steps with a tap at every site.

The parameters come from an unmodified timm model; the forward pass is ours so that calibration, fake quantisation,
capture and comparison all see the same named tensors. It equals timm's to float precision (tested per family).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional as F


class Tap(Protocol):
    """What happens at a site: nothing, observation, fake quantisation."""

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        """What flows on from activation site `site` of `kind` (golden.codecs.base.ACTIVATION_SITES or `residual`).

        `partner` is what a post-softmax tensor is about to be multiplied with: V.
        """
        ...

    def weight(self, layer: str, w: Tensor) -> Tensor:
        """Weight [out, in] that layer `layer` multiplies with."""
        ...


class Through:
    """The tap that changes nothing: the float model."""

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        """`x` itself."""
        return x

    def weight(self, layer: str, w: Tensor) -> Tensor:
        """`w` itself."""
        return w


class Recorder(Through):
    """The float model, keeping every site's tensor."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        """`x` itself, remembered under the site's name."""
        self.values[site] = x
        return x


class Step(NamedTuple):
    """One link of the chain that a model is."""

    name: str
    """`embed`, `blocks.0.attn`, `blocks.0.mlp`, `head`; it starts the names of the step's sites and layers."""
    run: Callable[[Tensor, Tap], Tensor]
    """What it makes of the residual stream, its own branch added; of the images for the first step."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """Parameters and function of one model; a family states `image`, `classes`, `steps` and `layernorm_pairs`."""

    weights: Mapping[str, Tensor]
    """Parameters, named as in timm."""
    norm_eps: float

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height, width of the input."""
        raise NotImplementedError(f"{type(self).__name__} states no image size")

    @property
    def classes(self) -> int:
        """Number of logits."""
        raise NotImplementedError(f"{type(self).__name__} states no classes")

    def steps(self) -> Sequence[Step]:
        """The model as a chain."""
        raise NotImplementedError(f"{type(self).__name__} states no steps")

    def layernorm_pairs(self) -> list[tuple[str, str]]:
        """(LayerNorm, the one layer that reads it), where a channel's scale can move from one to the other."""
        raise NotImplementedError(f"{type(self).__name__} states no pairs")

    def logits(self, images: Tensor, tap: Tap) -> Tensor:
        """Logits [B, classes] of normalised `images` [B, C, H, W], every site passed through `tap`."""
        x = images
        for step in self.steps():
            x = step.run(x, tap)
        return x

    def with_weights(self, weights: Mapping[str, Tensor]) -> Self:
        """The same model with other parameters."""
        return replace(self, weights=weights)

    def to(self, target: torch.dtype | torch.device) -> Self:
        """The same model in another float type or on another device."""
        return self.with_weights({name: value.to(target) for name, value in self.weights.items()})

    def layernorm(self, name: str, x: Tensor) -> Tensor:
        """LayerNorm `name` over channels."""
        w, b = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, w.shape, w, b, self.norm_eps)

    def linear(self, name: str, x: Tensor, tap: Tap) -> Tensor:
        """Fully connected layer `name` with the tapped weight and the float bias."""
        return F.linear(x, tap.weight(name, self.weights[f"{name}.weight"]), self.weights[f"{name}.bias"])


@torch.inference_mode()
def forward(model: Model, images: Tensor, tap: Tap) -> Tensor:
    """Logits [B, classes] of normalised `images` [B, C, H, W], every site passed through `tap`; no gradients."""
    return model.logits(images, tap)


class Sites(NamedTuple):
    """Names of everything that a scheme can give a format."""

    activations: Mapping[str, str]
    """Site -> kind, in the model's order."""
    layers: tuple[str, ...]
    """Layers with weights, in the model's order."""


def sites_of(model: Model) -> Sites:
    """Every site and layer of `model`, found by running it without data."""
    tap = _Names()
    dtype = next(iter(model.weights.values())).dtype
    forward(model.to(torch.device("meta")), torch.empty(1, *model.image, dtype=dtype, device="meta"), tap)
    return Sites(tap.activations, tuple(tap.layers))


class _Names(Through):
    def __init__(self) -> None:
        self.activations: dict[str, str] = {}
        self.layers: list[str] = []

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        self.activations[site] = kind
        return x

    def weight(self, layer: str, w: Tensor) -> Tensor:
        self.layers.append(layer)
        return w

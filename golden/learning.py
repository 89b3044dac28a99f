"""One module of a reconstruction: what it should compute, and how it learns to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from golden.adaround import Rounding, fake_learned, fake_through, has_learned_scale, on_device
from golden.calibrate import Calibrated
from golden.codecs.base import Codec
from golden.model import Model, Step, Through
from golden.scheme import Reconstruction
from golden.shards import Shards

LEAST_SCALE = 0.1
"""A learned scale stays above this share of the calibrated one: one of 0 or less would be no format."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """What the float step makes of float input, and what it consists of."""

    output: Tensor
    attention: dict[str, Tensor]
    """Post-softmax site -> probabilities."""
    sites: list[str]
    layers: list[str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """What a module learned, on the CPU."""

    codes: dict[str, Tensor]
    """Layer -> int64[out, in]."""
    scales: dict[str, Tensor]
    """Activation site -> scale."""


class _Parts(Through):
    """The float step, noting its sites, layers and attention."""

    def __init__(self) -> None:
        self.sites: list[str] = []
        self.layers: list[str] = []
        self.attention: dict[str, Tensor] = {}

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        self.sites.append(site)
        if kind == "softmax":
            self.attention[site] = x
        return x

    def weight(self, layer: str, w: Tensor) -> Tensor:
        self.layers.append(layer)
        return w


def target_of(step: Step, x: Tensor, shards: Shards) -> Target:
    """The float `step` on its float input `x` [B, ...]."""

    def run(rows: slice) -> tuple[Tensor, _Parts]:
        parts = _Parts()
        with torch.no_grad():  # each thread starts with gradients on
            return step.run(x[rows], parts), parts

    outputs, parts = zip(*shards.map(run, len(x)), strict=True)
    attention = {site: torch.cat([part.attention[site] for part in parts]) for site in parts[0].attention}
    return Target(
        output=torch.cat(outputs), attention=attention, sites=parts[0].sites, layers=parts[0].layers
    )


class _Soft(_Parts):
    """The tap of a module that learns: weights between two codes, scales on the move."""

    def __init__(
        self, codecs: Mapping[str, Codec], scales: Mapping[str, Tensor], weights: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.codecs, self.scales, self.weights = codecs, scales, weights

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        super().activation(site, kind, x)
        codec, scale = self.codecs.get(site), self.scales.get(site)
        if codec is None:
            return x
        return fake_through(codec, x) if scale is None else fake_learned(codec, x, scale)

    def weight(self, layer: str, w: Tensor) -> Tensor:
        return self.weights[layer]


class Module:
    """The quantised step that shall compute `target`; `calibrated` holds its formats, `model` its float weights."""

    def __init__(
        self, step: Step, target: Target, model: Model, calibrated: Calibrated, settings: Reconstruction
    ) -> None:
        self.step, self.target, self.settings = step, target, settings
        device = target.output.device
        self.roundings = {
            layer: Rounding(model.weights[f"{layer}.weight"], calibrated.weights[layer])
            for layer in target.layers
        }
        self.codecs = {s: calibrated.activations[s] for s in target.sites if s in calibrated.activations}
        learning = {
            s: on_device(codec, device) for s, codec in self.codecs.items() if has_learned_scale(codec)
        }
        self.codecs |= learning
        self.least = {site: LEAST_SCALE * codec.scale for site, codec in learning.items()}
        self.scales = {site: codec.scale.clone().requires_grad_() for site, codec in learning.items()}

    def learn(
        self,
        floats: Tensor,
        quantised: Tensor,
        shards: Shards,
        generator: torch.Generator,
        advance: Callable[[int], None],
    ) -> Learned:
        """Learns from the step's inputs in the float chain and in the quantised one, both [B, ...]."""
        s = self.settings
        rounding = torch.optim.Adam([r.v for r in self.roundings.values()], s.rounding_rate)
        # A module without such a scale is none here, but an optimiser of nothing is an error.
        scaling = torch.optim.Adam([*self.scales.values()] or [torch.zeros(())], s.scale_rate)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(scaling, s.iterations)
        for iteration in range(s.iterations):
            # Drawn on the CPU, so that a GPU sees the same batches.
            chosen = torch.randperm(len(floats), generator=generator)[: s.batch].to(floats.device)
            x = floats[chosen]
            mixed = torch.rand(x.shape, generator=generator).to(x.device) < s.mix
            self._gradients(
                torch.where(mixed, quantised[chosen], x), chosen, s.exponent_at(iteration), shards
            )
            rounding.step()
            scaling.step()
            cosine.step()
            with torch.no_grad():
                for site, scale in self.scales.items():
                    scale.clamp_(min=self.least[site])
            advance(1)
        with torch.no_grad():
            return Learned(
                codes={layer: r.codes().cpu() for layer, r in self.roundings.items()},
                scales={site: scale.detach().cpu() for site, scale in self.scales.items()},
            )

    def _gradients(self, x: Tensor, chosen: Tensor, exponent: float | None, shards: Shards) -> None:
        """Leaves the gradients of the loss of one batch at V and the scales."""
        soft = {layer: r.soft() for layer, r in self.roundings.items()}
        weights = {layer: w.detach().requires_grad_() for layer, w in soft.items()}
        leaves = [*weights.values(), *self.scales.values()]

        def work(rows: slice) -> tuple[Tensor, ...]:
            tap = _Soft(self.codecs, self.scales, weights)
            output = self.step.run(x[rows], tap)
            loss = self._loss(output, tap.attention, chosen[rows]) / len(x)
            return torch.autograd.grad(loss, leaves)

        gradients = [reduce(torch.add, parts) for parts in zip(*shards.map(work, len(x)), strict=True)]
        for scale, gradient in zip(self.scales.values(), gradients[len(weights) :], strict=True):
            scale.grad = gradient
        for r in self.roundings.values():
            r.v.grad = None
        torch.autograd.backward([*soft.values()], gradients[: len(weights)])
        if exponent is not None:
            for r in self.roundings.values():
                torch.autograd.backward(self.settings.rounding_weight * r.indecision(exponent))

    def _loss(self, output: Tensor, attention: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Of some images, summed: squared error per token, and the divergence of attention."""
        tokens = output[0].numel() // output.shape[-1]
        loss = (output - self.target.output[images]).square().sum() / tokens
        for site, found in attention.items():
            wanted = self.target.attention[site][images]
            apart = divergence(wanted, found, self.settings.attention_temperature)
            loss = loss + self.settings.attention_weight * apart
        return loss


def divergence(wanted: Tensor, found: Tensor, temperature: float) -> Tensor:
    """KL(wanted || found) over the last axis of the softmax of probabilities / temperature, summed over the others."""
    q, p = (torch.log_softmax(probabilities / temperature, dim=-1) for probabilities in (found, wanted))
    return F.kl_div(q, p, reduction="sum", log_target=True)

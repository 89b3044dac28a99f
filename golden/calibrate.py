"""Calibration: one forward pass in which every site fits its codec to what arrives and passes on the quantised value.

So later sites see already quantised inputs, as in RepQ-ViT's released code. Then LayerNorm scales that were found
per channel are folded away (golden.reparameterize), and the weights behind them are fitted anew.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from golden.codecs.base import Codec, Evidence, Zero
from golden.codecs.uniform import UniformCodec, UniformSite, fit_uniform_rows
from golden.errors import UserError
from golden.importance import squared_gradients
from golden.model import Model, forward, sites_of
from golden.reparameterize import fold_channel_scales
from golden.scheme import Scheme


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibrated:
    """A model with a codec at every site: what fake quantisation runs and lowering turns into integers."""

    model: Model
    """Float parameters, LayerNorm reparameterised; the original's function, up to `gamma_bits` where asked for."""
    scheme: Scheme
    weight_bits: int
    act_bits: int
    activations: Mapping[str, Codec]
    weights: Mapping[str, UniformCodec]
    """Per output channel; scale and zero point [out, 1]."""
    residual_peak: float
    """Largest magnitude seen on the residual stream."""
    logit_peak: float
    """Largest logit magnitude seen."""
    digest: str
    """SHA-256 over calibration images, bits and scheme, for provenance."""

    def with_zero(self, zero: Zero) -> "Calibrated":
        """The same calibration with log codecs' zero as in the papers' code or as hardware can hold it."""
        codecs = {site: codec.with_zero(zero) for site, codec in self.activations.items()}
        return replace(self, activations=codecs)


@dataclass(slots=True, eq=False)
class _Calibrator:
    """The tap that fits codecs."""

    scheme: Scheme
    weight_bits: int
    act_bits: int
    fitted: Callable[[str], None]
    importance: Mapping[str, Tensor]
    activations: dict[str, Codec] = field(default_factory=dict)
    weights: dict[str, UniformCodec] = field(default_factory=dict)
    residual_peak: float = 0.0

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        if not x.isfinite().all():
            raise UserError(
                f"calibration: values at site {site} are not finite; the model overflows on these images"
            )
        if kind == "residual":
            self.residual_peak = max(self.residual_peak, float(x.abs().max()))
        spec = self.scheme.format_at(site, kind)
        if spec is None:
            return x
        evidence = Evidence(
            percentiles=self.scheme.calibration.percentiles,
            importance=self.importance.get(site),
            partner=partner,
        )
        try:
            codec = spec.fit(x, spec.bits or self.act_bits, evidence)
        except ValueError as error:
            raise UserError(
                f"calibration: the scheme's format at site {site} cannot be fitted: {error}"
            ) from error
        self.activations[site] = codec
        self.fitted(site)
        return codec.fake(x)

    def weight(self, layer: str, w: Tensor) -> Tensor:
        self.weights[layer] = fit_weight(w, self.scheme.weight_bits_at(layer, self.weight_bits), self.scheme)
        self.fitted(layer)
        return self.weights[layer].fake(w)


def fit_weight(w: Tensor, bits: int, scheme: Scheme) -> UniformCodec:
    """Codec of a weight [out, in], one scale and integer zero point per output channel."""
    rows = fit_uniform_rows(w, bits, scheme.calibration.percentiles)
    return UniformCodec(bits=bits, scale=rows.scale[:, None], zero_point=rows.zero_point[:, None])


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread inside, as many as before afterwards.

    Threads split sums of floats, so their number would move gradients in the last bits, and with them, now and then,
    a choice. It also is faster: the searches are many short operations, and threads spend them waiting.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def calibrate(
    model: Model,
    images: Tensor,
    scheme: Scheme,
    *,
    weight_bits: int,
    act_bits: int,
    fitted: Callable[[str], None] = lambda _: None,
) -> Calibrated:
    """Codecs for every site of `model`, from one batch of normalised images [B, C, H, W].

    `fitted` is called with the name of every site and layer whose codec has been found, for progress.
    The result does not depend on the number of threads. Raises `UserError` for values that are not finite.
    """
    _check_finite(model, images)
    scheme.check_names(*sites_of(model))
    importance = squared_gradients(model, images) if scheme.calibration.metric == "hessian" else {}
    tap = _Calibrator(scheme, weight_bits, act_bits, fitted, importance)
    logits = forward(model, images, tap)
    weights, activations = dict(model.weights), dict(tap.activations)
    for norm, layer in model.layernorm_pairs():
        channel, spec = activations[norm], scheme.format_at(norm, "post_layernorm")
        if (
            not isinstance(channel, UniformCodec)
            or not isinstance(spec, UniformSite)
            or channel.scale.ndim == 0
        ):
            continue
        folded = fold_channel_scales(
            weights, norm, layer, channel, spec.target, ratio=spec.ratio, gamma_bits=spec.gamma_bits
        )
        weights |= folded.parameters
        activations[norm] = folded.codec
        tap.weights[layer] = fit_weight(weights[f"{layer}.weight"], tap.weights[layer].bits, scheme)
    digest = hashlib.sha256(images.numpy().tobytes())
    digest.update(f"{scheme.model_dump_json()} W{weight_bits} A{act_bits}".encode())
    return Calibrated(
        model=model.with_weights(weights),
        scheme=scheme,
        weight_bits=weight_bits,
        act_bits=act_bits,
        activations=activations,
        weights=tap.weights,
        residual_peak=tap.residual_peak,
        logit_peak=float(logits.abs().max()),
        digest=digest.hexdigest(),
    )


def _check_finite(model: Model, images: Tensor) -> None:
    for name, value in model.weights.items():
        if not value.isfinite().all():
            raise UserError(f"calibration: tensor {name} of the model is not finite (NaN or infinity)")
    bad = ~images.isfinite().flatten(1).all(1)
    if bad.any():
        raise UserError(
            f"calibration: image {int(bad.nonzero()[0])} of the batch is not finite (NaN or infinity)"
        )

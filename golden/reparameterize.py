"""Channel-wise to layer-wise LayerNorm scales by way of gamma, beta and the next layer (RepQ-ViT)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from golden.codecs.uniform import UniformCodec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Folded:
    """Result of folding one LayerNorm's channel scales."""

    codec: UniformCodec
    """Per-tensor codec with an integer zero point."""
    parameters: Mapping[str, Tensor]
    """Replaced gamma, beta, weight and bias under their names."""


def fold_channel_scales(
    weights: Mapping[str, Tensor],
    norm: str,
    layer: str,
    channel: UniformCodec,
    target: Literal["mean", "median"] = "mean",
    *,
    ratio: Literal["exact", "power_of_two"] = "exact",
    gamma_bits: int | None = None,
) -> Folded:
    """Replaces per-channel (s, z) after `norm` by one (s~, z~); the float function and the codes stay the same.

    s~ = mean(s), or the median (of an even number the lower middle) as DopQ-ViT asks. z~ = round(mean(z)): the
    released code leaves it fractional, which a datapath cannot.
    With r1 = s / s~ and r2 = z - z~:  gamma / r1,  (beta + s r2) / r1,  W diag(r1),  b - W (s r2).
    The bias uses the unquantised W, as the released code does.

    So far s~ is only a common factor of all of W, which any fit of its scale takes up again: mean and median give the
    same integers. Two options, of no paper, leave the exact form, and there the target counts. `ratio`
    "power_of_two" rounds r1 to the nearest power of two, before all else: see `_power_of_two_scales`; codes change, the
    float function does not. `gamma_bits` rounds the new gamma and beta to fixed point of so many bits: see
    `_fixed_point`; both change.
    """
    target_scale = channel.scale.mean() if target == "mean" else channel.scale.median()
    if ratio == "power_of_two":
        channel = _power_of_two_scales(channel, target_scale)
    s, z = channel.scale, channel.zero_point
    target_zero = torch.round(z.to(s.dtype).mean()).to(torch.int64)
    r1 = s / target_scale
    offset = s * (z - target_zero)
    gamma, beta = weights[f"{norm}.weight"] / r1, (weights[f"{norm}.bias"] + offset) / r1
    if gamma_bits is not None:
        gamma, beta = _fixed_point(gamma, gamma_bits), _fixed_point(beta, gamma_bits)
    w = weights[f"{layer}.weight"]
    parameters = {
        f"{norm}.weight": gamma,
        f"{norm}.bias": beta,
        f"{layer}.weight": w * r1,
        f"{layer}.bias": weights[f"{layer}.bias"] - w @ offset,
    }
    codec = UniformCodec(bits=channel.bits, scale=target_scale, zero_point=target_zero)
    return Folded(codec=codec, parameters=parameters)


def _power_of_two_scales(channel: UniformCodec, target_scale: Tensor) -> UniformCodec:
    """`channel` with scales s' = s~ 2^round(log2(s / s~)), so that dividing by r1 = s' / s~ is a shift.

    The zero point moves so that the middle of each channel's range stays where it is, to half a step.
    """
    scale = target_scale * torch.exp2(torch.round(torch.log2(channel.scale / target_scale)))
    half = ((1 << channel.bits) - 1) / 2
    zero = torch.round(half - (half - channel.zero_point) * (channel.scale / scale)).to(torch.int64)
    return UniformCodec(bits=channel.bits, scale=scale, zero_point=zero)


def _fixed_point(x: Tensor, bits: int) -> Tensor:
    """`x` in signed fixed point of `bits` bits, HALF_EVEN; its step is the least power of two that saturates none."""
    peak = float(x.abs().max())
    if peak == 0:
        return x
    top = (1 << (bits - 1)) - 1
    step = 2.0 ** math.ceil(math.log2(peak / top))
    return torch.round(x / step) * step

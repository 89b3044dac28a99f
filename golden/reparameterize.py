"""Channel-wise to layer-wise LayerNorm scales by way of gamma, beta and the next layer (RepQ-ViT)."""

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
) -> Folded:
    """Replaces per-channel (s, z) after `norm` by one (s~, z~); the float function and the codes stay the same.

    s~ = mean(s), or the median (of an even number the lower middle) as DopQ-ViT asks. z~ = round(mean(z)): the
    released code leaves it fractional, which a datapath cannot.
    With r1 = s / s~ and r2 = z - z~:  gamma / r1,  (beta + s r2) / r1,  W diag(r1),  b - W (s r2).
    The bias uses the unquantised W, as the released code does.
    """
    s, z = channel.scale, channel.zero_point
    target_scale = s.mean() if target == "mean" else s.median()
    target_zero = torch.round(z.to(s.dtype).mean()).to(torch.int64)
    r1 = s / target_scale
    offset = s * (z - target_zero)
    w = weights[f"{layer}.weight"]
    parameters = {
        f"{norm}.weight": weights[f"{norm}.weight"] / r1,
        f"{norm}.bias": (weights[f"{norm}.bias"] + offset) / r1,
        f"{layer}.weight": w * r1,
        f"{layer}.bias": weights[f"{layer}.bias"] - w @ offset,
    }
    codec = UniformCodec(bits=channel.bits, scale=target_scale, zero_point=target_zero)
    return Folded(codec=codec, parameters=parameters)

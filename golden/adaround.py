"""What reconstruction learns: which way each weight is rounded, and the scales of activations.

Weights as AdaRound (arXiv 2004.10568), activations straight through the rounding (LSQ, arXiv 1902.08153).
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from golden.codecs.base import Codec
from golden.codecs.uniform import UniformCodec

LOW, HIGH = -0.1, 1.1
"""AdaRound's rectified sigmoid stretches (0, 1) to this before it clips, so that 0 and 1 can be reached."""
HALF_STEP = 0.5 + 1e-4
"""Within this many steps of its value a code did not saturate; the excess is float32's error."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundedCodec(UniformCodec):
    """Uniform codes of one tensor whose rounding was learned: what it encodes is known beforehand."""

    codes: Tensor
    """int64, the tensor's shape."""

    def encode(self, values: Tensor) -> Tensor:
        """The learned codes; ValueError for a tensor of another shape than theirs."""
        if values.shape != self.codes.shape:
            raise ValueError(f"codes of shape {list(self.codes.shape)} for a tensor of {list(values.shape)}")
        return self.codes

    def fake(self, values: Tensor) -> Tensor:
        """Values of the learned codes."""
        return self.decode(self.encode(values), values.dtype)


class Rounding:
    """The learned rounding of one weight [out, in]: floor(w / scale) plus h(V), V a number per weight.

    h is the rectified sigmoid clip(sigmoid(V) * 1.2 - 0.1, 0, 1). At the start h is the weight's fractional part, so
    the soft weight is the float one; in the end codes round up where h is at least one half.
    """

    def __init__(self, weight: Tensor, codec: UniformCodec) -> None:
        self.codec = on_device(codec, weight.device)
        steps = weight / self.codec.scale
        self.floor = torch.floor(steps)
        fraction = steps - self.floor
        self.v = torch.log((fraction - LOW) / (HIGH - fraction)).requires_grad_()

    def share(self) -> Tensor:
        """h(V) in [0, 1]."""
        return (torch.sigmoid(self.v) * (HIGH - LOW) + LOW).clamp(0, 1)

    def soft(self) -> Tensor:
        """The weight on its way between two codes."""
        soft: Tensor = (self._saturated(self.share()) - self.codec.zero_point) * self.codec.scale
        return soft

    def indecision(self, exponent: float) -> Tensor:
        """AdaRound's regulariser: the sum of 1 - |2h - 1|^exponent, 0 once every h is 0 or 1."""
        return (1 - (2 * self.share() - 1).abs().pow(exponent)).sum()

    def codes(self) -> Tensor:
        """Codes int64 with the rounding as it now is."""
        return self._saturated((self.share() >= 0.5).to(self.floor.dtype)).to(torch.int64)

    def _saturated(self, share: Tensor) -> Tensor:
        codes: Tensor = (self.floor + share + self.codec.zero_point).clamp(0, (1 << self.codec.bits) - 1)
        return codes


def with_codes(codec: UniformCodec, codes: Tensor) -> RoundedCodec:
    """`codec` for the one weight that becomes `codes`."""
    return RoundedCodec(bits=codec.bits, scale=codec.scale, zero_point=codec.zero_point, codes=codes)


def has_learned_scale(codec: Codec) -> bool:
    """Whether the codec's values are steps of `scale`, one or one a token, which reconstruction moves."""
    return isinstance(codec, UniformCodec) or codec.kind == "token_uniform"


def with_scale(codec: Any, scale: Tensor) -> Any:
    """`codec` with another scale; its zero point stays."""
    return replace(codec, scale=scale)


def on_device(codec: Any, device: torch.device) -> Any:
    """`codec` with copies of its tensors on `device`, which autograd may keep whatever mode they were made in."""
    held = {f.name: getattr(codec, f.name) for f in fields(codec)}
    moved = {n: value.to(device, copy=True) for n, value in held.items() if isinstance(value, Tensor)}
    return replace(codec, **moved)


def fake_through(codec: Codec, x: Tensor) -> Tensor:
    """`codec.fake(x)`, wherever `x` lies; the gradient of `x` passes unchanged."""
    quantised: Tensor = _StraightThrough.apply(x, codec)  # type: ignore[no-untyped-call]
    return quantised


def fake_learned(codec: Codec, x: Tensor, scale: Tensor) -> Tensor:
    """`x` faked by `codec` with `scale`, with gradients of both.

    To `x` the gradient passes where the code does not saturate. To the scale: faking is homogeneous, fake(t x, t s) =
    t fake(x, s), so s d(fake)/ds = fake - x d(fake)/dx, of all saturated elements their centred code, of the others
    the rounding error in steps. An outlier kept beside the codes is its own value and adds nothing.
    """
    quantised: Tensor = _LearnedScale.apply(x, scale, codec)  # type: ignore[no-untyped-call]
    return quantised


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, codec: Codec) -> Tensor:
        # Codecs hold their tensors, and make their tables, on the CPU.
        return codec.fake(x.cpu()).to(x.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], None


class _LearnedScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, codec: Codec) -> Tensor:
        quantised: Tensor = with_scale(codec, scale).fake(x)
        ctx.save_for_backward(x, quantised, scale)
        return quantised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        x, quantised, scale = ctx.saved_tensors
        error = quantised - x
        inside = error.abs() <= HALF_STEP * scale
        to_scale = gradient * torch.where(inside, error, quantised) / scale
        return gradient * inside, to_scale.sum_to_size(scale.shape), None

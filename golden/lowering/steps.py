"""The steps a transformer is made of, each lowered to one or two operations: layer, LayerNorm, residual addition."""

import numpy as np
import torch
from numpy.typing import NDArray

from golden.calibrate import Calibrated
from golden.codec import Log2Codec, UniformCodec
from golden.errors import InvariantError
from golden.formats import Integer
from golden.lowering.bounds import weighted_sum
from golden.lowering.builder import ProgramBuilder
from golden.lowering.multipliers import fixed_offset, shared_shift
from golden.program import Tensor

RESIDUAL = Integer(bits=16, signed=True)
LOGIT = Integer(bits=16, signed=True)
NORM_FRAC_BITS = 16
"""Fraction bits of the normalised value before gamma: 2^-17 times a slope of at most 50 codes per unit is no error."""
HEAD_ROOM = 2.0
"""Residual and logit formats hold twice the calibration's peak; beyond they saturate."""

Destination = tuple[Tensor, NDArray[np.float64], NDArray[np.int64] | int]
"""Where a layer ends: (tensor, scale, zero point) of the codes it makes."""


class Steps:
    """Lowers single steps into a builder; the wiring of a model is in golden.lowering.vit."""

    def __init__(self, calibrated: Calibrated) -> None:
        self.calibrated = calibrated
        self.builder = ProgramBuilder()
        self.shape = calibrated.vit.shape
        self.residual_scale = HEAD_ROOM * calibrated.residual_peak / (RESIDUAL.max_code + 1)
        self.logit_scale = HEAD_ROOM * calibrated.logit_peak / (LOGIT.max_code + 1)

    def linear(
        self,
        name: str,
        x: str,
        in_codec: UniformCodec,
        out: Destination,
    ) -> str:
        """A layer: mac with centred weights, then a requantizer to `out` = (tensor, scale, zero point)."""
        output, out_scale, out_zero = out
        weight_codec = self.calibrated.weights[name]
        weight = self.calibrated.vit.weights[f"{name}.weight"]
        centred = (weight_codec.encode(weight) - weight_codec.zero_point).numpy()
        bias = -int(in_codec.zero_point) * centred.sum(1)
        acc_format = weighted_sum(centred, bias, (1 << in_codec.bits) - 1)
        b = self.builder
        inputs = {
            "a": x,
            "w": b.constant(f"{name}.weight", centred),
            "bias": b.constant(f"{name}.bias", bias),
        }
        acc_shape = Tensor(shape=output.shape, format=acc_format)
        acc = b.operation(
            f"{name}_acc", "mac", inputs, acc_shape, a_zero_point=0, w_zero_point=0, acc_bits=acc_format.bits
        )
        unit = float(in_codec.scale) * weight_codec.scale[:, 0].double().numpy()
        real_bias = self.calibrated.vit.weights[f"{name}.bias"].double().numpy()
        return b.requantize(name, acc, unit / out_scale, real_bias / out_scale + out_zero, output)

    def layernorm(self, name: str, x: str, tokens: int) -> str:
        """LayerNorm of `x` straight into the codes of site `name`."""
        b, shape, codec = self.builder, self.shape, self.uniform(name)
        weights, scale = self.calibrated.vit.weights, float(codec.scale)
        gain, shift = shared_shift(weights[f"{name}.weight"].double().numpy() / scale * 2.0**-NORM_FRAC_BITS)
        steps = weights[f"{name}.bias"].double().numpy() / scale + int(codec.zero_point)
        offset = fixed_offset(steps, np.full(shape.dim, shift))
        epsilon = max(1, round(shape.norm_eps * (shape.dim / self.residual_scale) ** 2))
        output = Tensor(shape=(tokens, shape.dim), format=Integer(bits=codec.bits, signed=False), site=name)
        codes = b.operation(
            name,
            "layernorm",
            {
                "x": x,
                "gain": b.constant(f"{name}.gain", gain),
                "offset": b.constant(f"{name}.offset", offset),
            },
            output,
            channels=shape.dim,
            epsilon=epsilon,
            norm_frac_bits=NORM_FRAC_BITS,
            shift=shift,
            in_bits=RESIDUAL.bits,
            out_bits=codec.bits,
        )
        self.describe(codes, codec)
        return codes

    def add(self, name: str, a: str, b: str) -> str:
        """Residual addition of two tensors in residual codes."""
        output = Tensor(shape=self.builder.tensors[a].shape, format=RESIDUAL, site=name)
        result = self.builder.operation(name, "residual_adder", {"a": a, "b": b}, output, bits=RESIDUAL.bits)
        self.builder.decoding[result] = {
            "kind": "uniform",
            "scale": self.residual_scale.hex(),
            "zero_point": 0,
        }
        return result

    def residual(self, tokens: int) -> Destination:
        """Where a branch ends: codes of the residual format."""
        return Tensor(shape=(tokens, self.shape.dim), format=RESIDUAL), np.array(self.residual_scale), 0

    def residual_codes(self, name: str) -> NDArray[np.int64]:
        """A constant of the float model in codes of the residual format (HALF_EVEN, saturated)."""
        codes = torch.round(self.calibrated.vit.weights[name].double() / self.residual_scale)
        return codes.clamp(RESIDUAL.min_code, RESIDUAL.max_code).to(torch.int64).numpy()

    def describe(self, tensor: str, codec: UniformCodec | Log2Codec, *, site: bool = False) -> None:
        """Notes for readers outside how the codes of `tensor` decode."""
        entry: dict[str, str | int] = {"scale": float(codec.scale).hex()}
        if isinstance(codec, UniformCodec):
            entry |= {"kind": "uniform", "zero_point": int(codec.zero_point)}
        else:
            entry |= {"kind": "log2", "steps_per_octave": codec.steps_per_octave}
        self.builder.decoding[tensor] = entry
        if site:
            old = self.builder.tensors[tensor]
            self.builder.tensors[tensor] = Tensor(shape=old.shape, format=old.format, site=tensor)

    def uniform(self, site: str) -> UniformCodec:
        """The per-tensor uniform codec of `site`."""
        codec = self.calibrated.activations[site]
        if not isinstance(codec, UniformCodec) or codec.scale.ndim:
            raise InvariantError(f"{site} should have a per-tensor uniform codec")
        return codec

    def log2(self, site: str) -> Log2Codec:
        """The log codec of `site`."""
        codec = self.calibrated.activations[site]
        if not isinstance(codec, Log2Codec):
            raise InvariantError(f"{site} should have a log2 codec")
        return codec

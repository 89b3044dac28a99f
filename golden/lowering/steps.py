"""The steps a transformer is made of, each lowered to a few operations: layer, LayerNorm, GELU, residual addition."""

import numpy as np
import torch

from golden.calibrate import Calibrated
from golden.codecs.base import Codec
from golden.codecs.uniform import UniformCodec
from golden.errors import InvariantError
from golden.formats import Integer
from golden.lowering.builder import ProgramBuilder
from golden.lowering.formats import lowering_of
from golden.lowering.gelu_table import TABLE_FRAC_BITS, gelu_table
from golden.lowering.multipliers import fixed_offset, shared_shift
from golden.lowering.wide import Operand, Wide
from golden.model import sites_of
from golden.program import Program, Tensor

RESIDUAL, ALIGNED_RESIDUAL = Integer(bits=16, signed=True), Integer(bits=20, signed=True)
"""The residual stream where it is stored as it is, and where it is stored in a format of its own and only summed and
normalised so. Of 18 bits with head room a sum of two rounded operands would move 0.8 % of PTF's 8-bit codes, whose
finest step is an eighth of the usual; 20 bits leave 0.2 %."""
LOGIT = Integer(bits=16, signed=True)
NORM_FRAC_BITS = 16
"""Fraction bits of the normalised value before gamma: 2^-17 times a slope of at most 50 codes per unit is no error."""
HEAD_ROOM = 2.0
"""Residual and logit formats hold twice the calibration's peak; beyond they saturate."""


def decoded(codes: str, codec: UniformCodec) -> Wide:
    """What uniform `codes` stand for."""
    scale = float(codec.scale)
    bias = np.array([-scale * int(codec.zero_point)])
    return Wide(tensor=codes, scale=np.array([scale]), bias=bias)


class Steps:
    """Lowers single steps into a builder."""

    def __init__(self, calibrated: Calibrated) -> None:
        self.calibrated = calibrated
        self.builder = ProgramBuilder()
        self.weights = calibrated.model.weights
        kinds = sites_of(calibrated.model).activations
        stored = any(kinds[site] == "residual" for site in calibrated.activations)
        self.residual_format = ALIGNED_RESIDUAL if stored else RESIDUAL
        self.residual_scale = HEAD_ROOM * calibrated.residual_peak / (self.residual_format.max_code + 1)
        self.logit_scale = HEAD_ROOM * calibrated.logit_peak / (LOGIT.max_code + 1)

    def logits(self) -> str:
        """Lowers the whole model; returns the name of its logits."""
        raise NotImplementedError(f"{type(self).__name__} states no wiring")

    def program(self, provenance: dict[str, str | int]) -> Program:
        """The whole model as a program."""
        settings: dict[str, str | int] = {
            "scheme": self.calibrated.scheme.name,
            "weight_bits": self.calibrated.weight_bits,
            "act_bits": self.calibrated.act_bits,
            "calibration_sha256": self.calibrated.digest,
        }
        return self.builder.finish("patch_embed.input", self.logits(), settings | provenance)

    def image(self, site: str, shape: tuple[int, int, int]) -> str:
        """The program's input: image codes of `site`."""
        codec = self.uniform(site)
        image = self.builder.tensor(site, shape, Integer(bits=codec.bits, signed=False), site)
        self.describe(image, codec)
        return image

    def linear(self, name: str, x: str, site: str, shape: tuple[int, ...]) -> Wide:
        """A layer on the codes `x` of `site`, with centred weights; its real bias waits for the encoder."""
        codec = self.calibrated.weights[name]
        weight = self.weights[f"{name}.weight"]
        centred = (codec.encode(weight) - codec.zero_point).numpy()
        operand = Operand(
            name=f"{name}.weight",
            weights=centred,
            zero_point=0,
            reach=(int(centred.min()), int(centred.max())),
            depth=centred.shape[1],
            scale=codec.scale[:, 0].double().numpy(),
        )
        product = self.product(f"{name}_acc", x, site, operand, shape)
        bias = self.weights[f"{name}.bias"].double().numpy()
        return Wide(tensor=product.tensor, scale=product.scale, bias=product.bias + bias)

    def product(self, name: str, x: str, site: str, operand: Operand, shape: tuple[int, ...]) -> Wide:
        """Products of the codes `x` of `site` with `operand`."""
        codec = self.codec(site)
        wide: Wide = lowering_of(codec).multiply(self.builder, name, x, codec, operand, shape)
        return wide

    def encode(self, name: str, wide: Wide, site: str, shape: tuple[int, ...], *, marked: bool = True) -> str:
        """Codes of `wide` in the format of `site`, as tensor `name`, which is the site's own when `marked`."""
        codec = self.codec(site)
        mark = site if marked else None
        codes: str = lowering_of(codec).encode(self.builder, name, wide, codec, shape, mark)
        if marked:
            self.describe(codes, codec)
        return codes

    def rescale(self, name: str, wide: Wide, scale: float, output: Tensor) -> str:
        """`wide` as plain integers of `scale`: residual codes, logits."""
        return self.builder.requantize(name, wide.tensor, wide.scale / scale, wide.bias / scale, output)

    def layernorm(self, name: str, x: str) -> str:
        """LayerNorm of the residual stream `x` in the codes of site `name`."""
        codec = self.codec(name)
        if isinstance(codec, UniformCodec):
            codes = self.layernorm_codes(name, name, x, codec, name)
            self.describe(codes, codec)
            return codes
        fine = lowering_of(codec).fine(codec)
        steps = self.layernorm_codes(f"{name}_fine", name, x, fine, None)
        return self.encode(name, decoded(steps, fine), name, self.builder.tensors[x].shape)

    def layernorm_codes(
        self,
        output: str,
        name: str,
        x: str,
        codec: UniformCodec,
        site: str | None,
        in_scale: float | None = None,
    ) -> str:
        """The LayerNorm unit with parameters `name`, into uniform codes `output`.

        `in_scale` is the value of one unit of `x`, that of the residual stream by default.
        """
        b, scale, shape = self.builder, float(codec.scale), self.builder.tensors[x].shape
        gain, shift = shared_shift(
            self.weights[f"{name}.weight"].double().numpy() / scale * 2.0**-NORM_FRAC_BITS
        )
        steps = self.weights[f"{name}.bias"].double().numpy() / scale + int(codec.zero_point)
        offset = fixed_offset(steps, np.full(shape[-1], shift))
        epsilon = self.calibrated.model.norm_eps * (shape[-1] / (in_scale or self.residual_scale)) ** 2
        return b.operation(
            output,
            "layernorm",
            {
                "x": x,
                "gain": b.constant(f"{output}.gain", gain),
                "offset": b.constant(f"{output}.offset", offset),
            },
            Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site),
            channels=shape[-1],
            epsilon=max(1, round(epsilon)),
            norm_frac_bits=NORM_FRAC_BITS,
            shift=shift,
            in_bits=b.tensors[x].format.bits,
            out_bits=codec.bits,
        )

    def gelu(self, name: str, layer: str, wide: Wide, shape: tuple[int, ...]) -> str:
        """GELU of `wide` in the codes of site `name`; `layer` names the unit's input."""
        codec = self.codec(name)
        if isinstance(codec, UniformCodec):
            codes = self.gelu_codes(name, layer, wide, shape, codec, name)
            self.describe(codes, codec)
            return codes
        fine = lowering_of(codec).fine(codec)
        steps = self.gelu_codes(f"{name}_fine", layer, wide, shape, fine, None)
        return self.encode(name, decoded(steps, fine), name, shape)

    def gelu_codes(
        self,
        name: str,
        layer: str,
        wide: Wide,
        shape: tuple[int, ...],
        codec: UniformCodec,
        site: str | None,
    ) -> str:
        """The GELU unit, with uniform output codes."""
        scale = float(codec.scale)
        table = gelu_table(scale, codec.bits)
        h = self.rescale(
            layer,
            wide,
            scale / (1 << table.frac_bits),
            Tensor(shape=shape, format=Integer(bits=table.in_bits, signed=True)),
        )
        return self.builder.operation(
            name,
            "gelu",
            {"h": h},
            Tensor(shape=shape, format=Integer(bits=codec.bits, signed=False), site=site),
            in_bits=table.in_bits,
            frac_bits=table.frac_bits,
            table_frac_bits=TABLE_FRAC_BITS,
            table=table.table,
            table_step=table.table_step,
            zero_point=int(codec.zero_point),
            out_bits=codec.bits,
        )

    def add(self, name: str, a: str, b: str) -> str:
        """Residual addition of two tensors in residual codes, into site `name`; returns it in residual codes."""
        shape, quantised = self.builder.tensors[a].shape, name in self.calibrated.activations
        total = f"{name}_sum" if quantised else name
        output = Tensor(shape=shape, format=self.residual_format, site=None if quantised else name)
        self.builder.operation(
            total, "residual_adder", {"a": a, "b": b}, output, bits=self.residual_format.bits
        )
        self.describe_residual(total)
        if not quantised:
            return total
        wide = Wide(tensor=total, scale=np.array([self.residual_scale]), bias=np.zeros(1))
        return self.residual_site(name, wide, shape)

    def residual_site(self, name: str, wide: Wide, shape: tuple[int, ...]) -> str:
        """`wide` as site `name` of the residual stream, in the site's format if it has one; returns residual codes."""
        codec = self.calibrated.activations.get(name)
        if codec is None:
            output = Tensor(shape=shape, format=self.residual_format, site=name)
            self.describe_residual(name)
            return self.rescale(name, wide, self.residual_scale, output)
        codes = self.encode(name, wide, name, shape)
        aligned: Wide = lowering_of(codec).decode(codes, codec)
        return self.residual(f"{name}_aligned", aligned, shape)

    def residual(self, name: str, wide: Wide, shape: tuple[int, ...]) -> str:
        """`wide` in residual codes."""
        return self.rescale(name, wide, self.residual_scale, Tensor(shape=shape, format=self.residual_format))

    def logit(self, name: str, wide: Wide, share: float) -> str:
        """`share` of `wide`, the whole of a head or what it adds to the mean of several, in logit codes."""
        shape = self.builder.tensors[wide.tensor].shape
        return self.rescale(name, wide, self.logit_scale / share, Tensor(shape=shape, format=LOGIT))

    def residual_constant(self, name: str) -> str:
        """A parameter of the float model as a constant in residual codes (HALF_EVEN, saturated)."""
        codes = torch.round(self.weights[name].double() / self.residual_scale)
        codes = codes.clamp(self.residual_format.min_code, self.residual_format.max_code).to(torch.int64)
        self.describe_residual(name)
        return self.builder.constant(name, codes.numpy())

    def describe_residual(self, tensor: str) -> None:
        """Notes that `tensor` holds residual codes."""
        notes: dict[str, str | int] = {"kind": "uniform", "scale": self.residual_scale.hex(), "zero_point": 0}
        self.builder.decoding[tensor] = notes

    def describe(self, tensor: str, codec: Codec) -> None:
        """Notes for readers outside how the codes of `tensor` decode."""
        self.builder.decoding[tensor] = codec.notes()

    def mark(self, tensor: str, codec: Codec) -> None:
        """Makes `tensor` the site of its own name."""
        old = self.builder.tensors[tensor]
        self.builder.tensors[tensor] = Tensor(shape=old.shape, format=old.format, site=tensor)
        self.describe(tensor, codec)

    def codec(self, site: str) -> Codec:
        """The codec of `site`."""
        return self.calibrated.activations[site]

    def uniform(self, site: str) -> UniformCodec:
        """The per-tensor uniform codec of `site`."""
        codec = self.calibrated.activations[site]
        if not isinstance(codec, UniformCodec) or codec.scale.ndim:
            raise InvariantError(f"{site} should have a per-tensor uniform codec")
        return codec

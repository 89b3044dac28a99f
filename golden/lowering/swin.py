"""Lowers a calibrated Swin Transformer to a program: embedding, windowed blocks, merging, pooled classifier."""

import math

import numpy as np
import torch

from golden.calibrate import Calibrated
from golden.codecs.uniform import UniformCodec
from golden.formats import Integer
from golden.lowering.bounds import centred_range, product_sum
from golden.lowering.steps import decoded
from golden.lowering.transformer import Heads, TransformerSteps
from golden.lowering.wide import Wide
from golden.program import Tensor
from golden.swin import Stage, Swin, SwinShape

PATCH = Integer(bits=20, signed=True)
"""Embedded patches before their norm. Their scale comes from the worst case, some 2^5 to 2^6 above what occurs, so
20 bits leave 2^13 steps to a standard deviation: less error than the LayerNorm unit's own."""
FINE_BITS = 16
"""LayerNorm outputs that are not yet at a site: as fine as the unit makes them."""


class SwinLowering(TransformerSteps):
    """The wiring of a Swin Transformer."""

    def __init__(self, calibrated: Calibrated, model: Swin) -> None:
        super().__init__(calibrated)
        self.shape: SwinShape = model.shape

    def logits(self) -> str:
        """The whole model; returns the name of the logits."""
        x = self._embedding()
        for index, stage in enumerate(self.shape.stages):
            if index:
                x = self._downsample(f"layers.{index}.downsample", x, stage)
            for block in range(len(stage.shifts)):
                x = self._block(f"layers.{index}.blocks.{block}", x, stage, block)
        return self._classifier(x)

    def _embedding(self) -> str:
        """Patches in a scale of their own, through their norm to the residual scale."""
        shape, site, first = self.shape, "patch_embed.input", self.shape.stages[0]
        image, pixels = self.image(site, shape.image), shape.image[0] * shape.patch**2
        moved = self.builder.move(
            "patches", image, (first.tokens, pixels), kind="patches", patch_size=shape.patch
        )
        whole = (first.tokens, first.dim)
        wide = self.linear("patch_embed.proj", moved, site, whole)
        most = self.builder.tensors[wide.tensor].format.max_code + 1
        scale = float((wide.scale * most + np.abs(wide.bias)).max()) / (PATCH.max_code + 1)
        patches = self.rescale("patch_embed.proj", wide, scale, Tensor(shape=whole, format=PATCH))
        spare = self.residual_format.bits - FINE_BITS
        fine = UniformCodec(
            bits=FINE_BITS,
            scale=torch.tensor(self.residual_scale * 2.0**spare, dtype=torch.float64),
            zero_point=torch.tensor(1 << (FINE_BITS - 1)),
        )
        codes = self.layernorm_codes("patch_embed.norm", "patch_embed.norm", patches, fine, None, scale)
        return self.residual_site("embed", decoded(codes, fine), whole)

    def _downsample(self, name: str, x: str, stage: Stage) -> str:
        """Merging at the start of `stage`, which replaces the residual stream."""
        channels = 4 * self.builder.tensors[x].shape[-1]
        merged = self.builder.move(
            f"{name}.merged", x, (stage.tokens, channels), kind="merge_patches", **stage.merging
        )
        y, whole = self.layernorm(f"{name}.norm", merged), (stage.tokens, stage.dim)
        wide = self.linear(f"{name}.reduction", y, f"{name}.norm", whole)
        return self.residual_site(f"{name}.residual", wide, whole)

    def _block(self, name: str, x: str, stage: Stage, index: int) -> str:
        b, attn, cut = self.builder, f"{name}.attn", stage.cut(index)
        heads = Heads(groups=(stage.windows,), tokens=stage.window**2, count=stage.heads, dim=stage.head_dim)
        squares = (stage.windows, heads.tokens, stage.dim)
        y = self.layernorm(f"{name}.norm1", b.move(f"{attn}.windows", x, squares, kind="windows", **cut))
        z = self.attention(
            attn, y, f"{name}.norm1", heads, self.weights[f"{attn}.score_bias"].double().numpy()
        )
        z = b.move(f"{attn}.unwindows", z, (stage.tokens, stage.dim), kind="unwindows", **cut)
        x = self.add(f"{attn}.residual", x, z)
        y = self.layernorm(f"{name}.norm2", x)
        return self.add(f"{name}.mlp.residual", x, self.mlp(f"{name}.mlp", y, f"{name}.norm2", stage.tokens))

    def _classifier(self, x: str) -> str:
        """The norm's codes summed over all tokens; what a sum stands for takes the division in."""
        b, (tokens, dim), fine = self.builder, self.builder.tensors[x].shape, self._norm_codec()
        codes = self.layernorm_codes("norm_tokens", "norm", x, fine, None)
        columns = b.move("norm_columns", codes, (dim, tokens), kind="transpose")
        zero_point = int(fine.zero_point)
        acc = product_sum(tokens, centred_range(fine.bits, zero_point), (1, 1))
        sums = b.operation(
            "norm_sums",
            "mac",
            {"a": columns, "w": b.constant("norm_ones", np.ones((1, tokens), np.int64))},
            Tensor(shape=(dim, 1), format=acc),
            a_zero_point=zero_point,
            w_zero_point=0,
            acc_bits=acc.bits,
        )
        row = b.move("norm_row", sums, (1, dim), kind="transpose")
        mean = Wide(tensor=row, scale=np.array([float(fine.scale) / tokens]), bias=np.zeros(1))
        y = self.encode("norm", mean, "norm", (1, dim))
        return self.logit("head", self.linear("head", y, "norm", (1, self.shape.classes)), share=1)

    def _norm_codec(self) -> UniformCodec:
        """Codes of all that the last norm can give: of C channels none deviates by more than √(C − 1)."""
        gamma, beta = (self.weights[f"norm.{part}"].double() for part in ("weight", "bias"))
        reach = gamma.abs() * math.sqrt(len(gamma) - 1)
        low, high = float((beta - reach).min()), float((beta + reach).max())
        scale = (high - low) / ((1 << FINE_BITS) - 1)
        return UniformCodec(
            bits=FINE_BITS,
            scale=torch.tensor(scale, dtype=torch.float64),
            zero_point=torch.tensor(round(-low / scale)),
        )

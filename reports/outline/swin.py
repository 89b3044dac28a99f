"""The wiring of golden/lowering/swin.py, by shapes alone."""

from golden.formats import Integer
from golden.program import Program
from reports.outline.builder import ACC, Wide
from reports.outline.formats import Formats
from reports.outline.sizes import StageSizes, SwinSizes
from reports.outline.steps import Heads, OutlineSteps

PATCH = Integer(bits=20, signed=True)
FINE_BITS = 16
MLP_RATIO = 4


class SwinOutline(OutlineSteps):
    """Outlines a Swin Transformer."""

    def __init__(self, sizes: SwinSizes, formats: Formats) -> None:
        sites = ["embed"]
        for index, stage in enumerate(sizes.stages):
            blocks = range(len(stage.shifts))
            sites += [
                f"layers.{index}.blocks.{n}.{half}.residual" for n in blocks for half in ("attn", "mlp")
            ]
            sites += [f"layers.{index}.downsample.residual"] if index else []
        super().__init__(formats, stored_residual=any(formats.residual(site) is not None for site in sites))
        self.sizes = sizes

    def program(self) -> Program:
        """The whole model."""
        x = self._embedding()
        for index, stage in enumerate(self.sizes.stages):
            if index:
                x = self._downsample(f"layers.{index}.downsample", x, stage)
            for block, shift in enumerate(stage.shifts):
                x = self._block(f"layers.{index}.blocks.{block}", x, stage, shift)
        return self.builder.finish("patch_embed.input", self._classifier(x))

    def _embedding(self) -> str:
        sizes, site, first = self.sizes, "patch_embed.input", self.sizes.stages[0]
        image, pixels = self.image(site, sizes.image), sizes.image[0] * sizes.patch**2
        moved = self.builder.move("patches", image, (first.tokens, pixels), "patches")
        whole = (first.tokens, first.dim)
        wide = self.linear("patch_embed.proj", moved, site, "patch_input", whole)
        patches = self.builder.requantize("patch_embed.proj", wide, whole, PATCH)
        codes = self.layernorm_codes("patch_embed.norm", patches, FINE_BITS, None)
        return self.residual_site("embed", Wide(tensor=codes, channels=1), whole)

    def _downsample(self, name: str, x: str, stage: StageSizes) -> str:
        merged = (stage.tokens, 4 * self.builder.shape(x)[-1])
        norm, whole = f"{name}.norm", (stage.tokens, stage.dim)
        y = self.layernorm(norm, self.builder.move(f"{name}.merged", x, merged, "merge_patches"))
        wide = self.linear(f"{name}.reduction", y, norm, "post_layernorm", whole)
        return self.residual_site(f"{name}.residual", wide, whole)

    def _block(self, name: str, x: str, stage: StageSizes, shift: int) -> str:
        b, attn, side = self.builder, f"{name}.attn", stage.window**2
        heads = Heads(groups=(stage.windows,), tokens=side, count=stage.heads, dim=stage.head_dim)
        # Shifted windows need a mask, which differs from window to window.
        bias = (*([stage.windows] if shift else []), stage.heads, side, side)
        y = self.layernorm(
            f"{name}.norm1", b.move(f"{attn}.windows", x, (stage.windows, side, stage.dim), "windows")
        )
        z = self.attention(attn, y, f"{name}.norm1", heads, bias)
        z = b.move(f"{attn}.unwindows", z, (stage.tokens, stage.dim), "unwindows")
        x = self.add(f"{attn}.residual", x, z)
        y = self.layernorm(f"{name}.norm2", x)
        return self.add(
            f"{name}.mlp.residual", x, self.mlp(f"{name}.mlp", y, f"{name}.norm2", MLP_RATIO * stage.dim)
        )

    def _classifier(self, x: str) -> str:
        """The norm's codes summed over all tokens by products with ones."""
        b, (tokens, dim) = self.builder, self.builder.shape(x)
        codes = self.layernorm_codes("norm_tokens", x, FINE_BITS, None)
        columns = b.move("norm_columns", codes, (dim, tokens), "transpose")
        inputs = {"a": columns, "w": b.constant("norm_ones", 1, tokens)}
        sums = b.operation("norm_sums", "mac", inputs, (dim, 1), ACC, None,
                           a_zero_point=0, w_zero_point=0, acc_bits=ACC.bits)  # fmt: skip
        row = b.move("norm_row", sums, (1, dim), "transpose")
        y = self.encode("norm", Wide(tensor=row, channels=1), "norm", "head_input", (1, dim))
        wide = self.linear("head", y, "norm", "head_input", (1, self.sizes.classes))
        return self.logit("head", wide)

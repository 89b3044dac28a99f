"""The wiring of golden/lowering/vit.py, by shapes alone."""

from golden.program import Program
from reports.outline.formats import Formats
from reports.outline.sizes import VitSizes
from reports.outline.steps import LOGIT, Heads, OutlineSteps


class VitOutline(OutlineSteps):
    """Outlines a ViT, DeiT or DeiT-3."""

    def __init__(self, sizes: VitSizes, formats: Formats) -> None:
        blocks = [f"blocks.{i}.{half}.residual" for i in range(sizes.depth) for half in ("attn", "mlp")]
        stored = any(formats.residual(site) is not None for site in ("embed", *blocks))
        super().__init__(formats, stored_residual=stored)
        self.sizes = sizes

    def program(self) -> Program:
        """The whole model."""
        x = self._embedding()
        for index in range(self.sizes.depth):
            x = self._block(f"blocks.{index}", x)
        return self.builder.finish("patch_embed.input", self._classifier(x))

    def _embedding(self) -> str:
        b, sizes, site = self.builder, self.sizes, "patch_embed.input"
        image = self.image(site, sizes.image)
        patches = sizes.tokens - sizes.prefix
        moved = b.move("patches", image, (patches, sizes.image[0] * sizes.patch**2), "patches")
        whole, every = (patches, sizes.dim), (sizes.tokens, sizes.dim)
        wide = self.linear("patch_embed.proj", moved, site, "patch_input", whole)
        tokens = self.residual("patch_embed.proj", wide, whole)
        rows = b.constant("prefix", sizes.prefix, sizes.dim)
        x = b.move("tokens", tokens, every, "prepend", rows=rows)
        return self.add("embed", x, b.constant("pos_embed", *every))

    def _block(self, name: str, x: str) -> str:
        sizes = self.sizes
        heads = Heads(groups=(), tokens=sizes.tokens, count=sizes.heads, dim=sizes.dim // sizes.heads)
        y = self.layernorm(f"{name}.norm1", x)
        x = self.add(f"{name}.attn.residual", x, self.attention(f"{name}.attn", y, f"{name}.norm1", heads))
        y = self.layernorm(f"{name}.norm2", x)
        return self.add(f"{name}.mlp.residual", x, self.mlp(f"{name}.mlp", y, f"{name}.norm2", sizes.hidden))

    def _classifier(self, x: str) -> str:
        names = (("norm", "head"), ("norm_dist", "head_dist"))[: 1 + self.sizes.distilled]
        heads = [self._head(x, norm, head) for norm, head in names]
        if len(heads) == 1:
            return heads[0]
        a, b = heads
        shape = (1, self.sizes.classes)
        inputs = {"a": a, "b": b}
        return self.builder.operation("logits", "residual_adder", inputs, shape, LOGIT, None, bits=LOGIT.bits)

    def _head(self, x: str, norm: str, head: str) -> str:
        token = self.builder.move(f"{norm}_token", x, (1, self.sizes.dim), "token")
        y = self.layernorm(norm, token, "head_input")
        return self.logit(head, self.linear(head, y, norm, "head_input", (1, self.sizes.classes)))

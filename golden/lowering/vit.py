"""Lowers a calibrated ViT, DeiT or DeiT-3 to a program: embedding, blocks, classifier."""

from golden.calibrate import Calibrated
from golden.formats import Integer
from golden.lowering.transformer import Heads, TransformerSteps
from golden.program import Tensor
from golden.vit import Shape, Vit


class VitLowering(TransformerSteps):
    """The wiring of a Vision Transformer."""

    def __init__(self, calibrated: Calibrated, model: Vit) -> None:
        super().__init__(calibrated)
        self.shape: Shape = model.shape

    def logits(self) -> str:
        """The whole model; returns the name of the logits."""
        x = self._embedding()
        for index in range(self.shape.depth):
            x = self._block(f"blocks.{index}", x)
        return self._classifier(x)

    def _embedding(self) -> str:
        b, shape, site = self.builder, self.shape, "patch_embed.input"
        image = self.image(site, shape.image)
        channels, patches = shape.image[0] * shape.patch**2, shape.tokens - shape.prefix
        moved = b.move("patches", image, (patches, channels), kind="patches", patch_size=shape.patch)
        whole = (patches, shape.dim)
        tokens = self.residual("patch_embed.proj", self.linear("patch_embed.proj", moved, site, whole), whole)
        rows = self.residual_constant("prefix")
        output = Tensor(shape=(shape.tokens, shape.dim), format=self.residual_format)
        x = b.operation("tokens", "move", {"x": tokens, "rows": rows}, output, kind="prepend")
        return self.add("embed", x, self.residual_constant("pos_embed"))

    def _block(self, name: str, x: str) -> str:
        shape = self.shape
        heads = Heads(groups=(), tokens=shape.tokens, count=shape.heads, dim=shape.head_dim)
        y = self.layernorm(f"{name}.norm1", x)
        x = self.add(f"{name}.attn.residual", x, self.attention(f"{name}.attn", y, f"{name}.norm1", heads))
        y = self.layernorm(f"{name}.norm2", x)
        return self.add(f"{name}.mlp.residual", x, self.mlp(f"{name}.mlp", y, f"{name}.norm2", shape.tokens))

    def _classifier(self, x: str) -> str:
        """One head on the first token; or the sum of two halves, from the first two."""
        heads = [self._head(x, token, *names) for token, names in enumerate(self.shape.classifiers)]
        if len(heads) == 1:
            return heads[0]
        output = Tensor(shape=(1, self.shape.classes), format=Integer(bits=16, signed=True))
        a, b = heads
        return self.builder.operation("logits", "residual_adder", {"a": a, "b": b}, output, bits=16)

    def _head(self, x: str, index: int, norm: str, head: str) -> str:
        token = self.builder.move(f"{norm}_token", x, (1, self.shape.dim), kind="token", index=index)
        y = self.layernorm(norm, token)
        wide = self.linear(head, y, norm, (1, self.shape.classes))
        return self.logit(head, wide, share=1 / len(self.shape.classifiers))

"""Lowers a calibrated Vision Transformer to a program: every scale becomes a multiplier, an offset or a table."""

import math

import numpy as np

from golden.calibrate import Calibrated
from golden.codecs.uniform import UniformCodec
from golden.formats import Integer
from golden.lowering.bounds import centred_range
from golden.lowering.formats import lowering_of
from golden.lowering.scores import SCORE_BITS, SCORE_FRAC_BITS, probabilities
from golden.lowering.steps import LOGIT, RESIDUAL, Steps
from golden.lowering.wide import Operand
from golden.program import Program, Tensor


def lower(calibrated: Calibrated, provenance: dict[str, str | int]) -> Program:
    """The integer program of a calibrated model, with hardware zero in its log codes."""
    return _VitLowering(calibrated.with_zero("hardware")).program(provenance)


class _VitLowering(Steps):
    def program(self, provenance: dict[str, str | int]) -> Program:
        x = self.embedding()
        for index in range(self.shape.depth):
            x = self.block(f"blocks.{index}", x)
        logits = self.classifier(x)
        settings: dict[str, str | int] = {
            "scheme": self.calibrated.scheme.name,
            "weight_bits": self.calibrated.weight_bits,
            "act_bits": self.calibrated.act_bits,
            "calibration_sha256": self.calibrated.digest,
        }
        return self.builder.finish("patch_embed.input", logits, settings | provenance)

    def embedding(self) -> str:
        b, shape, site = self.builder, self.shape, "patch_embed.input"
        codec = self.uniform(site)
        image = b.tensor(site, shape.image, Integer(bits=codec.bits, signed=False), site)
        self.describe(image, codec)
        channels, patches = shape.image[0] * shape.patch**2, shape.tokens - shape.prefix
        moved = b.move("patches", image, (patches, channels), kind="patches", patch_size=shape.patch)
        wide = self.linear("patch_embed.proj", moved, site, (patches, shape.dim))
        tokens = self.residual("patch_embed.proj", wide, patches)
        rows = b.constant("prefix", self.residual_codes("prefix"))
        whole = Tensor(shape=(shape.tokens, shape.dim), format=RESIDUAL)
        x = b.operation("tokens", "move", {"x": tokens, "rows": rows}, whole, kind="prepend")
        positions = b.constant("positions", self.residual_codes("pos_embed"))
        return self.add("embed", x, positions)

    def block(self, name: str, x: str) -> str:
        y = self.layernorm(f"{name}.norm1", x, self.shape.tokens)
        x = self.add(f"{name}.attn.residual", x, self.attention(f"{name}.attn", y, f"{name}.norm1"))
        y = self.layernorm(f"{name}.norm2", x, self.shape.tokens)
        return self.add(f"{name}.mlp.residual", x, self.mlp(f"{name}.mlp", y, f"{name}.norm2"))

    def classifier(self, x: str) -> str:
        token = self.builder.move("class_token", x, (1, self.shape.dim), kind="token", index=0)
        y = self.layernorm("norm", token, 1)
        wide = self.linear("head", y, "norm", (1, self.shape.classes))
        return self.rescale(
            "head", wide, self.logit_scale, Tensor(shape=(1, self.shape.classes), format=LOGIT)
        )

    def attention(self, name: str, y: str, site: str) -> str:
        b, shape = self.builder, self.shape
        codecs = [self.uniform(f"{name}.{part}") for part in "qkv"]
        whole = (shape.tokens, 3 * shape.dim)
        wide = self.linear(f"{name}.qkv", y, site, whole)
        scales = np.repeat([float(codec.scale) for codec in codecs], shape.dim)
        zeros = np.repeat([int(codec.zero_point) for codec in codecs], shape.dim)
        output = Tensor(shape=whole, format=Integer(bits=max(c.bits for c in codecs), signed=False))
        qkv = b.requantize(
            f"{name}.qkv", wide.tensor, wide.scale / scales, wide.bias / scales + zeros, output
        )
        heads = (shape.heads, shape.tokens, shape.head_dim)
        for part, codec in enumerate(codecs):
            tensor = b.move(f"{name}.{'qkv'[part]}", qkv, heads, kind="heads", part=part, heads=shape.heads)
            self.mark(tensor, codec)
        return self.mix(name, self.softmax(name))

    def softmax(self, name: str) -> str:
        """Codes of the attention probabilities, from Q and K."""
        b, shape, site = self.builder, self.shape, f"{name}.softmax"
        square = (shape.heads, shape.tokens, shape.tokens)
        k = self.operand(f"{name}.k", shape.head_dim)
        acc = self.product(f"{name}.scores_acc", f"{name}.q", f"{name}.q", k, square)
        # Octaves per accumulator unit; 1/sqrt(D) and log2 e cost nothing here and spare the softmax a multiplier.
        octaves = acc.scale * shape.head_dim**-0.5 * math.log2(math.e)
        score = Tensor(shape=square, format=Integer(bits=SCORE_BITS, signed=True))
        scores = b.requantize(
            f"{name}.scores", acc.tensor, octaves * (1 << SCORE_FRAC_BITS), np.zeros(1), score
        )
        codec = self.codec(site)
        formats = lowering_of(codec)
        if not hasattr(formats, "encode_scores"):
            return self.encode(site, probabilities(b, f"{name}.probabilities", scores, square), site, square)
        codes: str = formats.encode_scores(b, site, scores, codec, square, site)
        self.describe(codes, codec)
        return codes

    def mix(self, name: str, probability_codes: str) -> str:
        """Attention probabilities times V, heads merged, through the output projection."""
        shape, site = self.shape, f"{name}.proj_input"
        heads = (shape.heads, shape.tokens, shape.head_dim)
        v = self.operand(f"{name}.v", shape.tokens, transposed=True)
        acc = self.product(f"{name}.mix_acc", probability_codes, f"{name}.softmax", v, heads)
        mixed = self.encode(f"{name}.mix", acc, site, heads, marked=False)
        merged = self.builder.move(site, mixed, (shape.tokens, shape.dim), kind="merge_heads")
        self.mark(merged, self.codec(site))
        wide = self.linear(f"{name}.proj", merged, site, (shape.tokens, shape.dim))
        return self.residual(f"{name}.proj", wide, shape.tokens)

    def mlp(self, name: str, y: str, site: str) -> str:
        shape = self.shape
        hidden = (shape.tokens, shape.hidden)
        wide = self.linear(f"{name}.fc1", y, site, hidden)
        codes = self.gelu(f"{name}.gelu", f"{name}.fc1", wide, hidden)
        wide = self.linear(f"{name}.fc2", codes, f"{name}.gelu", (shape.tokens, shape.dim))
        return self.residual(f"{name}.fc2", wide, shape.tokens)

    def operand(self, site: str, depth: int, *, transposed: bool = False) -> Operand:
        """Q·K's K, in rows as it is, or V, whose rows are the sum's index (`transposed`)."""
        codec: UniformCodec = self.uniform(site)
        zero_point = int(codec.zero_point)
        return Operand(
            name=site,
            weights=None,
            zero_point=zero_point,
            reach=centred_range(codec.bits, zero_point),
            depth=depth,
            scale=np.array([float(codec.scale)]),
            transposed=transposed,
        )

"""Lowers a calibrated Vision Transformer to a program: every scale becomes a multiplier, an offset or a table."""

import math

import numpy as np

from golden.calibrate import Calibrated
from golden.codec import UniformCodec
from golden.formats import Integer
from golden.lowering.bounds import centred_range, product_sum, shifted_sum
from golden.lowering.gelu_table import FRAC_BITS, TABLE_FRAC_BITS, gelu_table
from golden.lowering.steps import LOGIT, RESIDUAL, Steps
from golden.program import Program, Tensor
from golden.softmax_tables import softmax_tables

SCORE_BITS, SCORE_FRAC_BITS = 16, 9
"""Attention scores in octaves: ±64 octaves (±44 in natural units) in steps of 1/512, a 256th of a log√2 code."""
EXP_BITS, LOG_FRAC_BITS = 18, 12
"""Mantissa of 2^-d: dropping a fraction per term of 197 moves log2 of the sum by at most 197 · 2^-18 · 1.44 = 0.001
octave. Fraction bits of log2 of the sum, far below a code's half octave."""
MAX_SHIFTED_BITS, JOIN_BITS = 16, 4
"""Fraction bits kept when log2 codes shift V: at most 16, and up to that all that the codes need, plus 4 that keep the
rounding where the √2 accumulator joins (half a unit, times up to 4 output codes per V code) below 0.1 % of codes."""


def lower(calibrated: Calibrated, provenance: dict[str, str | int]) -> Program:
    """The integer program of a calibrated model, with hardware zero in its log codes."""
    return _VitLowering(calibrated.with_zero("hardware")).program(provenance)


class _VitLowering(Steps):
    def __init__(self, calibrated: Calibrated) -> None:
        super().__init__(calibrated)
        tables = softmax_tables(EXP_BITS, LOG_FRAC_BITS)
        self.softmax_tables = {name: list(table) for name, table in tables.items()}

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
        b, shape = self.builder, self.shape
        codec = self.uniform("patch_embed.input")
        image = b.tensor("patch_embed.input", shape.image, Integer(bits=codec.bits, signed=False), "patch_embed.input")
        self.describe(image, codec)
        channels, patches = shape.image[0] * shape.patch**2, shape.tokens - shape.prefix
        moved = b.move("patches", image, (patches, channels), kind="patches", patch_size=shape.patch)
        tokens = self.linear("patch_embed.proj", moved, codec, self.residual(patches))
        rows = b.constant("prefix", self.residual_codes("prefix"))
        whole = Tensor(shape=(shape.tokens, shape.dim), format=RESIDUAL)
        x = b.operation("tokens", "move", {"x": tokens, "rows": rows}, whole, kind="prepend")
        positions = b.constant("positions", self.residual_codes("pos_embed"))
        return self.add("embed", x, positions)

    def block(self, name: str, x: str) -> str:
        y = self.layernorm(f"{name}.norm1", x, self.shape.tokens)
        x = self.add(
            f"{name}.attn.residual", x, self.attention(f"{name}.attn", y, self.uniform(f"{name}.norm1"))
        )
        y = self.layernorm(f"{name}.norm2", x, self.shape.tokens)
        return self.add(f"{name}.mlp.residual", x, self.mlp(f"{name}.mlp", y, self.uniform(f"{name}.norm2")))

    def classifier(self, x: str) -> str:
        token = self.builder.move("class_token", x, (1, self.shape.dim), kind="token", index=0)
        y = self.layernorm("norm", token, 1)
        out = Tensor(shape=(1, self.shape.classes), format=LOGIT)
        return self.linear("head", y, self.uniform("norm"), (out, np.array(self.logit_scale), 0))

    def attention(self, name: str, y: str, in_codec: UniformCodec) -> str:
        b, shape = self.builder, self.shape
        parts = [self.uniform(f"{name}.{part}") for part in "qkv"]
        scales = np.concatenate([np.full(shape.dim, float(c.scale)) for c in parts])
        zeros = np.concatenate([np.full(shape.dim, int(c.zero_point)) for c in parts])
        out = Tensor(shape=(shape.tokens, 3 * shape.dim), format=Integer(bits=parts[0].bits, signed=False))
        qkv = self.linear(f"{name}.qkv", y, in_codec, (out, scales, zeros))
        heads = (shape.heads, shape.tokens, shape.head_dim)
        q, k, v = (
            b.move(f"{name}.{part}", qkv, heads, kind="heads", part=i, heads=shape.heads)
            for i, part in enumerate("qkv")
        )
        for tensor, codec in zip((q, k, v), parts, strict=True):
            self.describe(tensor, codec, site=True)
        return self.mix(name, self.softmax(name, q, k), v)

    def softmax(self, name: str, q: str, k: str) -> str:
        b, shape = self.builder, self.shape
        q_codec, k_codec = self.uniform(q), self.uniform(k)
        square = (shape.heads, shape.tokens, shape.tokens)
        ranges = [centred_range(c.bits, int(c.zero_point)) for c in (q_codec, k_codec)]
        acc_format = product_sum(shape.head_dim, *ranges)
        acc = b.operation(
            f"{name}.scores_acc",
            "mac",
            {"a": q, "w": k},
            Tensor(shape=square, format=acc_format),
            a_zero_point=int(q_codec.zero_point),
            w_zero_point=int(k_codec.zero_point),
            acc_bits=acc_format.bits,
        )
        # Octaves per accumulator unit; 1/sqrt(D) and log2 e cost nothing here and spare the softmax a multiplier.
        octaves = float(q_codec.scale) * float(k_codec.scale) * shape.head_dim**-0.5 * math.log2(math.e)
        ratio = np.array([octaves * (1 << SCORE_FRAC_BITS)])
        score = Tensor(shape=square, format=Integer(bits=SCORE_BITS, signed=True))
        scores = b.requantize(f"{name}.scores", acc, ratio, np.zeros(1), score)
        codec = self.log2(f"{name}.softmax")
        probabilities = b.operation(
            f"{name}.softmax",
            "softmax",
            {"x": scores},
            Tensor(shape=square, format=Integer(bits=codec.bits, signed=False), site=f"{name}.softmax"),
            score_bits=SCORE_BITS,
            score_frac_bits=SCORE_FRAC_BITS,
            code_bits=codec.bits,
            steps_per_octave=codec.steps_per_octave,
            max_length=shape.tokens,
            log2_scale=round(math.log2(float(codec.scale)) * (1 << LOG_FRAC_BITS)),
            exp_bits=EXP_BITS,
            log_frac_bits=LOG_FRAC_BITS,
            **self.softmax_tables,
        )
        self.describe(probabilities, codec)
        return probabilities

    def mix(self, name: str, probabilities: str, v: str) -> str:
        """Attention probabilities times V, heads merged, through the output projection."""
        b, shape = self.builder, self.shape
        p_codec, v_codec = self.log2(probabilities), self.uniform(v)
        frac_bits = min(p_codec.format.shift(p_codec.format.zero_code - 1) + JOIN_BITS, MAX_SHIFTED_BITS)
        acc_format = shifted_sum(
            shape.tokens, centred_range(v_codec.bits, int(v_codec.zero_point)), frac_bits
        )
        heads = (shape.heads, shape.tokens, shape.head_dim)
        acc = b.operation(
            f"{name}.mix_acc",
            "log2_mac",
            {"a": probabilities, "w": v},
            Tensor(shape=heads, format=acc_format),
            code_bits=p_codec.bits,
            steps_per_octave=p_codec.steps_per_octave,
            frac_bits=frac_bits,
            w_zero_point=int(v_codec.zero_point),
            acc_bits=acc_format.bits,
        )
        codec = self.uniform(f"{name}.proj_input")
        ratio = float(p_codec.scale) * float(v_codec.scale) * 2.0**-frac_bits / float(codec.scale)
        codes = Tensor(shape=heads, format=Integer(bits=codec.bits, signed=False))
        mixed = b.requantize(
            f"{name}.mix", acc, np.array([ratio]), np.array([float(codec.zero_point)]), codes
        )
        merged = b.move(f"{name}.proj_input", mixed, (shape.tokens, shape.dim), kind="merge_heads")
        self.describe(merged, codec, site=True)
        return self.linear(f"{name}.proj", merged, codec, self.residual(shape.tokens))

    def mlp(self, name: str, y: str, in_codec: UniformCodec) -> str:
        shape, codec = self.shape, self.uniform(f"{name}.gelu")
        table = gelu_table(float(codec.scale), codec.bits)
        wide = Tensor(shape=(shape.tokens, shape.hidden), format=Integer(bits=table.in_bits, signed=True))
        h = self.linear(
            f"{name}.fc1", y, in_codec, (wide, codec.scale.double().numpy() / (1 << FRAC_BITS), 0)
        )
        codes = self.builder.operation(
            f"{name}.gelu",
            "gelu",
            {"h": h},
            Tensor(shape=wide.shape, format=Integer(bits=codec.bits, signed=False), site=f"{name}.gelu"),
            in_bits=table.in_bits,
            frac_bits=FRAC_BITS,
            table_frac_bits=TABLE_FRAC_BITS,
            table=table.table,
            table_step=table.table_step,
            zero_point=int(codec.zero_point),
            out_bits=codec.bits,
        )
        self.describe(codes, codec)
        return self.linear(f"{name}.fc2", codes, codec, self.residual(shape.tokens))

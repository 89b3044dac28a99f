"""Attention and MLP lowered to operations: what the blocks of every model family have in common."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.codecs.uniform import UniformCodec
from golden.formats import Integer
from golden.lowering.bounds import centred_range
from golden.lowering.formats import lowering_of
from golden.lowering.scores import LOG_CODES, PROBABILITIES, ScorePrecision, probabilities
from golden.lowering.steps import Steps
from golden.lowering.wide import Operand
from golden.program import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """Sizes of one attention: `groups` of `tokens` that see each other, none for the whole image at once."""

    groups: tuple[int, ...]
    """Leading axes: empty, or the number of windows."""
    tokens: int
    count: int
    dim: int
    """Channels of one head."""

    @property
    def channels(self) -> int:
        """Channels of all heads."""
        return self.count * self.dim


class TransformerSteps(Steps):
    """Lowers whole attentions and MLPs; the wiring of a model is in its family's own file."""

    def attention(
        self, name: str, y: str, site: str, heads: Heads, bias: NDArray[np.float64] | None = None
    ) -> str:
        """Attention on the codes `y` of LayerNorm `site`, through its projection, in residual codes.

        `bias`, the parameter `{name}.score_bias` in natural units, is added to the scores; shaped as they are, or
        without their first axes.
        """
        self._queries_keys_values(name, y, site, heads)
        direct = hasattr(lowering_of(self.codec(f"{name}.softmax")), "encode_scores")
        precision = LOG_CODES if direct else PROBABILITIES
        scores = self._scores(name, heads, precision)
        if bias is not None:
            scores = self._biased(name, scores, bias, precision)
        return self._mix(name, self._softmax(name, scores, heads), heads)

    def mlp(self, name: str, y: str, site: str, tokens: int) -> str:
        """MLP on the codes `y` of LayerNorm `site`, in residual codes."""
        hidden, dim = (len(self.weights[f"{name}.{layer}.bias"]) for layer in ("fc1", "fc2"))
        wide = self.linear(f"{name}.fc1", y, site, (tokens, hidden))
        codes = self.gelu(f"{name}.gelu", f"{name}.fc1", wide, (tokens, hidden))
        wide = self.linear(f"{name}.fc2", codes, f"{name}.gelu", (tokens, dim))
        return self.residual(f"{name}.fc2", wide, (tokens, dim))

    def _queries_keys_values(self, name: str, y: str, site: str, heads: Heads) -> None:
        """Sites q, k, v: one product; one requantizer, or three where the widths differ."""
        b = self.builder
        codecs = [self.uniform(f"{name}.{part}") for part in "qkv"]
        wide = self.linear(f"{name}.qkv", y, site, (*heads.groups, heads.tokens, 3 * heads.channels))
        scales = np.repeat([float(codec.scale) for codec in codecs], heads.channels)
        zeros = np.repeat([int(codec.zero_point) for codec in codecs], heads.channels)
        ratio, steps = wide.scale / scales, wide.bias / scales + zeros
        whole, made = b.tensors[wide.tensor].shape, dict[int, str]()
        for bits in {codec.bits for codec in codecs}:
            label = f"{name}.qkv" if len({c.bits for c in codecs}) == 1 else f"{name}.qkv_{bits}"
            output = Tensor(shape=whole, format=Integer(bits=bits, signed=False))
            made[bits] = b.requantize(label, wide.tensor, ratio, steps, output)
        shape = (*heads.groups, heads.count, heads.tokens, heads.dim)
        for part, codec in enumerate(codecs):
            source = made[codec.bits]
            tensor = b.move(
                f"{name}.{'qkv'[part]}", source, shape, kind="heads", part=part, heads=heads.count
            )
            self.mark(tensor, codec)

    def _scores(self, name: str, heads: Heads, precision: ScorePrecision) -> str:
        """Attention scores in octaves, from Q and K."""
        square = (*heads.groups, heads.count, heads.tokens, heads.tokens)
        acc = self.product(
            f"{name}.scores_acc",
            f"{name}.q",
            f"{name}.q",
            self._operand(f"{name}.k", heads.dim),
            square,
        )
        # Octaves per accumulator unit; 1/sqrt(D) and log2 e cost nothing here and spare the softmax a multiplier.
        octaves = acc.scale * heads.dim**-0.5 * math.log2(math.e)
        score = Tensor(shape=square, format=precision.score)
        ratio = octaves * (1 << precision.score_frac_bits)
        return self.builder.requantize(f"{name}.scores", acc.tensor, ratio, np.zeros(1), score)

    def _biased(self, name: str, scores: str, bias: NDArray[np.float64], precision: ScorePrecision) -> str:
        """`scores` plus `bias` in natural units, saturated."""
        b, score = self.builder, precision.score
        steps = np.rint(bias * math.log2(math.e) * (1 << precision.score_frac_bits))
        codes = np.clip(steps, score.min_code, score.max_code)
        held = b.constant(f"{name}.score_bias", codes.astype(np.int64))
        unit = math.log(2) * 2.0**-precision.score_frac_bits
        b.decoding[held] = {"kind": "uniform", "scale": unit.hex(), "zero_point": 0}
        inputs = {"a": scores, "b": held}
        output = Tensor(shape=b.tensors[scores].shape, format=score)
        return b.operation(f"{name}.biased", "residual_adder", inputs, output, bits=score.bits)

    def _softmax(self, name: str, scores: str, heads: Heads) -> str:
        """Codes of the attention probabilities."""
        b, site = self.builder, f"{name}.softmax"
        square = b.tensors[scores].shape
        codec = self.codec(site)
        formats = lowering_of(codec)
        if not hasattr(formats, "encode_scores"):
            return self.encode(site, probabilities(b, f"{name}.probabilities", scores, square), site, square)
        codes: str = formats.encode_scores(b, site, scores, codec, square, site)
        self.describe(codes, codec)
        return codes

    def _mix(self, name: str, probability_codes: str, heads: Heads) -> str:
        """Attention probabilities times V, heads merged, through the output projection."""
        site = f"{name}.proj_input"
        shape = (*heads.groups, heads.count, heads.tokens, heads.dim)
        v = self._operand(f"{name}.v", heads.tokens, transposed=True)
        acc = self.product(f"{name}.mix_acc", probability_codes, f"{name}.softmax", v, shape)
        mixed = self.encode(f"{name}.mix", acc, site, shape, marked=False)
        tokens = (*heads.groups, heads.tokens)
        merged = self.builder.move(site, mixed, (*tokens, heads.channels), kind="merge_heads")
        self.mark(merged, self.codec(site))
        whole = (*tokens, len(self.weights[f"{name}.proj.bias"]))
        return self.residual(f"{name}.proj", self.linear(f"{name}.proj", merged, site, whole), whole)

    def _operand(self, site: str, depth: int, *, transposed: bool = False) -> Operand:
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

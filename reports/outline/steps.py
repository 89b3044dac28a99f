"""The steps of golden/lowering/steps.py and transformer.py, by shapes alone: layer, LayerNorm, GELU, attention, MLP."""

from dataclasses import dataclass

from golden.formats import Integer
from golden.program import Parameter
from reports.outline.builder import OutlineBuilder, Wide
from reports.outline.codes import Operand, encode, fine_bits, multiply
from reports.outline.formats import Formats

RESIDUAL, ALIGNED_RESIDUAL = Integer(bits=16, signed=True), Integer(bits=20, signed=True)
LOGIT = Integer(bits=16, signed=True)
GELU_IN = Integer(bits=25, signed=True)
"""As wide as any; calibration decides, no cycle depends on it."""
LAYERNORM = {"epsilon": 1, "norm_frac_bits": 16, "shift": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreWidths:
    """Widths of scores, and what a row unit's cycles depend on: its largest power of two, and its segments."""

    score: Integer
    frac_bits: int
    exp_bits: int
    exp_base: int
    """First and largest entry of the table, which decides the width of the sum."""
    exp_segments: int
    log_frac_bits: int
    log_segments: int = 16

    def parameters(self, tokens: int) -> dict[str, Parameter]:
        """Parameters of a unit for rows of `tokens` scores; of the tables the sizes count, and that none is flat."""
        return {
            "score_bits": self.score.bits,
            "score_frac_bits": self.frac_bits,
            "max_length": tokens,
            "exp_bits": self.exp_bits,
            "log_frac_bits": self.log_frac_bits,
            "exp_base": [self.exp_base] * self.exp_segments,
            "exp_slope": [1] * self.exp_segments,
            "log_base": [1] * self.log_segments,
            "log_slope": [1] * self.log_segments,
        }


LOG_CODES = ScoreWidths(
    score=Integer(bits=18, signed=True),
    frac_bits=9,
    exp_bits=18,
    exp_base=262024,
    exp_segments=8,
    log_frac_bits=12,
)
PROBABILITIES = ScoreWidths(
    score=Integer(bits=20, signed=True),
    frac_bits=11,
    exp_bits=20,
    exp_base=1048444,
    exp_segments=16,
    log_frac_bits=14,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """Sizes of one attention: `groups` of `tokens` that see each other, none for the whole image at once."""

    groups: tuple[int, ...]
    tokens: int
    count: int
    dim: int


class OutlineSteps:
    """Outlines single steps into a builder."""

    def __init__(self, formats: Formats, *, stored_residual: bool) -> None:
        self.formats, self.builder = formats, OutlineBuilder()
        self.residual_format = ALIGNED_RESIDUAL if stored_residual else RESIDUAL

    def image(self, site: str, shape: tuple[int, int, int]) -> str:
        """The program's input."""
        bits = self.formats.at(site, "patch_input").bits
        return self.builder.tensor(site, shape, Integer(bits=bits, signed=False), site)

    def linear(self, name: str, x: str, site: str, kind: str, shape: tuple[int, ...]) -> Wide:
        """A layer on the codes `x` of `site`, of that kind."""
        operand = Operand(
            name=f"{name}.weight",
            weight_bits=self.formats.weight_bits_at(name),
            channels=shape[-1],
            depth=self.builder.shape(x)[-1],
        )
        return self.product(f"{name}_acc", x, site, kind, operand, shape)

    def product(
        self, name: str, x: str, site: str, kind: str, operand: Operand, shape: tuple[int, ...]
    ) -> Wide:
        """Products of the codes `x` of `site` with `operand`."""
        return multiply(self.builder, name, x, self.formats.at(site, kind), operand, shape)

    def encode(self, name: str, wide: Wide, site: str, kind: str, shape: tuple[int, ...]) -> str:
        """Codes of `wide` in the format of `site`, as tensor `name`."""
        form = self.formats.at(site, kind)
        return encode(self.builder, name, wide, site, self.formats, form, shape)

    def layernorm(self, name: str, x: str, kind: str = "post_layernorm") -> str:
        """LayerNorm of the residual stream in the codes of site `name`."""
        form = self.formats.at(name, kind)
        if form.kind == "uniform":
            return self.layernorm_codes(name, x, form.bits, name)
        steps = self.layernorm_codes(f"{name}_fine", x, fine_bits(form), None)
        return self.encode(name, Wide(tensor=steps, channels=1), name, kind, self.builder.shape(x))

    def layernorm_codes(self, output: str, x: str, bits: int, site: str | None) -> str:
        """The LayerNorm unit into uniform codes of `bits` bits."""
        b, shape = self.builder, self.builder.shape(x)
        inputs = {"x": x}
        for port in ("gain", "offset"):
            inputs[port] = b.constant(f"{output}.{port}", shape[-1])
        in_bits = b.tensors[x].format.bits
        return b.operation(output, "layernorm", inputs, shape, Integer(bits=bits, signed=False), site,
                           channels=shape[-1], in_bits=in_bits, out_bits=bits, **LAYERNORM)  # fmt: skip

    def gelu(self, name: str, layer: str, wide: Wide, shape: tuple[int, ...]) -> str:
        """GELU of `wide` in the codes of site `name`."""
        form = self.formats.at(name, "gelu")
        if form.kind == "uniform":
            return self._gelu_codes(name, layer, wide, shape, form.bits, name)
        steps = self._gelu_codes(f"{name}_fine", layer, wide, shape, fine_bits(form), None)
        return self.encode(name, Wide(tensor=steps, channels=1), name, "gelu", shape)

    def add(self, name: str, a: str, b: str) -> str:
        """Residual addition into site `name`; returns it in residual codes."""
        shape, quantised = self.builder.shape(a), self.formats.residual(name) is not None
        total = f"{name}_sum" if quantised else name
        self.builder.operation(total, "residual_adder", {"a": a, "b": b}, shape, self.residual_format,
                               None if quantised else name, bits=self.residual_format.bits)  # fmt: skip
        return self.residual_site(name, Wide(tensor=total, channels=1), shape) if quantised else total

    def residual_site(self, name: str, wide: Wide, shape: tuple[int, ...]) -> str:
        """`wide` as site `name` of the residual stream; returns residual codes."""
        if self.formats.residual(name) is None:
            return self.builder.requantize(name, wide, shape, self.residual_format, name)
        codes = self.encode(name, wide, name, "residual", shape)
        return self.residual(f"{name}_aligned", Wide(tensor=codes, channels=shape[-1]), shape)

    def residual(self, name: str, wide: Wide, shape: tuple[int, ...]) -> str:
        """`wide` in residual codes."""
        return self.builder.requantize(name, wide, shape, self.residual_format)

    def logit(self, name: str, wide: Wide) -> str:
        """`wide` in logit codes."""
        return self.builder.requantize(name, wide, self.builder.shape(wide.tensor), LOGIT)

    def attention(self, name: str, y: str, site: str, heads: Heads, bias: tuple[int, ...] = ()) -> str:
        """Attention on the codes of LayerNorm `site`, in residual codes; `bias` is the shape of the scores' bias."""
        self._queries_keys_values(name, y, site, heads)
        log = self.formats.at(f"{name}.softmax", "softmax").kind == "log2"
        widths = LOG_CODES if log else PROBABILITIES
        b, square = self.builder, (*heads.groups, heads.count, heads.tokens, heads.tokens)
        keys = Operand(name=f"{name}.k", weight_bits=None, channels=heads.tokens, depth=heads.dim)
        wide = self.product(f"{name}.scores_acc", f"{name}.q", f"{name}.q", "q", keys, square)
        scores = b.requantize(f"{name}.scores", wide, square, widths.score)
        if bias:
            inputs = {"a": scores, "b": b.constant(f"{name}.score_bias", *bias)}
            scores = b.operation(f"{name}.biased", "residual_adder", inputs, square, widths.score, None,
                                 bits=widths.score.bits)  # fmt: skip
        return self._mix(name, self._softmax(name, scores, widths, log=log), heads)

    def mlp(self, name: str, y: str, site: str, hidden: int) -> str:
        """MLP on the codes of LayerNorm `site`, in residual codes."""
        tokens, dim = self.builder.shape(y)
        wide = self.linear(f"{name}.fc1", y, site, "post_layernorm", (tokens, hidden))
        codes = self.gelu(f"{name}.gelu", f"{name}.fc1", wide, (tokens, hidden))
        wide = self.linear(f"{name}.fc2", codes, f"{name}.gelu", "gelu", (tokens, dim))
        return self.residual(f"{name}.fc2", wide, (tokens, dim))

    def _queries_keys_values(self, name: str, y: str, site: str, heads: Heads) -> None:
        b = self.builder
        whole = (*heads.groups, heads.tokens, 3 * heads.count * heads.dim)
        wide = self.linear(f"{name}.qkv", y, site, "post_layernorm", whole)
        widths = [self.formats.at(f"{name}.{part}", part).bits for part in "qkv"]
        made = dict[int, str]()
        for bits in set(widths):
            label = f"{name}.qkv" if len(set(widths)) == 1 else f"{name}.qkv_{bits}"
            made[bits] = b.requantize(label, wide, whole, Integer(bits=bits, signed=False))
        shape = (*heads.groups, heads.count, heads.tokens, heads.dim)
        for part, bits in zip("qkv", widths, strict=True):
            b.move(f"{name}.{part}", made[bits], shape, "heads", site=f"{name}.{part}")

    def _softmax(self, name: str, scores: str, widths: ScoreWidths, *, log: bool) -> str:
        b, site, square = self.builder, f"{name}.softmax", self.builder.shape(scores)
        parameters, form = widths.parameters(square[-1]), self.formats.at(site, "softmax")
        if log:
            codes = Integer(bits=form.bits, signed=False)
            return b.operation(site, "softmax", {"x": scores}, square, codes, site, code_bits=form.bits,
                               steps_per_octave=form.steps_per_octave, log2_scale=0, **parameters)  # fmt: skip
        format = Integer(bits=widths.exp_bits + 1, signed=False)
        made = b.operation(f"{name}.probabilities", "probability", {"x": scores}, square, format, None,
                           prob_bits=widths.exp_bits, **parameters)  # fmt: skip
        return self.encode(site, Wide(tensor=made, channels=1), site, "softmax", square)

    def _mix(self, name: str, probabilities: str, heads: Heads) -> str:
        b, site, tokens = self.builder, f"{name}.proj_input", (*heads.groups, heads.tokens)
        shape = (*heads.groups, heads.count, heads.tokens, heads.dim)
        v = Operand(
            name=f"{name}.v", weight_bits=None, channels=heads.dim, depth=heads.tokens, transposed=True
        )
        acc = self.product(f"{name}.mix_acc", probabilities, f"{name}.softmax", "softmax", v, shape)
        mixed = self.encode(f"{name}.mix", acc, site, "proj_input", shape)
        whole = (*tokens, heads.count * heads.dim)
        b.move(site, mixed, whole, "merge_heads", site=site)
        wide = self.linear(f"{name}.proj", site, site, "proj_input", whole)
        return self.residual(f"{name}.proj", wide, whole)

    def _gelu_codes(
        self, name: str, layer: str, wide: Wide, shape: tuple[int, ...], bits: int, site: str | None
    ) -> str:
        h = self.builder.requantize(layer, wide, shape, GELU_IN)
        return self.builder.operation(name, "gelu", {"h": h}, shape, Integer(bits=bits, signed=False), site,
                                      in_bits=GELU_IN.bits, frac_bits=0, table_frac_bits=0, table=[0, 0],
                                      table_step=0, zero_point=0, out_bits=bits)  # fmt: skip

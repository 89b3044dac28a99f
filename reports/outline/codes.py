"""How each number format is made and consumed: the operations of golden/lowering/formats, by shapes alone."""

from dataclasses import dataclass

from golden.formats import Integer
from reports.outline.builder import ACC, OutlineBuilder, Wide
from reports.outline.formats import Format, Formats

FINE_BITS = {"token_uniform": 16, "shift_log2": 19}
"""Width of the uniform codes that a format's own are made of behind LayerNorm and GELU."""
VALUE_BITS = 17
"""An outlier's value in a list's word; its channel's number takes the bits above."""
SHIFTED_FRAC_BITS = 16
STEPS_SHIFT = 1
"""Between the steps of a two-scale or sign-scale format: calibration finds it, no cycle depends on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """The second operand of a product: a layer's weights, or K or V."""

    name: str
    weight_bits: int | None
    """None for an activation."""
    channels: int
    """N: outputs per row."""
    depth: int
    transposed: bool = False
    """True for V, whose rows are the sum's index."""

    def rows(self, builder: OutlineBuilder) -> str:
        """Its name in the layout [.., N, K]."""
        if self.weight_bits is not None:
            return builder.weights(self.name, self.channels, self.depth, self.weight_bits)
        if not self.transposed:
            return self.name
        *lead, tokens, width = builder.shape(self.name)
        return builder.move(f"{self.name}_transposed", self.name, (*lead, width, tokens), "transpose")

    def columns(self, builder: OutlineBuilder) -> str:
        """Its name in the layout [.., K, N]."""
        if self.weight_bits is None:
            return self.name
        return builder.weights(self.name, self.channels, self.depth, self.weight_bits, columns=True)


def multiply(
    b: OutlineBuilder, name: str, codes: str, form: Format, operand: Operand, shape: tuple[int, ...]
) -> Wide:
    """Products of `codes` with `operand`."""
    products: dict[str, int | bool | str | list[int]] = {"w_zero_point": 0, "acc_bits": ACC.bits}
    channels = 1 if operand.weight_bits is None else operand.channels
    wide = Wide(tensor=name, channels=channels)
    if form.kind == "token_uniform":
        return _multiply_tokens(b, name, codes, operand, shape)
    if form.kind in ("log2", "shift_log2"):
        inputs = {"a": codes, "w": operand.columns(b)}
        b.operation(name, "log2_mac", inputs, shape, ACC, code_bits=form.bits, frac_bits=SHIFTED_FRAC_BITS,
                    steps_per_octave=form.steps_per_octave, **products)  # fmt: skip
        return wide
    inputs = {"a": codes, "w": operand.rows(b)}
    if form.kind == "uniform":
        if operand.weight_bits is not None:
            inputs["bias"] = b.constant(f"{name}.bias", operand.channels)
        b.operation(name, "mac", inputs, shape, ACC, a_zero_point=0, **products)
    elif form.kind == "tan":
        b.operation(name, "table_mac", inputs, shape, ACC, code_bits=form.bits, entry_bits=form.entry_bits,
                    table=[0] * (1 << form.bits), **products)  # fmt: skip
    else:
        b.operation(name, "two_scale_mac", inputs, shape, ACC, code_bits=form.bits, shift=STEPS_SHIFT,
                    signed_regions=form.kind == "sign_scale", **products)  # fmt: skip
    return wide


def _multiply_tokens(
    b: OutlineBuilder, name: str, codes: str, operand: Operand, shape: tuple[int, ...]
) -> Wide:
    """Dense and sparse products, and the unit that joins them."""
    w, width = operand.rows(b), ACC.bits
    dense = b.operation(f"{name}_dense", "mac", {"a": codes, "w": w}, shape, ACC, a_zero_point=0, w_zero_point=0,
                        acc_bits=width)  # fmt: skip
    sparse = b.operation(f"{name}_sparse", "outlier_mac", {"a": f"{codes}_outliers", "w": w}, shape, ACC,
                         value_bits=VALUE_BITS, index_bits=index_bits(operand.depth), acc_bits=width)  # fmt: skip
    inputs = {"acc": dense, "outlier": sparse}
    tokens = shape[-2]
    for port, size in (("multiplier", tokens), ("zero_point", tokens), ("column_sum", operand.channels)):
        inputs[port] = b.constant(f"{name}.{port}", size)
    b.operation(name, "token_scaler", inputs, shape, ACC, outlier_shift=0, shift=0, out_bits=width)
    return Wide(tensor=name, channels=operand.channels)


def encode(
    b: OutlineBuilder,
    name: str,
    wide: Wide,
    site: str,
    formats: Formats,
    form: Format,
    shape: tuple[int, ...],
) -> str:
    """Codes of `wide` in `form`, the format of `site`; the tensor is the site where it has its name."""
    mark = site if site == name else None
    codes = Integer(bits=form.bits, signed=False)
    if form.kind == "uniform":
        return b.requantize(name, wide, shape, codes, mark)
    if form.kind == "channel_shift":
        return b.requantize(name, Wide(tensor=wide.tensor, channels=shape[-1]), shape, codes, mark)
    if form.kind == "token_uniform":
        return _encode_tokens(b, name, wide, formats.capacity(site), form, shape, mark)
    if form.kind == "tan":
        return b.operation(name, "threshold_encoder", {"x": wide.tensor}, shape, codes, mark,
                           in_bits=b.tensors[wide.tensor].format.bits, code_bits=form.bits, thresholds=[])  # fmt: skip
    if form.kind == "shift_log2":
        most = 1 << FINE_BITS[form.kind]
        return b.operation(name, "log2_encoder", {"x": wide.tensor}, shape, codes, mark, in_bits=FINE_BITS[form.kind],
                           code_bits=form.bits, steps_per_octave=form.steps_per_octave, unity=0, max_level=0,
                           thresholds=[most] * form.steps_per_octave)  # fmt: skip
    signed = form.kind == "sign_scale"
    bits = form.bits - 1 + STEPS_SHIFT + signed
    steps = b.requantize(f"{name}_steps", wide, shape, Integer(bits=bits, signed=signed))
    return b.operation(name, f"{form.kind}_encoder", {"x": steps}, shape, codes, mark, in_bits=bits,
                       code_bits=form.bits, shift=STEPS_SHIFT)  # fmt: skip


def fine_bits(form: Format) -> int:
    """Width of the uniform codes that LayerNorm and GELU give for `form` to be made of."""
    return FINE_BITS.get(form.kind, form.bits + STEPS_SHIFT + 1)


def index_bits(channels: int) -> int:
    """Width of a channel's number in a word."""
    return max(1, (channels - 1).bit_length())


def _encode_tokens(
    b: OutlineBuilder,
    name: str,
    wide: Wide,
    capacity: int,
    form: Format,
    shape: tuple[int, ...],
    mark: str | None,
) -> str:
    """The lists of outliers, and the codes of all else."""
    bits = FINE_BITS[form.kind]
    apart: dict[str, int | bool | str | list[int]] = {
        "in_bits": bits, "in_zero_point": 0, "threshold": 0, "capacity": capacity
    }  # fmt: skip
    word = Integer(bits=VALUE_BITS + index_bits(shape[-1]), signed=False)
    b.operation(f"{name}_outliers", "outlier_list", {"x": wide.tensor}, (*shape[:-1], capacity), word, None,
                channels=shape[-1], **apart)  # fmt: skip
    inputs = {"x": wide.tensor}
    for port in ("multiplier", "offset", "shift", "zero_code"):
        inputs[port] = b.constant(f"{name}.token_{port}", shape[-2])
    return b.operation(name, "token_encoder", inputs, shape, Integer(bits=form.bits, signed=False), mark,
                       code_bits=form.bits, **apart)  # fmt: skip

"""Softmax hardware: a row passes three times through one memory (take, sum, code); no multiplier, no divider.

TAKE writes the row and finds its maximum; SUM reads it and adds the powers of two; NORMALISE and INTERPOLATE
turn the sum into its log2, with the sum's own register as shift register; LEVEL and REFERENCE add the
constants; CODE reads the row again and subtracts. One subtraction serves both reads: `reference` holds the
row maximum first, and the maximum plus the row's logarithm afterwards.
"""

from amaranth.hdl import Const, Elaboratable, Module, Mux, Signal, Value

from golden.formats import Integer
from rtl.fixed import product_parts, saturate, table
from rtl.row import Row
from rtl.stream import StreamUnit, shape
from sim.units.softmax import LOG_INDEX_BITS
from sim.units.softmax import Softmax as Spec


class PowerOfTwo(Elaboratable):
    """2^−d of an unsigned `difference` d in `spec.power_latency` cycles: products, mantissa, shift."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.difference = Signal(spec.score_bits)
        self.power = Signal(max(spec.exp_base).bit_length())

    def elaborate(self, platform: object) -> Module:
        """Three registers deep; a difference of P + 1 octaves and more shifts everything out."""
        m = Module()
        spec, f, a = self.spec, self.spec.score_frac_bits, self.spec.exp_segment_shift
        # A score narrower than its fraction cannot reach the later segments: the missing bits are 0.
        low, segment, octaves = (self.difference[part] for part in (slice(a), slice(a, f), slice(f, None)))
        slope = Signal(max(max(spec.exp_slope).bit_length(), 1))
        m.d.comb += slope.eq(table(spec.exp_slope, segment))
        # Two bits of `low` at a time: one addition before the register, the others after it.
        products = product_parts(slope, low, 2)
        parts = [Signal(len(product), name=f"product_{n}") for n, product in enumerate(products)]
        segment_1, octaves_1, octaves_2 = Signal.like(segment), Signal.like(octaves), Signal.like(octaves)
        mantissa = Signal.like(self.power)
        fall = sum((part << 2 * n for n, part in enumerate(parts)), Const(0))
        m.d.sync += [
            *(part.eq(product) for part, product in zip(parts, products, strict=True)),
            *(segment_1.eq(segment), octaves_1.eq(octaves)),
            *(mantissa.eq(table(spec.exp_base, segment_1) - fall), octaves_2.eq(octaves_1)),
            self.power.eq(mantissa >> octaves_2),
        ]
        return m


class Logarithm(Elaboratable):
    """Sum of powers and its log2, with the constants of a code: `level` = log2 S + log2_scale + half.

    Attributes: `clear`, `add` (a `power`), `normalise`, `interpolate`, `finish` each strobe one step.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.power = Signal(max(spec.exp_base).bit_length())
        self.level = Signal(shape(spec.level_format))
        self.clear, self.add, self.normalise = Signal(), Signal(), Signal()
        self.interpolate, self.finish = Signal(), Signal()

    def elaborate(self, platform: object) -> Module:
        """One register is sum, normaliser and multiplier operand in turn."""
        m = Module()
        spec, top = self.spec, self.spec.sum_bits - 1
        total, exponent = Signal(spec.sum_bits), Signal(range(spec.sum_bits))
        below = total[top - LOG_INDEX_BITS : top]  # the bits after the leading one, once it is at the top
        low, segment = below[: spec.log_segment_shift], below[spec.log_segment_shift :]
        # slope · low needs the bits of both; built from the highest bit of `low` down, one a cycle.
        slope = table(spec.log_slope, segment)
        product = Signal(max(spec.log_slope).bit_length() + len(low))
        constant = spec.log2_scale + ((1 << spec.code_shift) >> 1) - (spec.exp_bits << spec.log_frac_bits)
        with m.If(self.clear):
            m.d.sync += [total.eq(0), exponent.eq(top), product.eq(0)]
        with m.If(self.add):
            m.d.sync += total.eq(total + self.power)
        with m.If(self.normalise):
            with m.If(~total[-4:].any()):
                m.d.sync += [total.eq(total << 4), exponent.eq(exponent - 4)]
            with m.Elif(~total[-1]):
                m.d.sync += [total.eq(total << 1), exponent.eq(exponent - 1)]
        with m.If(self.interpolate):
            m.d.sync += [low.eq(low << 1), product.eq((product << 1) + Mux(low[-1:], slope, 0))]
        with m.If(self.finish):
            base = table([entry + constant for entry in spec.log_base], segment)
            octaves = exponent << spec.log_frac_bits
            m.d.sync += self.level.eq(octaves + base + (product >> spec.log_segment_shift))
        return m


class Softmax(StreamUnit):
    """Row softmax to log2 codes.

    Members: `i`, a stream of scores, and `o`, a stream of codes, both with `last`. A row of n scores takes
    3n + spec.row_overhead − 1 cycles from its first score to its last code; the next one follows at once.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """Connects the parts; differences and codes are registered here, control is a state machine."""
        m = Module()
        m.submodules.row = row = Row(self.spec.inputs["i"].format, self.spec.max_length)
        m.submodules.power_of_two = power_of_two = PowerOfTwo(self.spec)
        m.submodules.logarithm = logarithm = Logarithm(self.spec)
        reference = Signal(shape(self.spec.reference_format), init=self.spec.inputs["i"].format.min_code)
        difference = Signal(shape(self.spec.difference_format))
        present, final, coding = Signal(), Signal(), Signal()
        # Octaves to code steps: the level already holds the rounding half.
        code = saturate(
            difference >> (self.spec.score_frac_bits - self.spec.steps_per_octave + 1), self._code
        )
        m.d.comb += [
            *(row.move.eq(self.o.ready | ~self.o.valid), row.take.eq(self.i.valid & self.i.ready)),
            *(row.code.eq(self.i.payload.code[0]), row.last.eq(self.i.payload.last)),
            *(power_of_two.difference.eq(difference), logarithm.power.eq(power_of_two.power)),
        ]
        with m.If(row.move):
            m.d.sync += [
                *(difference.eq(reference - row.read), present.eq(row.present), final.eq(row.final)),
                *(
                    self.o.payload.code[0].eq(code),
                    self.o.payload.last.eq(final),
                    self.o.valid.eq(present & coding),
                ),
            ]
        power, last_power = self._delay(m, present & ~coding), self._delay(m, final)
        self._control(m, row, logarithm, reference, power, last_power, coding)
        return m

    @property
    def _code(self) -> Integer:
        return self.spec.outputs["o"].format

    def _delay(self, m: Module, strobe: Value) -> Value:
        """`strobe` of a difference when its power of two is there."""
        for _ in range(self.spec.power_latency):
            delayed = Signal()
            m.d.sync += delayed.eq(strobe)
            strobe = delayed
        return strobe

    def _control(
        self, m: Module, row: Row, logarithm: Logarithm, reference: Signal,
        power: Value, last_power: Value, coding: Signal,
    ) -> None:  # fmt: skip
        """TAKE and SUM last as long as the row, CODE until its codes are taken, the others fixed times."""
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += [self.i.ready.eq(1), logarithm.clear.eq(1)]
                with m.If(self.i.valid):
                    with m.If(row.code > reference):
                        m.d.sync += reference.eq(row.code)
                    with m.If(row.last):
                        m.d.comb += row.start.eq(1)
                        m.next = "SUM"
            with m.State("SUM"):
                m.d.comb += logarithm.add.eq(power)
                with m.If(power & last_power):
                    m.next = "NORMALISE"
            self._repeat(m, "NORMALISE", logarithm.normalise, self.spec.normalise_cycles, "INTERPOLATE")
            self._repeat(m, "INTERPOLATE", logarithm.interpolate, self.spec.log_segment_shift, "LEVEL")
            with m.State("LEVEL"):
                m.d.comb += logarithm.finish.eq(1)
                m.next = "REFERENCE"
            with m.State("REFERENCE"):
                # x_max + level, in score units: FLOOR here and in the code's shift is FLOOR of the whole.
                finer = self.spec.log_frac_bits - self.spec.score_frac_bits
                m.d.sync += reference.eq(reference + (logarithm.level >> finer))
                m.d.comb += row.start.eq(1)
                m.next = "CODE"
            with m.State("CODE"):
                m.d.comb += coding.eq(1)
                with m.If(self.o.valid & self.o.ready & self.o.payload.last):
                    m.d.sync += reference.eq(self.spec.inputs["i"].format.min_code)
                    m.next = "TAKE"

    @staticmethod
    def _repeat(m: Module, state: str, strobe: Signal, cycles: int, after: str) -> None:
        """State that gives `strobe` for `cycles` cycles."""
        step = Signal(range(max(cycles, 1)), name=f"{state.lower()}_step")
        with m.State(state):
            m.d.comb += strobe.eq(1)
            m.d.sync += step.eq(step + 1)
            with m.If(step == cycles - 1):
                m.d.sync += step.eq(0)
                m.next = after

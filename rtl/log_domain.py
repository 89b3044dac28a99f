"""Rows of scores in the log domain: a row passes three times through one memory (take, sum, emit).

TAKE writes the row and finds its maximum; SUM reads it and adds the powers of two; NORMALISE and INTERPOLATE
turn the sum into its log2, with the sum's own register as shift register; LEVEL and REFERENCE add the
constants; EMIT reads the row again and subtracts. One subtraction serves both reads: `reference` holds the
row maximum first, and the maximum plus the row's logarithm afterwards. No multiplier, no divider.
"""

from typing import NamedTuple

from amaranth.hdl import Const, Elaboratable, Module, Mux, Signal, Value

from rtl.fixed import product_parts, table
from rtl.row import Row
from rtl.stream import StreamUnit, shape
from sim.log_domain import LOG_INDEX_BITS
from sim.log_domain_rows import LogDomainRows as Spec


class PowerOfTwo(Elaboratable):
    """2^−d of an unsigned `distance` d in `spec.power_latency` cycles with `move`: products, mantissa, shift."""

    def __init__(self, spec: Spec, distance_bits: int) -> None:
        self.spec = spec
        self.distance, self.move = Signal(distance_bits), Signal(init=1)  # always, unless somebody drives it
        self.power = Signal(shape(spec.power_format))

    def elaborate(self, platform: object) -> Module:
        """Three registers deep; a distance of P + 1 octaves and more shifts everything out."""
        m = Module()
        spec, f, a = self.spec, self.spec.score_frac_bits, self.spec.exp_segment_shift
        # A distance narrower than its fraction cannot reach the later segments: the missing bits are 0.
        low, segment, octaves = (self.distance[part] for part in (slice(a), slice(a, f), slice(f, None)))
        slope = Signal(max(max(spec.exp_slope).bit_length(), 1))
        m.d.comb += slope.eq(table(spec.exp_slope, segment))
        # Two bits of `low` at a time: one addition before the register, the others after it.
        products = product_parts(slope, low, 2)
        parts = [Signal(len(product), name=f"product_{n}") for n, product in enumerate(products)]
        segment_1, octaves_1, octaves_2 = Signal.like(segment), Signal.like(octaves), Signal.like(octaves)
        mantissa = Signal.like(self.power)
        fall = sum((part << 2 * n for n, part in enumerate(parts)), Const(0))
        with m.If(self.move):
            m.d.sync += [
                *(part.eq(product) for part, product in zip(parts, products, strict=True)),
                *(segment_1.eq(segment), octaves_1.eq(octaves)),
                *(mantissa.eq(table(spec.exp_base, segment_1) - fall), octaves_2.eq(octaves_1)),
                self.power.eq(mantissa >> octaves_2),
            ]
        return m


class Logarithm(Elaboratable):
    """Sum of powers and its log2, with the constants of what is emitted: `level` = log2 S + offset + half.

    Attributes: `clear`, `add` (a `power`), `normalise`, `interpolate`, `finish` each strobe one step.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.power = Signal(shape(spec.power_format))
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
            base = table([entry + spec.level_constant for entry in spec.log_base], segment)
            octaves = exponent << spec.log_frac_bits
            m.d.sync += self.level.eq(octaves + base + (product >> spec.log_segment_shift))
        return m


class EmitPass(NamedTuple):
    """The last pass over a row."""

    move: Value
    """Lets the pass advance: `o` is free."""
    difference: Signal
    """Reference − score, read `spec.read_latency` cycles before."""
    present: Value
    """There is one."""
    final: Signal
    """It is the row's last."""
    power_of_two: PowerOfTwo
    """Of the same differences."""
    final_power: Value
    """Its power is the row's last."""


class LogDomainUnit(StreamUnit):
    """Row unit that divides in the log domain; a unit of this kind states what it emits.

    Members: `i`, a stream of scores, and `o`, a stream of results, both with `last`. A row of n scores takes
    3n + spec.row_overhead − 1 cycles from its first score to its last result; the next one follows at once.
    """

    spec: Spec

    def distance(self, difference: Signal) -> Value:
        """What the power of two is taken of; a difference is never negative in the sum's pass."""
        return difference[: self.spec.score_bits]

    def emit(self, m: Module, last_pass: EmitPass) -> None:
        """Drives `o`, `spec.emit_latency` cycles with `move` behind the difference."""
        raise NotImplementedError(f"{type(self).__name__} emits nothing")

    def elaborate(self, platform: object) -> Module:
        """Connects the parts; differences are registered here, control is a state machine."""
        m = Module()
        spec = self.spec
        m.submodules.row = row = Row(spec.score_format, spec.max_length)
        m.submodules.logarithm = logarithm = Logarithm(spec)
        reference = Signal(shape(spec.reference_format), init=spec.score_format.min_code)
        difference = Signal(shape(spec.difference_format))
        distance = self.distance(difference)
        m.submodules.power_of_two = power_of_two = PowerOfTwo(spec, len(distance))
        present, final, emitting = Signal(), Signal(), Signal()
        m.d.comb += [
            *(row.move.eq(self.o.ready | ~self.o.valid), row.take.eq(self.i.valid & self.i.ready)),
            *(row.code.eq(self.i.payload.code[0]), row.last.eq(self.i.payload.last)),
            *(power_of_two.distance.eq(distance), logarithm.power.eq(power_of_two.power)),
        ]
        with m.If(row.move):
            m.d.sync += [difference.eq(reference - row.read), present.eq(row.present), final.eq(row.final)]
        power = self.delay(m, present & ~emitting, power_of_two)
        final_power = self.delay(m, final, power_of_two)
        self.emit(m, EmitPass(row.move, difference, present & emitting, final, power_of_two, final_power))
        self._control(m, row, logarithm, reference, power, final_power, emitting)
        return m

    def delay(self, m: Module, strobe: Value, power_of_two: PowerOfTwo) -> Value:
        """`strobe` of a difference when its power of two is there."""
        for _ in range(self.spec.power_latency):
            delayed = Signal()
            with m.If(power_of_two.move):
                m.d.sync += delayed.eq(strobe)
            strobe = delayed
        return strobe

    def _control(
        self, m: Module, row: Row, logarithm: Logarithm, reference: Signal,
        power: Value, final_power: Value, emitting: Signal,
    ) -> None:  # fmt: skip
        """TAKE and SUM last as long as the row, EMIT until its results are taken, the others fixed times."""
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
                with m.If(power & final_power):
                    m.next = "NORMALISE"
            bits = self.spec.log_segment_shift  # none where every index has an entry of its own
            after = "INTERPOLATE" if bits else "LEVEL"
            self._repeat(m, "NORMALISE", logarithm.normalise, self.spec.normalise_cycles, after)
            if bits:
                self._repeat(m, "INTERPOLATE", logarithm.interpolate, bits, "LEVEL")
            with m.State("LEVEL"):
                m.d.comb += logarithm.finish.eq(1)
                m.next = "REFERENCE"
            with m.State("REFERENCE"):
                # x_max + level, in score units: FLOOR here and in a later shift is FLOOR of the whole.
                m.d.sync += reference.eq(reference + (logarithm.level >> self.spec.finer_bits))
                m.d.comb += row.start.eq(1)
                m.next = "EMIT"
            with m.State("EMIT"):
                m.d.comb += emitting.eq(1)
                with m.If(self.o.valid & self.o.ready & self.o.payload.last):
                    m.d.sync += reference.eq(self.spec.score_format.min_code)
                    m.next = "TAKE"

    @staticmethod
    def _repeat(m: Module, state: str, strobe: Signal, cycles: int, after: str) -> None:
        """State that gives `strobe` for `cycles` cycles."""
        step = Signal(range(cycles), name=f"{state.lower()}_step")
        with m.State(state):
            m.d.comb += strobe.eq(1)
            m.d.sync += step.eq(step + 1)
            with m.If(step == cycles - 1):
                m.d.sync += step.eq(0)
                m.next = after

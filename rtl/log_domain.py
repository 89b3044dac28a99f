"""Rows of scores in the log domain: a row passes three times through one memory (take, sum, emit).

TAKE writes the row and finds its maximum; SUM reads it and adds the powers of two; NORMALISE and INTERPOLATE
turn the sum into its log2, with the sum's own register as shift register; LEVEL and REFERENCE add the
constants; EMIT reads the row again and subtracts. One subtraction a lane serves both reads: `reference` holds the
row maximum first, and the maximum plus the row's logarithm afterwards. No multiplier, no divider.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value

from rtl.logarithm import Logarithm, PowerOfTwo
from rtl.row import Row
from rtl.stream import StreamUnit, shape
from sim.log_domain_rows import LogDomainRows as Spec


class EmitPass(NamedTuple):
    """The last pass over a row."""

    move: Value
    """Lets the pass advance: `o` is free."""
    differences: Sequence[Signal]
    """Reference − score by lane, read `spec.read_latency` cycles before."""
    absent: Sequence[Value]
    """Whether it is of no score, by lane."""
    present: Value
    """There are such."""
    final: Signal
    """They are the row's last."""
    powers_of_two: Sequence[PowerOfTwo]
    """Of the same differences."""
    final_power: Value
    """Their powers are the row's last."""


class LogDomainUnit(StreamUnit):
    """Row unit that divides in the log domain; a unit of this kind states what it emits.

    Members: `i`, a stream of scores, and `o`, a stream of results, both with `last`. A row of n beats takes
    3n + spec.row_overhead − 1 cycles from its first beat to its last result; the next one follows at once.
    """

    spec: Spec

    def distance(self, difference: Signal) -> Value:
        """What the power of two is taken of; a difference is never negative in the sum's pass."""
        return difference[: self.spec.score_bits]

    def emit(self, m: Module, last_pass: EmitPass) -> None:
        """Drives `o`, `spec.emit_latency` cycles with `move` behind the differences."""
        raise NotImplementedError(f"{type(self).__name__} emits nothing")

    def elaborate(self, platform: object) -> Module:
        """Connects the parts; differences are registered here, control is a state machine."""
        m = Module()
        spec, lanes = self.spec, range(self.spec.lanes)
        m.submodules.row = row = Row(spec.score_format, spec.max_beats, spec.lanes)
        m.submodules.logarithm = logarithm = Logarithm(spec)
        reference = Signal(shape(spec.reference_format), init=spec.score_format.min_code)
        differences = [Signal(shape(spec.difference_format), name=f"difference_{n}") for n in lanes]
        absent = [Signal(name=f"absent_{n}") for n in lanes]
        distances = [self.distance(difference) for difference in differences]
        powers_of_two = [PowerOfTwo(spec, len(distance)) for distance in distances]
        m.submodules += powers_of_two
        present, final, emitting = Signal(), Signal(), Signal()
        m.d.comb += [
            *(row.move.eq(self.o.ready | ~self.o.valid), row.take.eq(self.i.valid & self.i.ready)),
            *(row.codes.eq(self.i.payload.code), row.last.eq(self.i.payload.last)),
            *(unit.distance.eq(distances[n]) for n, unit in enumerate(powers_of_two)),
            *(unit.absent.eq(absent[n]) for n, unit in enumerate(powers_of_two)),
            *(logarithm.powers[n].eq(unit.power) for n, unit in enumerate(powers_of_two)),
        ]
        with m.If(row.move):
            m.d.sync += [present.eq(row.present), final.eq(row.final)]
            m.d.sync += [difference.eq(reference - row.read[n]) for n, difference in enumerate(differences)]
            if spec.lanes > 1:
                m.d.sync += [flag.eq(row.read[n] == spec.absent) for n, flag in enumerate(absent)]
        power = self.delay(m, present & ~emitting, powers_of_two[0])
        final_power = self.delay(m, final, powers_of_two[0])
        self.emit(
            m, EmitPass(row.move, differences, absent, present & emitting, final, powers_of_two, final_power)
        )
        gathered, final_gathered = power, final_power
        for _ in range(spec.gather_latency):
            before, final_before = gathered, final_gathered
            gathered, final_gathered = Signal(), Signal()
            m.d.sync += [gathered.eq(before), final_gathered.eq(final_before)]
        self._control(m, row, logarithm, reference, gathered, final_gathered, emitting)
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
        spec = self.spec
        largest = reduce(lambda a, b: Mux(a > b, a, b), [row.codes[n] for n in range(spec.lanes)])
        # x_max less the places that the sum is shifted by, in octaves; plus the level, in score units: FLOOR here and
        # in a later shift is FLOOR of the whole. The register may wrap on the way; what it holds in the end fits.
        referring = Signal()
        octaves = logarithm.octaves << spec.score_frac_bits
        with m.If(logarithm.normalise | referring):
            step = Mux(logarithm.normalise, octaves, logarithm.level >> spec.finer_bits)
            m.d.sync += reference.eq(reference + step)
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += [self.i.ready.eq(1), logarithm.clear.eq(1)]
                with m.If(self.i.valid):
                    with m.If(largest > reference):
                        m.d.sync += reference.eq(largest)
                    with m.If(row.last):
                        m.d.comb += row.start.eq(1)
                        m.next = "SUM"
            with m.State("SUM"):
                m.d.comb += logarithm.add.eq(power)
                with m.If(power & final_power):
                    m.next = "NORMALISE"
            after = "INTERPOLATE" if spec.interpolate_cycles else "LEVEL"
            self._repeat(m, "NORMALISE", logarithm.normalise, spec.normalise_cycles, after)
            if spec.interpolate_cycles:
                self._repeat(m, "INTERPOLATE", logarithm.interpolate, spec.interpolate_cycles, "LEVEL")
            with m.State("LEVEL"):  # is registered
                m.next = "REFERENCE"
            with m.State("REFERENCE"):
                m.d.comb += [referring.eq(1), row.start.eq(1)]
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

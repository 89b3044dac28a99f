"""LayerNorm hardware: take a row and sum it, solve for 1/√V bit by bit, read the row back and normalise it."""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed

from rtl.fixed import constant_product, leading_one, saturate
from rtl.row import Row
from rtl.stream import StreamUnit, shape
from sim.units.layernorm import GAIN
from sim.units.layernorm import Layernorm as Spec

ROOT_BITS = 17
"""r ≤ 2^16."""
LIMB_BITS = GAIN.max_code.bit_length()
"""Unsigned part of a long factor: a DSP's signed operand, such as the gain, without its sign."""


class InverseRoot(Elaboratable):
    """r of a variance and half the place of its leading one: that place, v, then one bit of r a cycle, highest first.

    q, the bits of r so far, is the largest with q² · v ≤ 4^n after n bits. `remainder` = 4^n − q²·v and `trial` =
    4·q·v + v: the next bit is 1 when 4·remainder ≥ trial, so one subtraction a cycle decides it.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.variance, self.start, self.move = Signal(shape(spec.variance_format)), Signal(), Signal()
        self.root, self.done = Signal(ROOT_BITS), Signal()
        self.half_place = Signal(self._leading_half().shape())

    def elaborate(self, platform: object) -> Module:
        """`start` comes with the variance; `done` with the last bit of the root, which then stays."""
        m = Module()
        v = self._normal()[:32]
        three = (v << 1) + v
        normal, triple = Signal(len(v)), Signal(len(three))
        # Before the last bit q²·v ≤ 2^60, so trial = 4·q·v + v ≤ 2^32 · √v + v < 2^49; remainder < 2·q·v + v.
        trial = Signal(len(normal) + len(self.root))
        remainder = Signal.like(trial)
        steps = Signal(1 + ROOT_BITS)  # one bit set: v, then the bits of the root
        less = (remainder << 2) - trial
        bit = ~less[-1]
        m.d.comb += self.done.eq(steps[-1])
        with m.If(self.move):
            m.d.sync += steps.eq(Cat(self.start, steps[:-1]))
            with m.If(self.start):
                m.d.sync += self.half_place.eq(self._leading_half())
            with m.Elif(steps[0]):
                # Before the first bit 4^n is 2^28, of which the first step makes 2^30.
                m.d.sync += [normal.eq(v), triple.eq(three), trial.eq(v), remainder.eq(1 << 28)]
            with m.Elif(steps[1:].any()):
                # Both next trials are there when the bit is: one carry chain a cycle, not two.
                m.d.sync += [
                    *(remainder.eq(Mux(bit, less, remainder << 2)), self.root.eq(Cat(bit, self.root))),
                    trial.eq(Mux(bit, (trial << 1) + triple, (trial << 1) - normal)),
                ]
        return m

    def _leading_half(self) -> Value:
        """h = p >> 1, p the place of V's leading one."""
        return leading_one(self.variance)[1:]

    def _normal(self) -> Value:
        """v = V · 2^−2j, FLOOR, for j = h − 15 of either sign: the 32 bits of V from place 2h − 30 on."""
        padded = self.variance.shift_left(30)
        return Array(padded[low : low + 32] for low in range(0, len(self.variance), 2))[self.half_place]


class RowSums(Elaboratable):
    """Σ x and V of a row: squares, their sum, C·Σx² and (Σx)², V, a register after each.

    Attributes: `take`, `code`, `first`, `last` give the row; `variance` comes with `done`; `total` is Σ x and stays
    until two cycles after the next row's first code.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.take, self.first, self.last, self.move = Signal(), Signal(), Signal(), Signal()
        self.code = Signal(signed(spec.in_bits))
        self.total, self.variance = Signal(shape(spec.sum_format)), Signal(shape(spec.variance_format))
        self.done = Signal()

    def elaborate(self, platform: object) -> Module:
        """C is a constant, so C·Σx² is a few additions."""
        m = Module()
        spec = self.spec
        running, low = Signal.like(self.total), spec.inputs["x"].format.min_code
        # V's format holds (C · 2^(b−1))², hence also C times the sum of the squares, and (Σx)².
        squares = Signal((spec.channels * low * low).bit_length())
        scaled, total_square = Signal.like(self.variance), Signal.like(self.variance)
        phases = Signal(4)
        squared, squared_first, square = (
            held(m, self.move, value) for value in (self.take, self.first, self.code * self.code)
        )
        with m.If(self.move):
            m.d.sync += [
                *(phases.eq(Cat(self.take & self.last, phases[:-1])), self.total.eq(running)),
                *(
                    scaled.eq(constant_product(squares, spec.channels)),
                    total_square.eq(self._square(m, running)),
                ),
                self.variance.eq(scaled - total_square + spec.epsilon),
            ]
            with m.If(self.take):
                m.d.sync += running.eq(Mux(self.first, 0, running) + self.code)
            with m.If(squared):
                m.d.sync += squares.eq(Mux(squared_first, 0, squares) + square)
        m.d.comb += self.done.eq(phases[-1])
        return m

    def _square(self, m: Module, total: Signal) -> Value:
        """(Σx)² through products of at most 18 bits, registered: the square is late in the row, never in a hurry.

        With Σx = h · 2^17 + l: l² < 2^34 lies below h² · 2^34, so only the mixed product takes an adder.
        """
        if len(limbs(total)) == 1:
            return total * total
        low, high = limbs(total)
        lows, highs, mixed = (held(m, self.move, value) for value in (low * low, high * high, low * high))
        return Cat(lows, highs) + (mixed << (LIMB_BITS + 1))


class Layernorm(StreamUnit):
    """LayerNorm of rows of `spec.channels` codes.

    Members: `x` and `o` with `last`, `gain` and `offset`, taken together, once per code given. A row is taken while
    the previous one leaves the pipeline; see the spec for the cycles.

    Ports: in `x: s(in_bits), last`, `gain: s(18)`, `offset: offset_format`; out `o: u(out_bits), last`.
    Latency: `channels - 1 + solve_cycles + emit_cycles` cycles from a row's first code to its first result.
    Interval: `2 * channels + solve_cycles - 1` cycles from a row to the next.
    Rounding: FLOOR in the inverse root, HALF_UP in the normalised value; FLOOR at the end, which is HALF_UP once the
        offset holds the half; then saturation.
    Paper: LayerNorm in integers, I-BERT (ICML 2021, arXiv 2101.01321) and FQ-ViT (IJCAI 2022, arXiv 2111.13824); the
        inverse root, bit by bit, is of this project.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """Everything moves on one strobe: not while a code waits to be taken, or gain and offset are missing."""
        m = Module()
        spec, o = self.spec, self.o
        m.submodules.row = row = Row(spec.inputs["x"].format, spec.channels)
        m.submodules.sums = sums = RowSums(spec)
        m.submodules.inverse_root = inverse_root = InverseRoot(spec)
        move, flows, affine, taking = Signal(), Signal(), Signal(), Signal(init=1)
        first = Signal()  # of no consequence for the first row: the sums are 0 after a reset
        m.d.comb += [
            *(flows.eq(o.ready | ~o.valid), self.x.ready.eq(taking & move)),
            move.eq(flows & (~affine | (self.gain.valid & self.offset.valid))),
            self.gain.ready.eq(flows & affine & self.offset.valid),
            self.offset.ready.eq(flows & affine & self.gain.valid),
            *(part.move.eq(move) for part in (row, sums, inverse_root)),
            *(part.take.eq(self.x.valid & self.x.ready) for part in (row, sums)),
            *(row.codes.eq(self.x.payload.code), sums.code.eq(self.x.payload.code[0])),
            *(part.last.eq(self.x.payload.last) for part in (row, sums)),
            *(
                sums.first.eq(first),
                inverse_root.variance.eq(sums.variance),
                inverse_root.start.eq(sums.done),
            ),
            row.start.eq(inverse_root.done & move),
        ]
        with m.If(row.take):
            m.d.sync += [first.eq(self.x.payload.last), taking.eq(~self.x.payload.last)]
        with m.If(move & row.reading & row.at_end):
            m.d.sync += taking.eq(1)
        self._normalise(m, move, row, sums, inverse_root, affine)
        return m

    def _normalise(
        self, m: Module, move: Signal, row: Row, sums: RowSums, inverse_root: InverseRoot, affine: Signal
    ) -> None:
        """n = C·x − Σx; t = round_shift(n · r, s); t · gain; + offset, shifted; saturated.

        s = 31 + j − F = h + 16 − F. round_shift(x, s) is 2·x shifted right by s, plus 1, halved: no shift of a half.
        """
        spec = self.spec
        deviation, normal = Signal(shape(spec.deviation_format)), Signal(shape(spec.normal_format))
        down = held(m, move, inverse_root.half_place + (16 - spec.norm_frac_bits))
        product = self._product(m, move, deviation, inverse_root.root)
        halves = Signal(signed(len(normal) + 1))
        offset = held(m, move, held(m, move, self.offset.payload.code[0]))
        total = self._product(m, move, normal, self.gain.payload.code[0]) + offset
        shifted = held(m, move, total.shift_right(spec.shift))
        present, final = self._follow(m, move, row.present, 5), self._follow(m, move, row.final, 8)
        m.d.comb += affine.eq(present)
        gained_present = self._follow(m, move, present, 3)
        with m.If(move):
            m.d.sync += [
                deviation.eq(constant_product(row.read[0], spec.channels) - sums.total),
                *(halves.eq((product << 1) >> down), normal.eq((halves + 1) >> 1)),
                self.o.payload.code[0].eq(saturate(shifted, spec.outputs["o"].format)),
                *(self.o.payload.last.eq(final), self.o.valid.eq(gained_present)),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)  # taken while the pipeline waits for gain and offset

    @staticmethod
    def _product(m: Module, move: Signal, wide: Signal, factor: Value) -> Value:
        """Signed `wide` times a factor of one DSP operand, registered behind its limbs' products, each one DSP's.

        wide = h · 2^17 + l, so that only one adder lies between.
        """
        products = [held(m, move, limb * factor) for limb in limbs(wide)]
        return held(m, move, sum((one << LIMB_BITS * n for n, one in enumerate(products)), Const(0)))

    @staticmethod
    def _follow(m: Module, move: Signal, strobe: Value, stages: int) -> Value:
        """`strobe` so many registers later."""
        for _ in range(stages):
            strobe = held(m, move, strobe)
        return strobe


def held(m: Module, move: Signal, value: Value) -> Signal:
    """A register of `value`, no wider than that, which moves on `move`."""
    register = Signal(value.shape())
    with m.If(move):
        m.d.sync += register.eq(value)
    return register


def limbs(value: Signal) -> Sequence[Value]:
    """Signed `value` as factors of a DSP, lowest first: unsigned ones of `LIMB_BITS` below a signed one."""
    if len(value) <= GAIN.bits:
        return (value,)
    return value[:LIMB_BITS], value[LIMB_BITS:].as_signed()

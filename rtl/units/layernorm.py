"""LayerNorm hardware: take a row and sum it, solve for 1/√V bit by bit, read the row back and normalise it."""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed

from rtl.fixed import constant_product, leading_one, saturate
from rtl.row import Row
from rtl.stream import StreamUnit, shape
from sim.units.layernorm import GAIN
from sim.units.layernorm import Layernorm as Spec

ROOT_BITS = 17
"""r ≤ 2^16."""
LIMB_BITS = 17
"""Unsigned part of a long factor: one bit less than a DSP's signed operand."""


class InverseRoot(Elaboratable):
    """r and j of a variance: leading one, v, then one bit of r a cycle, highest first.

    q, the bits of r so far, is the largest with q² · v ≤ 4^n after n bits. `remainder` = 4^n − q²·v and `trial` =
    4·q·v + v: the next bit is 1 when 4·remainder ≥ trial, so one subtraction a cycle decides it.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.variance, self.start, self.move = Signal(shape(spec.variance_format)), Signal(), Signal()
        self.root, self.octave, self.done = Signal(ROOT_BITS), Signal(signed(6)), Signal()

    def elaborate(self, platform: object) -> Module:
        """`start` comes with the variance; `done` with the last bit of the root, which then stays."""
        m = Module()
        half_place = Signal(range(32))  # h = p >> 1
        normal, triple = Signal(32), Signal(34)
        # remainder < 2·q·v + v and trial = 4·q·v + v stay below 2^51, for q ≤ 2^16 and v < 2^32.
        remainder, trial, less = Signal(51), Signal(51), Signal(signed(54))
        steps = Signal(1 + ROOT_BITS)  # one bit set: v, then the bits of the root
        bit = ~less[-1]
        m.d.comb += [less.eq((remainder << 2) - trial), self.done.eq(steps[-1])]
        v = self._normal(half_place)
        with m.If(self.move):
            m.d.sync += steps.eq(Cat(self.start, steps[:-1]))
            with m.If(self.start):
                m.d.sync += half_place.eq(leading_one(self.variance) >> 1)
            with m.Elif(steps[0]):
                # Before the first bit 4^n is 2^28, of which the first step makes 2^30.
                m.d.sync += [normal.eq(v), triple.eq((v << 1) + v), trial.eq(v), remainder.eq(1 << 28)]
                m.d.sync += [self.octave.eq(half_place - 15), self.root.eq(0)]
            with m.Elif(steps[1:].any()):
                # Both next trials are there when the bit is: one carry chain a cycle, not two.
                m.d.sync += [
                    *(remainder.eq(Mux(bit, less, remainder << 2)), self.root.eq(Cat(bit, self.root))),
                    trial.eq(Mux(bit, (trial << 1) + triple, (trial << 1) - normal)),
                ]
        return m

    def _normal(self, half_place: Value) -> Value:
        """v = V · 2^−2j, FLOOR, for j = h − 15 of either sign: the 32 bits of V from place 2h − 30 on."""
        padded = Cat(Const(0, 30), self.variance, Const(0, 2))
        return Array(padded[2 * h : 2 * h + 32] for h in range((len(self.variance) + 1) // 2))[half_place]


class RowSums(Elaboratable):
    """Σ x and V of a row: squares, their sum, C·Σx² and (Σx)², V, a register after each.

    Attributes: `take`, `code`, `first`, `last` give the row; `variance` comes with `done`; `total` is Σ x and stays
    until the next `done`.
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
        # (2^(b−1))² takes 2b − 1 bits; V's format holds C² of it, hence also C times the sum, and (Σx)².
        square, running = Signal(2 * spec.in_bits - 1), Signal.like(self.total)
        squares = Signal((spec.channels << (2 * spec.in_bits - 2)).bit_length())
        scaled, total_square = Signal.like(self.variance), Signal.like(self.variance)
        squared, squared_first, phases = Signal(), Signal(), Signal(4)
        with m.If(self.move):
            m.d.sync += [
                *(squared.eq(self.take), squared_first.eq(self.first)),
                *(phases.eq(Cat(self.take & self.last, phases[:-1])), square.eq(self.code * self.code)),
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
            with m.If(phases[1]):
                m.d.sync += self.total.eq(running)
        m.d.comb += self.done.eq(phases[-1])
        return m

    def _square(self, m: Module, total: Signal) -> Value:
        """(Σx)² through products of at most 18 bits, registered: the square is late in the row, never in a hurry.

        With Σx = h · 2^17 + l: l² < 2^34 lies below h² · 2^34, so only the mixed product takes an adder.
        """
        if len(total) <= LIMB_BITS + 1:
            return total * total
        low, high = total[:LIMB_BITS], total[LIMB_BITS:].as_signed()
        lows, highs, mixed = (
            Signal(2 * LIMB_BITS),
            Signal(2 * len(high)),
            Signal(signed(LIMB_BITS + len(high))),
        )
        with m.If(self.move):
            m.d.sync += [lows.eq(low * low), highs.eq(high * high), mixed.eq(low * high)]
        return Cat(lows, highs) + (mixed << (LIMB_BITS + 1))


class Layernorm(StreamUnit):
    """LayerNorm of rows of `spec.channels` codes.

    Members: `x` and `o` with `last`, `gain` and `offset`, taken together, once per code given. A row is taken while
    the previous one leaves the pipeline; see the spec for the cycles.
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
        first = Signal(init=1)
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
        self._normalise(m, move, row, sums.total, inverse_root, affine)
        return m

    def _normalise(
        self, m: Module, move: Signal, row: Row, total: Signal, inverse_root: InverseRoot, affine: Signal
    ) -> None:
        """n = C·x − Σx; t = round_shift(n · r, 31 + j − F); t · gain; + offset, shifted; saturated."""
        spec = self.spec
        deviation = Signal(shape(spec.deviation_format))
        product = Signal(signed(spec.deviation_format.bits + ROOT_BITS + 1))
        down, half, halved = Signal(6), Signal(46), Signal(signed(max(len(product), 47) + 1))
        normal = Signal(shape(spec.normal_format))
        gained = Signal(signed(spec.normal_format.bits + GAIN.bits))
        offset, offset_1 = Signal(shape(spec.offset_format)), Signal(shape(spec.offset_format))
        shifted = Signal(signed(max(len(gained), len(offset) + (not spec.offset_format.signed)) + 1))
        present, final = self._follow(m, move, row.present, 5), self._follow(m, move, row.final, 8)
        m.d.comb += affine.eq(present)
        gained_present = self._follow(m, move, present, 3)
        with m.If(move):
            m.d.sync += [
                # Of the row's root, ready long before its first code: the shift and its half.
                *(down.eq(inverse_root.octave + (31 - spec.norm_frac_bits)), half.eq((1 << down) >> 1)),
                deviation.eq(constant_product(row.read[0], spec.channels) - total),
                product.eq(self._product(m, move, deviation, inverse_root.root)),
                *(halved.eq(product + half), normal.eq(halved >> down)),
                gained.eq(self._product(m, move, normal, self.gain.payload.code[0])),
                *(offset_1.eq(self.offset.payload.code[0]), offset.eq(offset_1)),
                shifted.eq((gained + offset) >> spec.shift),
                self.o.payload.code[0].eq(saturate(shifted, spec.outputs["o"].format)),
                *(self.o.payload.last.eq(final), self.o.valid.eq(gained_present)),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)  # taken while the pipeline waits for gain and offset

    @staticmethod
    def _product(m: Module, move: Signal, wide: Signal, factor: Value) -> Value:
        """Signed `wide` times a factor of one DSP operand, from registers of its limbs' products, each one DSP's.

        wide = h · 2^17 + l, so that only one adder follows the registers.
        """
        split = len(wide) > LIMB_BITS + 1
        limbs = (wide[:LIMB_BITS], wide[LIMB_BITS:].as_signed()) if split else (wide,)
        products = [Signal((limb * factor).shape()) for limb in limbs]
        with m.If(move):
            m.d.sync += [product.eq(limb * factor) for product, limb in zip(products, limbs, strict=True)]
        return sum((product << LIMB_BITS * n for n, product in enumerate(products)), Const(0))

    @staticmethod
    def _follow(m: Module, move: Signal, strobe: Value, stages: int) -> Value:
        """`strobe` so many registers later."""
        for _ in range(stages):
            after = Signal()
            with m.If(move):
                m.d.sync += after.eq(strobe)
            strobe = after
        return strobe

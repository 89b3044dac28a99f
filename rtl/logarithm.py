"""Both directions between a row's distances and their sum: powers of two of the scores, log2 of what they add up to."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value

from golden.formats import Integer
from rtl.fixed import product_parts, table
from rtl.stream import shape
from sim.log_domain import LOG_INDEX_BITS
from sim.log_domain_rows import LogDomainRows as Spec

LUT_INPUTS = 6
"""A table of 2^6 entries is one LUT a bit on 7 series and UltraScale+, and four joined ones on ECP5."""


class PowerOfTwo(Elaboratable):
    """2^−d of an unsigned `distance` d in `spec.power_latency` cycles with `move`: products, mantissa, shift.

    0 for one that is `absent`.
    """

    def __init__(self, spec: Spec, distance_bits: int) -> None:
        self.spec = spec
        self.distance, self.absent = Signal(distance_bits), Signal()
        self.move = Signal(init=1)  # always, unless somebody drives it
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
        products = product_parts(slope, low, 2) if any(spec.exp_slope) else []
        parts = [Signal(len(product), name=f"product_{n}") for n, product in enumerate(products)]
        segment_1, octaves_1, octaves_2 = Signal.like(segment), Signal.like(octaves), Signal.like(octaves)
        absent_1, mantissa = Signal(), Signal.like(self.power)
        fall = sum((part << 2 * n for n, part in enumerate(parts)), Const(0))
        # A mantissa without a fall is an entry, and a small table holds the entries shifted by a few octaves, too.
        folded = 0 if parts else min(max(LUT_INPUTS - len(segment), 0), len(octaves))
        entries = [entry >> n for n in range(1 << folded) for entry in spec.exp_base[: 1 << len(segment)]]
        entry = table(entries, Cat(segment_1, octaves_1[:folded]))
        with m.If(self.move):
            m.d.sync += [
                *(part.eq(product) for part, product in zip(parts, products, strict=True)),
                *(segment_1.eq(segment), octaves_1.eq(octaves), absent_1.eq(self.absent)),
                *(mantissa.eq(Mux(absent_1, 0, entry - fall)), octaves_2.eq(octaves_1)),
                self.power.eq(mantissa >> Cat(Const(0, folded), octaves_2[folded:])),
            ]
        return m


class Logarithm(Elaboratable):
    """Sum of powers and its log2: `level` plus the `octaves` of all cycles, with the constants.

    Attributes: `clear`, `add` (the `powers` of a beat, `spec.gather_latency` cycles before), `normalise` and
    `interpolate`, in neighbouring cycles, each strobe one step; `octaves` is minus the places that this cycle shifts
    the sum by; `level` is the final one in the second cycle after the last step.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.powers = [Signal(shape(spec.power_format)) for _ in range(spec.lanes)]
        # With the leading one at the top before any place is shifted.
        constant = spec.level_constant + ((spec.sum_bits - 1) << spec.log_frac_bits)
        self.entries = [entry + constant for entry in spec.log_base]
        ends = [base + slope for base, slope in zip(self.entries, spec.log_slope, strict=True)]
        self.level = Signal(shape(Integer.holding(min(self.entries), max(ends))))
        self.clear, self.add, self.normalise = Signal(), Signal(), Signal()
        self.interpolate = Signal()
        self.octaves = Signal(range(-4, 1))

    def elaborate(self, platform: object) -> Module:
        """One register is sum, normaliser and multiplier operand in turn."""
        m = Module()
        spec, top = self.spec, self.spec.sum_bits - 1
        total = Signal(spec.sum_bits)
        below = total[top - LOG_INDEX_BITS : top]  # the bits after the leading one, once it is at the top
        low, segment = below[: spec.log_segment_shift], below[spec.log_segment_shift :]
        gathered = self._gathered(m)
        with m.If(self.clear):
            m.d.sync += total.eq(0)
        with m.If(self.add):
            m.d.sync += total.eq(total + gathered)
        with m.If(self.normalise):
            for places in (1, 4):  # the last that may be taken is
                with m.If(~total[-places:].any()):
                    m.d.sync += total.eq(total << places)
                    m.d.comb += self.octaves.eq(-places)
        level: Value = table(self.entries, segment)
        if spec.interpolate_cycles:
            # slope · low needs the bits of both; built from the highest bit of `low` down, one a cycle.
            slope = table(spec.log_slope, segment)
            product = Signal(max(spec.log_slope).bit_length() + len(low))
            with m.If(self.interpolate):
                m.d.sync += [low.eq(low << 1), product.eq((product << 1) + Mux(low[-1:], slope, 0))]
            with m.Else():
                m.d.sync += product.eq(0)
            level = level + (product >> spec.log_segment_shift)
        m.d.sync += self.level.eq(level)
        return m

    def _gathered(self, m: Module) -> Value:
        """Sum of the lanes' powers, a register after each level of additions of two."""
        values: list[Value] = list(self.powers)
        while len(values) > 1:
            sums = [Signal(len(values[0]) + 1) for _ in values[::2]]
            pairs = zip(values[::2], values[1::2], strict=True)
            m.d.sync += [one.eq(a + b) for one, (a, b) in zip(sums, pairs, strict=True)]
            values = list(sums)
        return values[0]

"""GELU hardware: |h| and a table of the bump, one small multiplication, rectified input less bump, code."""

from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal, Value, signed

from rtl.fixed import round_shift, saturate, table
from rtl.stream import StreamUnit, shape
from sim.units.gelu import Gelu as Spec


class Gelu(StreamUnit):
    """GELU on codes. Members: `h` and `o`; one code per cycle, `spec.latency` later.

    Ports: in `h: s(in_bits)`; out `o: u(out_bits)`.
    Latency: `4` cycles from an input to its code.
    Interval: `1` cycle from an input to the next.
    Rounding: HALF_UP in the interpolation and in the last shift; then saturation.
    Paper: none of its own: a table of the bump, where I-BERT (ICML 2021, arXiv 2101.01321) has a polynomial.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """The first stage's table holds entries and slopes, so that the second needs no subtraction."""
        m = Module()
        spec, step = self.spec, self.spec.table_step
        move = self.o.ready | ~self.o.valid
        self.stages(m, move, self.join(m, move), spec.latency)
        h = self.h.payload.code[0]
        magnitude = Signal(spec.in_bits)  # unsigned: |min_code| fits
        m.d.comb += magnitude.eq(Mux(h < 0, -h, h))
        entry, slope, low = Signal(shape(spec.entry_format)), Signal(shape(spec.slope_format)), Signal(step)
        rectified_1, rectified_2 = Signal(spec.in_bits - 1), Signal(spec.in_bits - 1)
        rise = Signal(signed(spec.slope_format.bits + step))
        entry_2, level = Signal.like(entry), Signal(shape(spec.rectified_format))
        entries, slopes = self._tables(magnitude[step:])
        with m.If(move):
            m.d.sync += [
                *(entry.eq(entries), slope.eq(slopes), low.eq(magnitude[:step])),
                rectified_1.eq(Mux(h < 0, 0, h)),
                *(rise.eq(slope * low), entry_2.eq(entry), rectified_2.eq(rectified_1)),
                level.eq((rectified_2 << spec.table_frac_bits) - entry_2 - round_shift(rise, step)),
                self.o.payload.code[0].eq(
                    saturate(
                        round_shift(level, spec.frac_bits + spec.table_frac_bits) + spec.zero_point,
                        spec.outputs["o"].format,
                    )
                ),
            ]
        return m

    def _tables(self, index: Value) -> tuple[Value, Value]:
        """Entry and slope at `index`; both 0 from the last entry on, where the bump is over."""
        entries = self.spec.table
        slopes = [after - before for before, after in pairwise(entries)]
        bits = (len(slopes) - 1).bit_length()
        beyond = index >= len(slopes)
        padding = [0] * ((1 << bits) - len(slopes))
        return (
            Mux(beyond, 0, table([*entries[:-1], *padding], index[:bits])),
            Mux(beyond, 0, table([*slopes, *padding], index[:bits])),
        )

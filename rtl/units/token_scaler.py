"""Token scaler hardware: zero point times column sum, difference, scaled, outliers added; a register after each."""

from amaranth.hdl import Module, Signal, signed

from rtl.stream import StreamUnit
from sim.units.token_scaler import TokenScaler as Spec
from sim.units.token_scaler import signed_bits


class TokenScaler(StreamUnit):
    """From per-token units to one unit.

    Members: `acc`, `outlier`, `multiplier`, `zero_point` and `column_sum`, taken together, and `o`; one total per
    cycle, `spec.latency` later.

    Ports: in `acc: acc_format`, `outlier: outlier_format`, `multiplier: u(17)`, `zero_point: u(16)`, `column_sum:
        column_sum_format`; out `o: s(out_bits)`.
    Latency: `4` cycles from both accumulators to their total.
    Interval: `1` cycle from a total to the next.
    Rounding: HALF_UP, once, at the end.
    Paper: ADFQ-ViT (Neural Networks 186, 2025, arXiv 2407.02763).
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """Every register is as wide as its reach, so none can wrap; both shifts are wires."""
        m = Module()
        spec, reach = self.spec, self.spec.reach
        move = self.o.ready | ~self.o.valid
        self.stages(m, move, self.join(m, move), spec.latency)
        acc, outlier, multiplier, zero_point, column_sum = (
            getattr(self, name).payload.code[0] for name in spec.inputs
        )
        offset = Signal(signed(signed_bits(reach.offset)))
        centred = Signal(signed(signed_bits(reach.centred)))
        product = Signal(signed(signed_bits(reach.product)))
        addend = Signal(signed(signed_bits(reach.addend)))
        acc_1, outlier_1, outlier_2 = Signal.like(acc), Signal.like(outlier), Signal.like(outlier)
        multiplier_1, multiplier_2 = Signal.like(multiplier), Signal.like(multiplier)
        with m.If(move):
            m.d.sync += [
                *(offset.eq(zero_point * column_sum), acc_1.eq(acc)),
                *(outlier_1.eq(outlier), multiplier_1.eq(multiplier)),
                *(centred.eq(acc_1 - offset), outlier_2.eq(outlier_1), multiplier_2.eq(multiplier_1)),
                *(
                    product.eq(centred * multiplier_2),
                    addend.eq((outlier_2 << spec.outlier_shift) + spec.half),
                ),
                self.o.payload.code[0].eq((product + addend) >> spec.shift),
            ]
        return m

"""Sign-scale encoder hardware: negated, or shifted right (HALF_UP), in one adder; saturated; the region on top."""

from amaranth.hdl import Cat, Const, Module, Mux

from golden.formats import Integer
from rtl.fixed import saturate
from rtl.stream import StreamUnit
from sim.units.sign_scale_encoder import SignScaleEncoder as Spec


class SignScaleEncoder(StreamUnit):
    """Region and payload of a wide integer. Members: `x` and `o`; one code per cycle, `spec.latency` later.

    Ports: in `x: s(in_bits)`; out `o: u(code_bits)`.
    Latency: `1` cycles from an input to its code.
    Interval: `1` cycle from an input to the next.
    Rounding: HALF_UP in the coarse region, none in the fine one; then saturation.
    Paper: regions by sign, PTQ4ViT (ECCV 2022, arXiv 2111.12293); their steps a power of two apart, TSPTQ-ViT (ICASSP
        2023, arXiv 2305.12901), whose formulas are reconstructed here from its summary.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """−x = ~x + 1, and round_shift(x, s) is (x >> s) plus the highest bit shifted out: both add a carry."""
        m = Module()
        spec, x = self.spec, self.x.payload.code[0]
        move = self.o.ready | ~self.o.valid
        self.stages(m, move, self.join(m, move), spec.latency)
        negative = x[-1]
        half = (x >> (spec.shift - 1))[0] if spec.shift else Const(0, 1)
        # Neither ~x of a negative x nor x >> s of another has a sign, so the sum takes in_bits bits, unsigned.
        magnitude = Mux(negative, ~x, x >> spec.shift)[:-1] + Mux(negative, 1, half)
        payload = saturate(magnitude, Integer(bits=spec.payload_bits, signed=False))
        with m.If(move):
            m.d.sync += self.o.payload.code[0].eq(Cat(payload, ~negative))
        return m

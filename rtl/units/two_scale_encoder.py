"""Two-scale encoder hardware: the low bits, or the high bits rounded (HALF_UP) and saturated; the flag on top."""

from amaranth.hdl import Cat, Module, Mux

from golden.formats import Integer
from rtl.fixed import saturate
from rtl.stream import StreamUnit
from sim.units.two_scale_encoder import TwoScaleEncoder as Spec


class TwoScaleEncoder(StreamUnit):
    """Flag and payload of a wide integer. Members: `x` and `o`; one code per cycle, `spec.latency` later.

    Ports: in `x: u(in_bits)`; out `o: u(code_bits)`.
    Latency: `1` cycles from an input to its code.
    Interval: `1` cycle from an input to the next.
    Rounding: HALF_UP in the coarse region; then saturation.
    Paper: TSPTQ-ViT (ICASSP 2023, arXiv 2305.12901), whose formulas are reconstructed here from its summary.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """The input is as wide as payload and shift together, so the high bits are a payload and one carry."""
        m = Module()
        payload_bits, shift, x = self.spec.payload_bits, self.spec.shift, self.x.payload.code[0]
        move = self.o.ready | ~self.o.valid
        self.stages(m, move, self.join(m, move), self.spec.latency)
        large = x[payload_bits:].any()
        # round_shift(x, s) is (x >> s) plus the highest bit shifted out.
        high = saturate(x[shift:] + x[shift - 1], Integer(bits=payload_bits, signed=False))
        with m.If(move):
            m.d.sync += self.o.payload.code[0].eq(Cat(Mux(large, high, x[:payload_bits]), large))
        return m

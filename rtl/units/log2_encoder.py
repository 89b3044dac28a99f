"""Log2 encoder hardware: the leading one's place, then its thresholds and codes from tables; a register after each."""

from amaranth.hdl import Module, Mux, Signal, Value

from rtl.fixed import leading_one, table
from rtl.stream import StreamUnit
from sim.units.log2_encoder import Log2Encoder as Spec


class Log2Encoder(StreamUnit):
    """Logarithm of an integer. Members: `x` and `o`; one code per cycle, `spec.latency` later.

    No normalising shifter: the mantissa x << s reaches t exactly where x reaches ceil(t / 2^s), so tables that
    the leading one's place addresses give the threshold at x's own place, and the code for each outcome.

    Ports: in `x: u(in_bits)`; out `o: u(code_bits)`.
    Latency: `2` cycles from an input to its code.
    Interval: `1` cycle from an input to the next.
    Rounding: to the nearest code in the log domain, by comparison; none in the arithmetic.
    Paper: Shift-Log2 of ADFQ-ViT (Neural Networks 186, 2025, arXiv 2407.02763); a leading one and the bits behind it,
        FQ-ViT (IJCAI 2022, arXiv 2111.13824), which rounds at 1.5 where this unit rounds at √2.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """No sum either: the codes of n thresholds reached are looked up beside the comparisons, which choose."""
        m = Module()
        spec, x = self.spec, self.x.payload.code[0]
        move = self.o.ready | ~self.o.valid
        self.stages(m, move, self.join(m, move), spec.latency)
        x_1, place, present = Signal.like(x), Signal(range(spec.in_bits)), Signal()
        code = self._code(0, place)
        for n, threshold in enumerate(spec.thresholds, 1):  # ascending: the last one reached decides
            code = Mux(x_1 >= self._threshold(threshold, place), self._code(n, place), code)
        with m.If(move):
            m.d.sync += [
                *(x_1.eq(x), place.eq(leading_one(x)), present.eq(x.any())),
                self.o.payload.code[0].eq(Mux(present, code, spec.zero_code)),
            ]
        return m

    def _threshold(self, threshold: int, place: Value) -> Value:
        """Least integer with its leading one at `place` whose mantissa reaches `threshold`."""
        highest = self.spec.in_bits - 1
        return table([-(-threshold >> (highest - p)) for p in range(self.spec.in_bits)], place)

    def _code(self, reached: int, place: Value) -> Value:
        """Code of a leading one at `place` and a mantissa that reaches so many thresholds."""
        spec = self.spec
        levels = [spec.steps_per_octave * (spec.unity - p) - reached for p in range(spec.in_bits)]
        return table([spec.zero_code if k > spec.max_level else max(k, 0) for k in levels], place)

"""Threshold encoder hardware: a comparator per bit of the code, each with a table of thresholds, top bit first."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from rtl.fixed import table
from rtl.stream import StreamUnit
from sim.units.threshold_encoder import ThresholdEncoder as Spec


class ThresholdEncoder(StreamUnit):
    """Bisection among the thresholds. Members: `x` and `o`; one code per cycle, `spec.latency` later.

    2^b − 1 comparators side by side would give the code in one cycle; b of them suffice when each takes its
    threshold from a table that the bits found so far address, and the tables hold every threshold once.

    Ports: in `x: u(in_bits)`; out `o: u(code_bits)`.
    Latency: `code_bits` cycles from an input to its code.
    Interval: `1` cycle from an input to the next.
    Rounding: none: comparisons with thresholds that lowering has rounded.
    Paper: TanQ of DopQ-ViT (2024, arXiv 2408.03291), reconstructed here from its summary.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """Stage n finds bit b − 1 − n; input, threshold and the bits above it come in registers."""
        m = Module()
        move = self.o.ready | ~self.o.valid
        self.stages(m, move, self.join(m, move), self.spec.latency)
        x: Value = self.x.payload.code[0]
        threshold, found = self._threshold(0, Const(0, 0)), Const(0, 0)
        for n in range(self.spec.code_bits - 1):
            reached = x >= threshold
            # Both thresholds that may follow are looked up beside the comparison, which only chooses.
            above, below = (self._threshold(n + 1, Cat(bit, found)) for bit in (Const(1, 1), Const(0, 1)))
            next_x, next_found = Signal.like(x, name=f"x_{n}"), Signal(n + 1, name=f"found_{n}")
            next_threshold = Signal(self.spec.in_bits + 1, name=f"threshold_{n}")  # 2^in_bits: never reached
            with m.If(move):
                m.d.sync += [
                    *(next_x.eq(x), next_found.eq(Cat(reached, found))),
                    next_threshold.eq(Mux(reached, above, below)),
                ]
            x, threshold, found = next_x, next_threshold, next_found
        with m.If(move):
            m.d.sync += self.o.payload.code[0].eq(Cat(x >= threshold, found))
        return m

    def _threshold(self, n: int, found: Value) -> Value:
        """Least input whose code starts with the n bits `found` and a 1."""
        half = 1 << (self.spec.code_bits - 1 - n)
        return table([self.spec.starts[(2 * prefix + 1) * half - 1] for prefix in range(1 << n)], found)

"""Threshold encoder hardware: a comparator per bit of the code, each with a table of thresholds, top bit first."""

from amaranth.hdl import Cat, Const, Module, Signal, Value

from rtl.fixed import table
from rtl.stream import StreamUnit
from sim.units.threshold_encoder import ThresholdEncoder as Spec


class ThresholdEncoder(StreamUnit):
    """Bisection among the thresholds. Members: `x` and `o`; one code per cycle, `spec.latency` later.

    2^b − 1 comparators side by side would give the code in one cycle; b of them suffice when each takes its
    threshold from a table that the bits found so far address, and the tables hold every threshold once.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """Stage n finds bit b − 1 − n; the input and the bits above travel along."""
        m = Module()
        move = self.o.ready | ~self.o.valid
        self.stages(m, move, self.join(m, move), self.spec.latency)
        x: Value = self.x.payload.code[0]
        found: Value = Const(0, 0)
        for n in range(self.spec.code_bits):
            bits = Cat(x >= self._threshold(n, found), found)
            if n == self.spec.code_bits - 1:
                held = self.o.payload.code[0]
            else:
                held, kept = Signal(n + 1, name=f"found_{n}"), Signal.like(x, name=f"x_{n}")
                with m.If(move):
                    m.d.sync += kept.eq(x)
                x = kept
            with m.If(move):
                m.d.sync += held.eq(bits)
            found = held
        return m

    def _threshold(self, n: int, found: Value) -> Value:
        """Least input whose code starts with the bits `found` and a 1; in the first stage a constant."""
        half = 1 << (self.spec.code_bits - 1 - n)
        entries = [self.spec.starts[(2 * prefix + 1) * half - 1] for prefix in range(1 << n)]
        return table(entries, found) if n else Const(entries[0])

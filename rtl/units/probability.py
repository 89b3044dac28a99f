"""Probability hardware: rows in the log domain; the powers of two that made the sum are taken of its quotients, too."""

from amaranth.hdl import Module, Mux, Signal, Value

from rtl.log_domain import EmitPass, LogDomainUnit
from sim.units.probability import Probability as Spec


class Probability(LogDomainUnit):
    """Row softmax to fixed point. Members: `i` and `o`, rows of scores and of probabilities.

    Ports: in `i: s(score_bits) × lanes, last`; out `o: u(prob_bits + 1) × lanes, last`.
    Latency: `2 * n + row_overhead - 1` cycles from the first of a row's n beats to its first probabilities.
    Interval: `3 * n + row_overhead - 1` cycles from a row to the next.
    Rounding: FLOOR in the powers and in log2, HALF_UP in the distance; then saturation at 1.
    Paper: powers of two for exp, Softermax (DAC 2021, arXiv 2103.09301); a division as a difference of logarithms,
        SOLE (ICCAD 2023, arXiv 2510.17189).
    """

    spec: Spec

    def distance(self, difference: Signal) -> Value:
        """The difference, but 0 where the tables' error makes the last pass's negative: its sign masks it."""
        return Mux(difference[-1], 0, difference[:-1])

    def emit(self, m: Module, last_pass: EmitPass) -> None:
        """The power has P fraction bits and, FLOOR of FLOOR being FLOOR of the whole, loses P − W of them here."""
        spec, one = self.spec, 1 << self.spec.prob_bits
        present = self.delay(m, last_pass.present, last_pass.powers_of_two[0])
        m.d.comb += [unit.move.eq(last_pass.move) for unit in last_pass.powers_of_two]
        with m.If(last_pass.move):
            for n, unit in enumerate(last_pass.powers_of_two):
                power = unit.power[spec.exp_bits - spec.prob_bits :]
                # A power is below 2, so whatever has its whole bit set saturates at 1.
                m.d.sync += self.o.payload.code[n].eq(Mux(power[spec.prob_bits :].any(), one, power))
            m.d.sync += [self.o.payload.last.eq(last_pass.final_power), self.o.valid.eq(present)]

"""Softmax hardware: rows in the log domain, whose differences with the reference are the codes but for a shift."""

from amaranth.hdl import Module, Mux

from rtl.fixed import saturate
from rtl.log_domain import EmitPass, LogDomainUnit
from sim.units.softmax import Softmax as Spec


class Softmax(LogDomainUnit):
    """Row softmax to log2 codes. Members: `i` and `o`, rows of scores and of codes.

    Ports: in `i: s(score_bits) × lanes, last`; out `o: u(code_bits) × lanes, last`.
    Latency: `2 * n + row_overhead - 1` cycles from the first of a row's n beats to its first codes.
    Interval: `3 * n + row_overhead - 1` cycles from a row to the next.
    Rounding: FLOOR in the powers and in log2, HALF_UP in the code; then saturation.
    Paper: log2 codes of attention without a division, FQ-ViT (IJCAI 2022, arXiv 2111.13824); base √2, RepQ-ViT (ICCV
        2023, arXiv 2212.08254); powers of two for exp, Softermax (DAC 2021, arXiv 2103.09301).
    """

    spec: Spec

    def emit(self, m: Module, last_pass: EmitPass) -> None:
        """Octaves to code steps: the level already holds the rounding half."""
        spec, top = self.spec, self.spec.output_format.max_code
        with m.If(last_pass.move):
            for n, difference in enumerate(last_pass.differences):
                steps = difference >> (spec.score_frac_bits - spec.steps_per_octave + 1)
                code = saturate(steps, spec.output_format)
                m.d.sync += self.o.payload.code[n].eq(Mux(last_pass.absent[n], top, code))
            m.d.sync += [self.o.payload.last.eq(last_pass.final), self.o.valid.eq(last_pass.present)]

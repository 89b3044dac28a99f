"""Attention scores in octaves, and the probabilities made from them for formats that are not logarithmic."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from golden.formats import Integer
from golden.lowering.builder import ProgramBuilder
from golden.lowering.wide import Wide
from golden.program import Parameter, Tensor
from golden.softmax_tables import softmax_tables


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePrecision:
    """Widths of scores and of the units that take rows of them."""

    score: Integer
    """Scores in octaves; 18 bits with 9 fraction bits, as 20 with 11, reach ±256 octaves, ±177 natural units: Swin's
    mask of -100 is 144 octaves."""
    score_frac_bits: int
    exp_bits: int
    """Mantissa of 2^-d: dropping a fraction per term of 197 moves log2 of the sum by at most 197 · 2^-18 · 1.44 = 0.001
    octave."""
    exp_segments: int
    log_frac_bits: int
    """Fraction bits of log2 of the sum, far below a code's half octave."""

    def parameters(self, tokens: int) -> dict[str, Parameter]:
        """What every unit that takes rows of `tokens` scores shares."""
        sizes: dict[str, Parameter] = {
            "score_bits": self.score.bits,
            "score_frac_bits": self.score_frac_bits,
            "max_length": tokens,
            "exp_bits": self.exp_bits,
            "log_frac_bits": self.log_frac_bits,
        }
        return sizes | {name: list(table) for name, table in _tables(self).items()}


LOG_CODES = ScorePrecision(
    score=Integer(bits=18, signed=True), score_frac_bits=9, exp_bits=18, exp_segments=8, log_frac_bits=12
)
"""A log code is at least half an octave, of which an error of 0.001 octave moves 0.2 % of the codes at most."""
PROBABILITIES = ScorePrecision(
    score=Integer(bits=20, signed=True), score_frac_bits=11, exp_bits=20, exp_segments=16, log_frac_bits=14
)
"""A probability near 1 in 8-bit codes of step 1/255 bears far less relative error than a log code: a score step of
1/2048 octave is 0.03 %, a segment of 2^-f is off by 0.013 %. Two-scale and tangent codes of small probabilities need 20
fraction bits."""


@cache
def _tables(precision: ScorePrecision) -> dict[str, tuple[int, ...]]:
    return softmax_tables(
        precision.exp_bits,
        precision.log_frac_bits,
        precision.exp_segments,
        score_frac_bits=precision.score_frac_bits,
    )


def probabilities(builder: ProgramBuilder, name: str, scores: str, shape: tuple[int, ...]) -> Wide:
    """Softmax of `scores` in fixed point, with all the fraction bits that 2^-t has, to be encoded."""
    bits = PROBABILITIES.exp_bits
    tensor = builder.operation(
        name,
        "probability",
        {"x": scores},
        Tensor(shape=shape, format=Integer(bits=bits + 1, signed=False)),
        **PROBABILITIES.parameters(shape[-1]),
        prob_bits=bits,
    )
    return Wide(tensor=tensor, scale=np.array([2.0**-bits]), bias=np.zeros(1))

"""Attention scores in octaves, and the probabilities made from them for formats that are not logarithmic."""

from functools import cache

import numpy as np

from golden.formats import Integer
from golden.lowering.builder import ProgramBuilder
from golden.lowering.wide import Wide
from golden.program import Parameter, Tensor
from golden.softmax_tables import softmax_tables

SCORE, SCORE_FRAC_BITS = Integer(bits=16, signed=True), 9
"""Attention scores in octaves: ±64 octaves (±44 in natural units) in steps of 1/512, a 256th of a log√2 code."""
EXP_BITS, LOG_FRAC_BITS = 18, 12
"""Mantissa of 2^-d: dropping a fraction per term of 197 moves log2 of the sum by at most 197 · 2^-18 · 1.44 = 0.001
octave. Fraction bits of log2 of the sum, far below a code's half octave."""
PROB_BITS = EXP_BITS
"""Fraction bits of a probability: all that 2^-t has; the two-scale and tangent codes' finest 8-bit steps need them."""

_tables = cache(softmax_tables)


def score_parameters(tokens: int) -> dict[str, Parameter]:
    """What every unit that takes rows of scores shares."""
    tables: dict[str, Parameter] = {n: list(t) for n, t in _tables(EXP_BITS, LOG_FRAC_BITS).items()}
    return {
        "score_bits": SCORE.bits,
        "score_frac_bits": SCORE_FRAC_BITS,
        "max_length": tokens,
        "exp_bits": EXP_BITS,
        "log_frac_bits": LOG_FRAC_BITS,
    } | tables


def probabilities(builder: ProgramBuilder, name: str, scores: str, shape: tuple[int, ...]) -> Wide:
    """Softmax of `scores` in fixed point, to be encoded."""
    tensor = builder.operation(
        name,
        "probability",
        {"x": scores},
        Tensor(shape=shape, format=Integer(bits=PROB_BITS + 1, signed=False)),
        **score_parameters(shape[-1]),
        prob_bits=PROB_BITS,
    )
    return Wide(tensor=tensor, scale=np.array([2.0**-PROB_BITS]), bias=np.zeros(1))

"""Normalised softmax in fixed point: row maximum, powers of two, their sum, its log2, a subtraction, a power of two.

FLOOR in the powers and in log2, HALF_UP in the distance, saturate at 1 (docs/datapath.md, "probability").
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from golden.formats import Integer
from sim.log_domain import power_of_two, row_level, row_max
from sim.log_domain_rows import LogDomainRows
from sim.unit import Codes


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _probability_rows(
    scores: Codes, starts: Codes, probabilities: Codes,
    exp_base: Codes, exp_slope: Codes, log_base: Codes, log_slope: Codes,
    exp_shift: int, log_shift: int, f: int, p_bits: int, g: int, offset: int, absent: int, powers: NDArray[np.int32],
    w_bits: int,
) -> None:  # fmt: skip
    """Probabilities of the rows `scores[starts[i] : starts[i + 1]]`; the scalars are those of `Probability`."""
    for i in range(len(starts) - 1):
        row, out = scores[starts[i] : starts[i + 1]], probabilities[starts[i] : starts[i + 1]]
        x_max = row_max(row)
        level = row_level(
            row, x_max, exp_base, exp_slope, log_base, log_slope,
            exp_shift, log_shift, f, p_bits, g, offset, absent, powers,
        )  # fmt: skip
        half = (1 << (g - f)) >> 1
        for j in range(len(row)):
            t = max(((x_max - row[j]) << (g - f)) + level, 0)
            power = power_of_two((t + half) >> (g - f), f, exp_base, exp_slope, exp_shift, p_bits - w_bits)
            out[j] = min(power, 1 << w_bits) if row[j] != absent else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probability(LogDomainRows):
    """Row softmax from scores in octaves to probabilities in fixed point, `lanes` scores or probabilities per cycle.

    Ports: in `i: s(score_bits) × lanes, last`; out `o: u(prob_bits + 1) × lanes, last`.
    Latency: `2 * n + row_overhead - 1` cycles from the first of a row's n beats to its first probabilities.
    Interval: `3 * n + row_overhead - 1` cycles from a row to the next.
    Rounding: FLOOR in the powers and in log2, HALF_UP in the distance; then saturation at 1.
    Paper: powers of two for exp, Softermax (DAC 2021, arXiv 2103.09301); a division as a difference of logarithms,
        SOLE (ICCAD 2023, arXiv 2510.17189).
    """

    prob_bits: int
    """Fraction bits W of a probability, 1 to exp_bits; it has one bit more, for 1 itself."""
    emit_latency: ClassVar[int] = LogDomainRows.power_latency + 1
    """The power of two of the distance, then saturation."""

    def __post_init__(self) -> None:
        """Raises ValueError unless every parameter and every width it implies can be built."""
        LogDomainRows.__post_init__(self)  # super() finds no class when dataclass has rebuilt it for slots
        if not 1 <= self.prob_bits <= self.exp_bits:
            raise ValueError(f"prob_bits must be in [1, {self.exp_bits}], not {self.prob_bits}")

    @property
    def output_format(self) -> Integer:
        """The probabilities, 0 to 2^prob_bits."""
        return Integer(bits=self.prob_bits + 1, signed=False)

    @property
    def level_offset(self) -> int:
        """Nothing but the sum divides."""
        return 0

    @property
    def rounding_half(self) -> int:
        """Half a score step: the distance is rounded to the scores' fraction bits."""
        return (1 << self.finer_bits) >> 1

    def emit(self, scores: Codes, starts: Codes, results: Codes) -> None:
        """Writes the probabilities of the rows `scores[starts[i] : starts[i + 1]]`."""
        _probability_rows(scores, starts, results, *self._row_parameters(scores.size), self.prob_bits)

"""Softmax straight to log2 codes: row maximum, powers of two, their sum, its log2, one subtraction per code.

FLOOR in the powers and in log2, HALF_UP in the code, saturate at the end (docs/datapath.md, "softmax").
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from golden.formats import Integer, Log2
from sim.log_domain import row_level, row_max
from sim.log_domain_rows import LogDomainRows
from sim.unit import Codes


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _narrow_codes(
    row: Codes, x_max: int, level: int, lift: int, h: int, top: int, absent: int, out: Codes
) -> None:
    """Codes of one row in int32, which the caller has proven to hold every distance with its level."""
    start, none, most = np.int32(x_max), np.int32(absent), np.int32(top)
    rounded = np.int32(level + ((1 << h) >> 1))
    for j in range(len(row)):
        score = np.int32(row[j])
        # A shift by what is below 32 anyway: without "& 31" the compiler shifts in 64 bits.
        t = np.int32(np.int32(np.int32(start - score) << (lift & 31)) + rounded)
        code = min(max(np.int32(t >> (h & 31)), np.int32(0)), most)
        out[j] = code if score != none else most


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _softmax_rows(
    scores: Codes, starts: Codes, codes: Codes,
    exp_base: Codes, exp_slope: Codes, log_base: Codes, log_slope: Codes,
    exp_shift: int, log_shift: int, f: int, p_bits: int, g: int, log2_scale: int, absent: int,
    powers: NDArray[np.int32], h: int, top: int, narrow: bool,
) -> None:  # fmt: skip
    """Codes of the rows `scores[starts[i] : starts[i + 1]]`; the scalars are those of `Softmax`."""
    for i in range(len(starts) - 1):
        row, out = scores[starts[i] : starts[i + 1]], codes[starts[i] : starts[i + 1]]
        x_max = row_max(row)
        level = row_level(
            row, x_max, exp_base, exp_slope, log_base, log_slope,
            exp_shift, log_shift, f, p_bits, g, log2_scale, absent, powers,
        )  # fmt: skip
        if narrow:
            _narrow_codes(row, x_max, level, g - f, h, top, absent, out)
            continue
        half = (1 << h) >> 1
        for j in range(len(row)):
            t = ((x_max - row[j]) << (g - f)) + level
            out[j] = min(max((t + half) >> h, 0), top) if row[j] != absent else top


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(LogDomainRows):
    """Row softmax from scores in octaves to codes of `-log2(p / scale)`, `lanes` scores or codes per cycle.

    Ports: in `i: s(score_bits) × lanes, last`; out `o: u(code_bits) × lanes, last`.
    Latency: `2 * n + row_overhead - 1` cycles from the first of a row's n beats to its first codes.
    Interval: `3 * n + row_overhead - 1` cycles from a row to the next.
    Rounding: FLOOR in the powers and in log2, HALF_UP in the code; then saturation.
    Paper: log2 codes of attention without a division, FQ-ViT (IJCAI 2022, arXiv 2111.13824); base √2, RepQ-ViT (ICCV
        2023, arXiv 2212.08254); powers of two for exp, Softermax (DAC 2021, arXiv 2103.09301).
    """

    code_bits: int
    """Width of an output code, 2 to 8; the top code means zero."""
    steps_per_octave: int
    """1: base 2; 2: base √2, which takes at least one fraction bit of a score."""
    log2_scale: int
    """round(log2 of the output format's scale · 2^log_frac_bits); within ±64 octaves."""
    emit_latency: ClassVar[int] = 1
    """Round and saturate."""

    def __post_init__(self) -> None:
        """Raises ValueError unless every parameter and every width it implies can be built."""
        Log2(bits=self.code_bits, steps_per_octave=self.steps_per_octave)
        if self.score_frac_bits < self.steps_per_octave - 1:
            raise ValueError(
                f"score_frac_bits must be in [{self.steps_per_octave - 1}, 24], not {self.score_frac_bits}"
            )
        if abs(self.log2_scale) > 64 << max(self.log_frac_bits, 0):
            raise ValueError(
                f"log2_scale must be within ±64 octaves, not {self.log2_scale} / 2^{self.log_frac_bits}"
            )
        LogDomainRows.__post_init__(self)  # super() finds no class when dataclass has rebuilt it for slots

    @property
    def output_format(self) -> Integer:
        """The codes."""
        return Integer(bits=self.code_bits, signed=False)

    @property
    def code_shift(self) -> int:
        """h: fraction bits of a code before rounding."""
        return self.log_frac_bits - (self.steps_per_octave - 1)

    @property
    def level_offset(self) -> int:
        """The output's scale divides, too."""
        return self.log2_scale

    @property
    def rounding_half(self) -> int:
        """Half a code."""
        return (1 << self.code_shift) >> 1

    def emit(self, scores: Codes, starts: Codes, results: Codes) -> None:
        """Writes the codes of the rows `scores[starts[i] : starts[i + 1]]`."""
        _softmax_rows(
            scores,
            starts,
            results,
            *self._row_parameters(scores.size),
            self.code_shift,
            self.output_format.max_code,
            self.narrow,
        )

    @property
    def narrow(self) -> bool:
        """Whether int32 holds every distance with its level and the half that rounds it."""
        return (1 << (self.score_bits + self.finer_bits)) + max(map(abs, self.level_range)) < 1 << 31

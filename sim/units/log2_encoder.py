"""Log code of a non-negative integer: leading one, then the mantissa's thresholds. Exact comparisons, no rounding."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numba
import numpy as np

from sim.encoder import Encoder
from sim.unit import Codes

_PART = 256
"""Inputs that go through each step together."""


@numba.njit(cache=True, nogil=True)
def _encode(x, top, steps, unity, thresholds, max_level, zero, codes):  # type: ignore[no-untyped-def]
    """`top` is the place of an input's highest bit, to which the leading one is shifted; `zero` the code of 0.

    Steps in loops of their own and no branches, so that the compiler does them in vectors. An input has 24 bits at
    most, so that the steps of its place begin with 16.
    """
    part, rest, place, level = (
        np.empty(_PART, np.int64),
        np.empty(_PART, np.int64),
        np.empty(_PART, np.int64),
        np.empty(_PART, np.int64),
    )
    for start in range(0, x.size, _PART):
        given, out = x[start : start + _PART], codes[start : start + _PART]
        part[: given.size] = given
        rest[:] = part
        place[:] = 0
        for by in (16, 8, 4, 2, 1):
            for n in range(given.size):
                down = by if rest[n] >> by else 0
                place[n] += down
                rest[n] >>= down
        for n in range(given.size):
            level[n] = steps * (unity - place[n])
            rest[n] = part[n] << (top - place[n])
        for threshold in thresholds:
            for n in range(given.size):
                level[n] -= rest[n] >= threshold
        for n in range(given.size):
            out[n] = zero if part[n] == 0 or level[n] > max_level else max(level[n], 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log2Encoder(Encoder):
    """Logarithm of one unsigned integer per cycle, base 2 or √2, to the nearest code; `o` follows `x` by `latency`.

    Code k stands for `2^(unity − k / steps_per_octave)`; the top code stands for 0 and for all that is less than
    `max_level` can say. For Shift-Log2 behind GELU (ADFQ-ViT).

    Ports: in `x: u(in_bits)`; out `o: u(code_bits)`.
    Latency: `2` cycles from an input to its code.
    Interval: `1` cycle from an input to the next.
    Rounding: to the nearest code in the log domain, by comparison; none in the arithmetic.
    Paper: Shift-Log2 of ADFQ-ViT (Neural Networks 186, 2025, arXiv 2407.02763); a leading one and the bits behind it,
        FQ-ViT (IJCAI 2022, arXiv 2111.13824), which rounds at 1.5 where this unit rounds at √2.
    """

    steps_per_octave: int
    """m: 1 for base 2, 2 for base √2."""
    unity: int
    """P: code 0 stands for 2^P; less than `in_bits`."""
    thresholds: tuple[int, ...]
    """m mantissas from which on the logarithm rounds up, none falling; 2^(in_bits − 1) to 2^in_bits."""
    max_level: int
    """Last code but the top one, at most 2^code_bits − 2."""

    limits: ClassVar[Mapping[str, tuple[int, int]]] = {
        "in_bits": (2, 24),
        "code_bits": (2, 8),
        "steps_per_octave": (1, 2),
    }

    def __post_init__(self) -> None:
        Encoder.__post_init__(self)  # super() finds no class when dataclass has rebuilt it for slots
        for name, most in (("unity", self.in_bits - 1), ("max_level", self.zero_code - 1)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be in [0, {most}], not {getattr(self, name)}")
        if len(self.thresholds) != self.steps_per_octave:
            raise ValueError(f"thresholds must be {self.steps_per_octave}, not {len(self.thresholds)}")
        low, high = 1 << (self.in_bits - 1), 1 << self.in_bits
        for threshold in self.thresholds:
            if not low <= threshold <= high:
                raise ValueError(f"thresholds must be in [{low}, {high}], but one is {threshold}")
        for before, after in pairwise(self.thresholds):
            if after < before:
                raise ValueError(f"thresholds must be ascending, but {after} follows {before}")

    @property
    def latency(self) -> int:
        """Cycles from an input to its code: registers after the leading one and after the comparisons."""
        return 2

    @property
    def zero_code(self) -> int:
        """The top code, which means 0."""
        return (1 << self.code_bits) - 1

    def encode(self, x: Codes, codes: Codes) -> None:
        """`m · (P − p) − n`, p the place of the leading one of `x` and n the thresholds its mantissa reaches."""
        thresholds = np.array(self.thresholds, np.int64)
        _encode(
            x, self.in_bits - 1, self.steps_per_octave, self.unity, thresholds,
            self.max_level, self.zero_code, codes,
        )  # fmt: skip

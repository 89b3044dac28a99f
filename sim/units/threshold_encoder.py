"""Monotone code of an unsigned integer: the number of thresholds it reaches. Comparisons only, no rounding."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numba
import numpy as np

from sim.encoder import Encoder
from sim.unit import Codes

_PART = 256
"""Inputs that go through the bisection together."""


@numba.njit(cache=True, nogil=True)
def _encode(x, starts, codes):  # type: ignore[no-untyped-def]
    """Bisection without a branch: `starts[c − 1]` is the least input of code c, of 2^n − 1 codes but 0."""
    code, part = np.empty(_PART, np.int64), np.empty(_PART, np.int64)
    for first in range(0, x.size, _PART):
        given, out = x[first : first + _PART], codes[first : first + _PART]
        part[: given.size] = given
        code[:] = 0
        step = (starts.size + 1) >> 1
        while step:
            for n in range(given.size):
                code[n] += step * (part[n] >= starts[np.uint64(code[n] + step - 1)])
            step >>= 1
        out[:] = code[: given.size]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdEncoder(Encoder):
    """Code of one unsigned integer per cycle, by bisection; `o` follows `x` by `latency` cycles.

    Ports: in `x: u(in_bits)`; out `o: u(code_bits)`.
    Latency: `code_bits` cycles from an input to its code.
    Interval: `1` cycle from an input to the next.
    Rounding: none: comparisons with thresholds that lowering has rounded.
    Paper: TanQ of DopQ-ViT (2024, arXiv 2408.03291), reconstructed here from its summary.
    """

    thresholds: tuple[int, ...]
    """Least input of code 1, 2, …; at most 2^code_bits − 1, none falling, each in the input's range.

    Equal ones leave out the codes between them, and codes beyond the last one are never given.
    """

    limits: ClassVar[Mapping[str, tuple[int, int]]] = {"in_bits": (1, 32), "code_bits": (1, 8)}

    def __post_init__(self) -> None:
        Encoder.__post_init__(self)  # super() finds no class when dataclass has rebuilt it for slots
        most = (1 << self.code_bits) - 1
        if len(self.thresholds) > most:
            raise ValueError(f"thresholds must be at most {most}, not {len(self.thresholds)}")
        top = self.in_format.max_code
        for threshold in self.thresholds:
            if not 0 <= threshold <= top:
                raise ValueError(f"thresholds must be in [0, {top}], but one is {threshold}")
        for before, after in pairwise(self.thresholds):
            if after < before:
                raise ValueError(f"thresholds must be ascending, but {after} follows {before}")

    @property
    def latency(self) -> int:
        """Cycles from an input to its code: a register after each bit's comparison."""
        return self.code_bits

    @property
    def starts(self) -> tuple[int, ...]:
        """Least input of each code but 0; for a code never given, one more than the largest input."""
        never = 1 << self.in_bits
        return (*self.thresholds, *[never] * ((1 << self.code_bits) - 1 - len(self.thresholds)))

    def encode(self, x: Codes, codes: Codes) -> None:
        """Number of thresholds at most each `x`."""
        _encode(x, np.array(self.starts, np.int64), codes)

"""Monotone code of an unsigned integer: the number of thresholds it reaches. Comparisons only, no rounding."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from golden.formats import Integer
from sim.checks import check_codes
from sim.unit import Beats, Codes, Port, Unit


@numba.njit(cache=True, nogil=True)
def _encode(x, starts, codes):  # type: ignore[no-untyped-def]
    """Bisection without a branch: `starts[c − 1]` is the least input of code c, of 2^n − 1 codes but 0."""
    for n in range(x.size):
        code = 0
        step = (starts.size + 1) >> 1
        while step:
            if x[n] >= starts[code + step - 1]:
                code += step
            step >>= 1
        codes[n] = code


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdEncoder(Unit):
    """Code of one unsigned integer per cycle, by bisection; `o` follows `x` by `latency` cycles."""

    in_bits: int
    """Width of the unsigned input, 1 to 32."""
    code_bits: int
    """Width of the code, 1 to 8."""
    thresholds: tuple[int, ...]
    """Least input of code 1, 2, …; at most 2^code_bits − 1, none falling, each in the input's range.

    Equal ones leave out the codes between them, and codes beyond the last one are never given.
    """

    def __post_init__(self) -> None:
        for name, low, high in (("in_bits", 1, 32), ("code_bits", 1, 8)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], not {getattr(self, name)}")
        most = (1 << self.code_bits) - 1
        if len(self.thresholds) > most:
            raise ValueError(f"thresholds must be at most {most}, not {len(self.thresholds)}")
        top = self.inputs["x"].format.max_code
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

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The unsigned integer."""
        return {"x": Port(Integer(bits=self.in_bits, signed=False))}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """The code."""
        return {"o": Port(Integer(bits=self.code_bits, signed=False))}

    def compute(self, x: Codes) -> Codes:
        """Number of thresholds at most each `x`, in any shape.

        Raises:
            InvariantError: `x` exceeds `in_bits`.
        """
        inputs = np.ascontiguousarray(check_codes("threshold_encoder operand x", x, self.inputs["x"].format))
        codes = np.empty(x.size, np.int64)
        _encode(inputs.reshape(-1), np.array(self.starts, np.int64), codes)
        return codes.reshape(x.shape)

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One code per beat."""
        codes = self.compute(inputs["x"].codes)
        return {"o": Beats(codes, np.ones(len(codes), np.bool_))}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A beat per cycle, its code `latency` later."""
        beat = np.arange(len(inputs["x"].codes))
        return {"x": beat, "o": beat + self.latency}

    def cycles(self, codes: int) -> int:
        """Cycles from the first beat of `codes` to the last code, inclusive."""
        return codes + self.latency

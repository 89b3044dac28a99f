"""Element-wise encoders: a wide integer to an unsigned code, one per cycle."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from golden.formats import Integer
from sim.checks import check_codes
from sim.unit import Beats, Codes, Port, Unit

MAX_CODE_BITS = 16
MAX_IN_BITS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder(Unit):
    """Code of one integer per cycle; a unit of this kind states `encode`. `o` follows `x` by `latency` cycles."""

    in_bits: int
    """Width of the input, 1 to 40."""
    code_bits: int
    """Width of the unsigned code, 2 to 16."""
    in_signed: ClassVar[bool] = False
    latency: ClassVar[int] = 1
    """The register after the code."""

    def __post_init__(self) -> None:
        if not 1 <= self.in_bits <= MAX_IN_BITS:
            raise ValueError(f"in_bits must be in [1, {MAX_IN_BITS}], not {self.in_bits}")
        if not 2 <= self.code_bits <= MAX_CODE_BITS:
            raise ValueError(f"code_bits must be in [2, {MAX_CODE_BITS}], not {self.code_bits}")

    def encode(self, x: Codes, codes: Codes) -> None:
        """Writes the code of each of the flat `x`, which fit their format, to `codes`."""
        raise NotImplementedError(f"{type(self).__name__} states no encoding")

    @property
    def in_format(self) -> Integer:
        """The input."""
        return Integer(bits=self.in_bits, signed=self.in_signed)

    @property
    def code_format(self) -> Integer:
        """The codes."""
        return Integer(bits=self.code_bits, signed=False)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The integer."""
        return {"x": Port(self.in_format)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """Its code."""
        return {"o": Port(self.code_format)}

    def compute(self, x: Codes) -> Codes:
        """Code of each `x`, in any shape.

        Raises:
            InvariantError: `x` exceeds `in_bits`.
        """
        inputs = np.ascontiguousarray(check_codes(f"{type(self).__name__} operand x", x, self.in_format))
        codes = np.empty(x.size, np.int64)
        self.encode(inputs.reshape(-1), codes)
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

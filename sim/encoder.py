"""Element-wise encoders: a wide integer to an unsigned code, one per cycle."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from golden.formats import Integer
from sim.checks import check_range
from sim.unit import Beats, Codes, Port, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder(Unit):
    """Code of one integer per cycle; a unit of this kind states `encode` and the `limits` of its parameters.

    `o` follows `x` by `latency` cycles.
    """

    in_bits: int
    """Width of the input."""
    code_bits: int
    """Width of the unsigned code."""
    in_signed: ClassVar[bool] = False
    limits: ClassVar[Mapping[str, tuple[int, int]]]
    """Smallest and largest value of each parameter."""

    def __post_init__(self) -> None:
        for name, (low, high) in self.limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], not {getattr(self, name)}")

    @property
    def latency(self) -> int:
        """Cycles from an input to its code: one register."""
        return 1

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

    def compute(self, x: Codes, kind: type[np.signedinteger[Any]] = np.int64) -> Codes:
        """Code of each `x`, in any shape; `kind` is its type, which holds the codes.

        Raises:
            InvariantError: `x` exceeds `in_bits`.
        """
        check_range(f"{type(self).__name__} operand x", x, self.in_format)
        codes: Codes = np.empty(x.size, kind)
        self.encode(np.ascontiguousarray(x).reshape(-1), codes)
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

"""Residual stream: add, saturate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from sim.checks import check_range
from sim.unit import Beats, Codes, Port, Unit


@numba.njit(cache=True, nogil=True)
def _add(a, b, low, high, sums):  # type: ignore[no-untyped-def] # pragma: no cover
    rows, period = a.shape
    for row in range(rows):
        addend = b[row % b.shape[0]]
        for n in range(period):
            sums[row, n] = min(max(a[row, n] + addend[n], low), high)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualAdder(Unit):
    """Saturating sum of two codes of one scale per cycle; `o` follows `a` and `b` by `latency` cycles.

    Ports: in `a: s(bits)`, `b: s(bits)`; out `o: s(bits)`.
    Latency: `1` cycle from both operands to their sum.
    Interval: `1` cycle from a sum to the next.
    Rounding: none; the sum saturates.
    Paper: none of its own; one scale for the whole residual stream leaves nothing to align.
    """

    bits: int
    """Width of both operands and the sum, signed, 2 to 32."""
    latency: ClassVar[int] = 1
    """The register after the saturated sum."""

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 32:
            raise ValueError(f"bits must be in [2, 32], not {self.bits}")

    @property
    def format(self) -> Integer:
        """Codes of the residual stream."""
        return Integer(bits=self.bits, signed=True)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """Both addends."""
        return {"a": Port(self.format), "b": Port(self.format)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """The sum."""
        return {"o": Port(self.format)}

    def compute(self, *, a: Codes, b: Codes, kind: type[np.signedinteger[Any]] = np.int64) -> Codes:
        """`saturate(a + b)` of `[..]` codes; `b` has the shape of `a`, or that without leading axes (a constant).

        `kind` is the type of the result, which holds the format.

        Raises:
            InvariantError: the shapes do not match, or a code lies outside the format.
        """
        if b.shape != a.shape[a.ndim - b.ndim :]:
            raise InvariantError(f"residual_adder operands a {a.shape} and b {b.shape} do not match")
        period = a.shape[-1]
        for name, operand in (("a", a), ("b", b)):
            check_range(f"residual_adder operand {name}", operand, self.format)
        left, right = a.reshape(-1, period), b.reshape(-1, period)
        sums: Codes = np.empty(left.shape, kind)
        _add(left, right, self.format.min_code, self.format.max_code, sums)
        return sums.reshape(a.shape)

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One sum per beat."""
        sums = self.compute(a=inputs["a"].codes, b=inputs["b"].codes)
        return {"o": Beats(sums, np.ones(len(sums), np.bool_))}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A beat per cycle, its sum `latency` later."""
        beat = np.arange(len(inputs["a"].codes))
        return {"a": beat, "b": beat, "o": beat + self.latency}

    def cycles(self, codes: int) -> int:
        """Cycles from the first beat of `codes` to the last sum, inclusive."""
        return codes + self.latency

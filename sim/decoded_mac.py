"""Dot products of codes that stand for integers: look up, multiply, sum onto the bias; overflow as stated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from golden.formats import Integer
from sim.checks import check_range, extremes
from sim.products import Operand
from sim.unit import Beats, Codes, Port, Unit
from sim.units.mac import Mac

MAX_CODE_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedMac(Unit):
    """Multiply-accumulate whose first operand is a code, decoded on the way to the multiplier.

    A unit of this kind states `values` and is otherwise `mac` on them: `a` and `w` move together, one beat per
    product, `last` of `a` closing a dot product; `bias` moves with the first beat of each dot product; `o` gives
    one accumulator per dot product, `latency` cycles after its last beat.
    """

    code_bits: int
    """Width of a code of the first operand, 2 to 16."""
    w_format: Integer
    """Codes of the second operand."""
    w_zero_point: int
    """Code of `w` that means 0."""
    acc_bits: int
    """Width of the signed accumulator, 1 to 62."""
    overflow: str = "none"
    """What sums beyond `acc_bits` do: none (lowering has proven that there are none), wrap or saturate."""
    latency: ClassVar[int] = Mac.latency
    """Cycles from the last beat of a dot product to its accumulator: product and accumulator registers."""

    def __post_init__(self) -> None:
        if not 2 <= self.code_bits <= MAX_CODE_BITS:
            raise ValueError(f"code_bits must be in [2, {MAX_CODE_BITS}], not {self.code_bits}")
        _ = self.mac  # which checks acc_bits and the width of a product

    @property
    def values(self) -> Codes:
        """Integer that each code stands for, in the order of the codes."""
        raise NotImplementedError(f"{type(self).__name__} states no values")

    @property
    def value_format(self) -> Integer:
        """The values."""
        return Integer.holding(*extremes(self.values))

    @property
    def mac(self) -> Mac:
        """The same dot products on values instead of codes."""
        return Mac(
            a_format=self.value_format,
            w_format=self.w_format,
            a_zero_point=0,
            w_zero_point=self.w_zero_point,
            acc_bits=self.acc_bits,
            overflow=self.overflow,
        )

    @property
    def code_format(self) -> Integer:
        """Codes of the first operand."""
        return Integer(bits=self.code_bits, signed=False)

    @property
    def acc_format(self) -> Integer:
        """The accumulator, and the bias it starts from."""
        return Integer(bits=self.acc_bits, signed=True)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """Both operands, and the bias once per dot product."""
        return {**self.mac.inputs, "a": Port(self.code_format, last=True)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """One accumulator per dot product."""
        return {"o": Port(self.acc_format)}

    def prepare(self, name: str, constant: Codes) -> Codes | Operand:
        """What `compute` takes as well in place of constant `name`: a weight, checked and packed once."""
        return self.mac.prepare(name, constant)

    def compute(
        self,
        *,
        a: Codes,
        w: Codes | Operand,
        bias: Codes | None = None,
        kind: type[np.signedinteger[Any]] = np.int64,
    ) -> Codes:
        """`acc[.., m, n] = bias[n] + Σ_k values[a[.., m, k]] · (w[.., n, k] − w_zero_point)`.

        Args:
            a: `[.., M, K]` codes.
            w: `[N, K]`, shared by all of `a`, or `[.., N, K]` with its leading axes; or either, prepared.
            bias: `[N]`; none means 0. Beyond `acc_bits` it does what the sums do: the bias buffer holds the result.
            kind: type of the result, which holds `acc_format`.

        Returns:
            `[.., M, N]` accumulators.

        Raises:
            InvariantError: a code lies outside its format, or with overflow none an accumulator outside `acc_bits`.
        """
        return self.mac.compute(a=self._decoded(a), w=w, bias=bias, kind=kind)

    def overflows(self, *, a: Codes, w: Codes | Operand, bias: Codes | None = None) -> int:
        """Of how many accumulators of `compute` the bias or a sum in the order of k leaves `acc_bits`."""
        return self.mac.overflows(a=self._decoded(a), w=w, bias=bias)

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One accumulator per row of `a`, a row being the beats up to `last`."""
        a = inputs["a"]
        return self.mac.run(**{**inputs, "a": Beats(self._decoded(a.codes), a.last)})

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A beat per cycle; the bias with the first of a row; the accumulator `latency` after the last."""
        return self.mac.timing(**inputs)

    def cycles(self, rows: int, length: int) -> int:
        """Cycles from the first beat of `rows` dot products of `length` to the last accumulator."""
        return self.mac.cycles(rows, length)

    def _decoded(self, a: Codes) -> Codes:
        """Values of the codes `a`, in C order."""
        check_range(f"{type(self).__name__} operand a", a, self.code_format)
        return np.take(self.values, a)

"""Dot products: subtract both zero points, multiply, sum onto the bias; no rounding, overflow as stated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import MAX_BITS, Integer
from sim.accumulation import check_bias, check_overflow, saturated_products, wrapped_products
from sim.checks import check_length, check_range, magnitude
from sim.products import Operand, centred, fixed, products
from sim.unit import Beats, Codes, Port, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Mac(Unit):
    """Multiply-accumulate of two integer operands, one product per cycle.

    Streams: `a` and `w` move together, one beat per product, `last` of `a` closing a dot product; `bias`, the
    value the accumulator starts from, moves together with the *first* beat of each dot product. `o` gives one
    accumulator per dot product, `latency` cycles after its last beat.

    Ports: in `a: a_format, last`, `w: w_format`, `bias: s(acc_bits)`; out `o: s(acc_bits)`.
    Latency: `n + 1` cycles from the first of a row's n beats to its sum.
    Interval: `n` cycles from a row to the next, one for each of its beats.
    Rounding: none in the sum; what does not fit `acc_bits` wraps or saturates, as `overflow` says.
    Paper: none of its own; the product of integers that RepQ-ViT (ICCV 2023, arXiv 2212.08254) and its like end in.
    """

    a_format: Integer
    """Codes of the first operand."""
    w_format: Integer
    """Codes of the second operand."""
    a_zero_point: int
    """Code of `a` that means 0."""
    w_zero_point: int
    """Code of `w` that means 0."""
    acc_bits: int
    """Width of the signed accumulator, 1 to 62."""
    overflow: str = "none"
    """What sums beyond `acc_bits` do: none (lowering has proven that there are none), wrap or saturate."""
    latency: ClassVar[int] = 2
    """Cycles from the last beat of a dot product to its accumulator: product and accumulator registers."""

    def __post_init__(self) -> None:
        if not 1 <= self.acc_bits <= MAX_BITS:
            raise ValueError(f"acc_bits must be in [1, {MAX_BITS}], not {self.acc_bits}")
        check_overflow(self.overflow)
        product = _reach(self.a_format, self.a_zero_point) * _reach(self.w_format, self.w_zero_point)
        if product.bit_length() >= MAX_BITS:
            raise ValueError(
                f"a product of a ({self.a_format}) and w ({self.w_format}) exceeds {MAX_BITS} bits"
            )

    @property
    def acc_format(self) -> Integer:
        """The accumulator, and the bias it starts from."""
        return Integer(bits=self.acc_bits, signed=True)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """Both operands, and the bias once per dot product."""
        return {"a": Port(self.a_format, last=True), "w": Port(self.w_format), "bias": Port(self.acc_format)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """One accumulator per dot product."""
        return {"o": Port(self.acc_format)}

    def prepare(self, name: str, constant: Codes) -> Codes | Operand:
        """What `compute` takes as well in place of constant `name`: a weight, checked and packed once."""
        if name != "w":
            return constant
        return fixed(self._centred(name, constant, self.w_format, self.w_zero_point))

    def compute(
        self,
        *,
        a: Codes,
        w: Codes | Operand,
        bias: Codes | None = None,
        kind: type[np.signedinteger[Any]] = np.int64,
    ) -> Codes:
        """`acc[.., m, n] = bias[n] + Σ_k (a[.., m, k] − a_zero_point) · (w[.., n, k] − w_zero_point)`.

        Args:
            a: `[.., M, K]`.
            w: `[N, K]`, shared by all of `a`, or `[.., N, K]` with its leading axes; or either, prepared.
            bias: `[N]`; none means 0. Beyond `acc_bits` it does what the sums do: the bias buffer holds the result.
            kind: type of the result, which holds `acc_format`.

        Returns:
            `[.., M, N]` accumulators.

        Raises:
            InvariantError: a code lies outside its format, or with overflow none an accumulator outside `acc_bits`.
        """
        left, right, start = self._operands(a, w, bias)
        if self.overflow == "none" or self._fits(left, right, start):
            acc = products(left, right, start, kind)
        elif self.overflow == "wrap":
            acc = wrapped_products(left, right, start, self.acc_format)
        else:
            acc, _ = saturated_products(left, right, start, self.acc_format)
        check_range("mac accumulator", acc, self.acc_format)
        return acc.reshape(*a.shape[:-1], start.size).astype(kind, copy=False)

    def overflows(self, *, a: Codes, w: Codes | Operand, bias: Codes | None = None) -> int:
        """Of how many accumulators of `compute` the bias or a sum in the order of k leaves `acc_bits`."""
        left, right, start = self._operands(a, w, bias)
        if self._fits(left, right, start):
            return 0
        # Until the first overflow all modes agree, and only whether there is one counts.
        _, over = saturated_products(left, right, start, self.acc_format)
        return int(np.count_nonzero(over))

    def _fits(self, left: Operand, right: Operand, start: Codes) -> bool:
        """Whether a bound proves that every partial sum, in whatever order, is within `acc_bits`."""
        return left.reach * right.row_reach + magnitude(start) <= self.acc_format.max_code

    def _operands(self, a: Codes, w: Codes | Operand, bias: Codes | None) -> tuple[Operand, Operand, Codes]:
        """Both operands less their zero points, and the bias, checked."""
        left = self._centred("a", a, self.a_format, self.a_zero_point)
        right = w if isinstance(w, Operand) else self._centred("w", w, self.w_format, self.w_zero_point)
        shape = right.codes.shape
        if len(shape) > 2 and shape[:-2] != a.shape[:-2]:
            raise InvariantError(f"mac operands a {a.shape} and w {shape} differ in their leading axes")
        check_length("the last axis of mac operand w", shape[-1], a.shape[-1])
        start = check_bias("mac bias", bias, shape[-2], self.acc_format, self.overflow)
        return left, right, start

    def _centred(self, name: str, codes: Codes, format: Integer, zero_point: int) -> Operand:
        """`codes` less their zero point, checked and in the narrowest type a kernel takes."""
        return centred(codes, check_range(f"mac operand {name}", codes, format), zero_point)

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One accumulator per row of `a`, a row being the beats up to `last`."""
        a, w, bias = (inputs[name].codes[:, 0] for name in ("a", "w", "bias"))
        stops = np.flatnonzero(inputs["a"].last) + 1
        starts = np.concatenate(([0], stops[:-1]))
        acc = [
            self.compute(a=a[None, start:stop], w=w[None, start:stop], bias=bias[row : row + 1])[0]
            for row, (start, stop) in enumerate(zip(starts, stops, strict=True))
        ]
        return {"o": Beats(np.array(acc, np.int64).reshape(-1, 1), np.ones(len(acc), np.bool_))}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A beat per cycle; the bias with the first of a row; the accumulator `latency` after the last."""
        last = inputs["a"].last
        beat = np.arange(last.size)
        first = np.concatenate(([True], last[:-1]))[: last.size]
        return {"a": beat, "w": beat, "bias": beat[first], "o": beat[last] + self.latency}

    def cycles(self, rows: int, length: int) -> int:
        """Cycles from the first beat of `rows` dot products of `length` to the last accumulator."""
        return rows * length + self.latency


def _reach(format: Integer, zero_point: int) -> int:
    """Largest magnitude of a code of `format` less its zero point."""
    return max(abs(format.min_code - zero_point), abs(format.max_code - zero_point))

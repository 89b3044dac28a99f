"""From per-token units to one: take out the zero point, scale, add the outliers' share, shift right (HALF_UP)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from sim.checks import check_bound, check_range
from sim.unit import Beats, Codes, Port, Unit

MULTIPLIER = Integer(bits=17, signed=False)
"""Positive, so without the sign bit of the 18 that one operand of a DSP block has."""
ZERO_POINT = Integer(bits=16, signed=False)
MAX_SHIFT = 62


@numba.njit(cache=True, nogil=True)
def _scale(acc, outlier, multiplier, zero_point, column_sum, outlier_shift, half, shift, totals):  # type: ignore[no-untyped-def]
    """Rows are tokens, again from the first one on for every further part of a batch; one row of sums serves all."""
    rows, channels = acc.shape
    for row in range(rows):
        token = row % multiplier.size
        sums = column_sum[row % column_sum.shape[0]]
        for n in range(channels):
            centred = acc[row, n] - zero_point[token] * sums[n]
            share = outlier[row, n] << outlier_shift
            totals[row, n] = (centred * multiplier[token] + share + half) >> shift


class Reach(NamedTuple):
    """Largest magnitude of each intermediate."""

    offset: int
    """zero_point · column_sum"""
    centred: int
    """acc − offset"""
    product: int
    """centred · multiplier"""
    addend: int
    """(outlier << outlier_shift) + half"""
    total: int
    """product + addend, not yet shifted"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScaler(Unit):
    """Dense and sparse product of per-token codes to one scale, one per cycle (ADFQ-ViT).

    Streams: `acc`, `outlier` and the constants move together, one beat per code; `o` gives the total `latency`
    cycles later.

    Ports: in `acc: acc_format`, `outlier: outlier_format`, `multiplier: u(17)`, `zero_point: u(16)`, `column_sum:
        column_sum_format`; out `o: s(out_bits)`.
    Latency: `4` cycles from both accumulators to their total.
    Interval: `1` cycle from a total to the next.
    Rounding: HALF_UP, once, at the end.
    Paper: ADFQ-ViT (Neural Networks 186, 2025, arXiv 2407.02763).
    """

    acc_format: Integer
    """Accumulators of the dense product, the zero point still in them."""
    outlier_format: Integer
    """Accumulators of the outliers."""
    column_sum_format: Integer
    """Sums of the weights of an output channel."""
    outlier_shift: int
    """Left shift of the outliers' accumulators to the unit of the scaled ones, 0 to 62."""
    shift: int
    """Right shift of the total, 0 to 62."""
    out_bits: int
    """Width of the signed result, 1 to 62."""
    latency: ClassVar[int] = 4
    """Registers after: zero point times column sum; difference; scaled difference and addend; shifted sum."""

    def __post_init__(self) -> None:
        limits = {"outlier_shift": (0, MAX_SHIFT), "shift": (0, MAX_SHIFT), "out_bits": (1, 62)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], not {getattr(self, name)}")
        # The total is the widest intermediate: a multiplier can be 1 and more.
        if (bits := signed_bits(self.reach.total)) > 64:
            raise ValueError(
                f"({self.acc_format} − {ZERO_POINT} · {self.column_sum_format}) · {MULTIPLIER} + "
                f"({self.outlier_format} << {self.outlier_shift}) takes {bits} > 64 bits"
            )

    @property
    def reach(self) -> Reach:
        """Reach of operands of any code: what the widths of the hardware derive from."""
        return self.reach_of({name: _largest(port.format) for name, port in self.inputs.items()})

    def reach_of(self, operands: Mapping[str, int]) -> Reach:
        """Reach of operands up to these magnitudes."""
        offset = operands["zero_point"] * operands["column_sum"]
        centred = operands["acc"] + offset
        product = centred * operands["multiplier"]
        addend = (operands["outlier"] << self.outlier_shift) + self.half
        return Reach(offset, centred, product, addend, product + addend)

    @property
    def half(self) -> int:
        """Half of the result's last place, which rounds it."""
        return (1 << self.shift) >> 1

    @property
    def out_format(self) -> Integer:
        """Results."""
        return Integer(bits=self.out_bits, signed=True)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """Both accumulators, the token's two constants and the channel's one."""
        return {
            "acc": Port(self.acc_format),
            "outlier": Port(self.outlier_format),
            "multiplier": Port(MULTIPLIER),
            "zero_point": Port(ZERO_POINT),
            "column_sum": Port(self.column_sum_format),
        }

    @property
    def outputs(self) -> Mapping[str, Port]:
        """The total."""
        return {"o": Port(self.out_format)}

    def compute(
        self,
        *,
        acc: Codes,
        outlier: Codes,
        multiplier: Codes,
        zero_point: Codes,
        column_sum: Codes,
        kind: type[np.signedinteger[Any]] = np.int64,
    ) -> Codes:
        """`round_shift((acc − zero_point · column_sum) · multiplier + (outlier << outlier_shift), shift)`.

        Args:
            acc: `[.., T, N]`.
            outlier: `[.., T, N]`.
            multiplier: `[T]`, 1 to 2^17 − 1.
            zero_point: `[T]`, unsigned 16 bits.
            column_sum: `[N]`.
            kind: type of the result, which holds `out_format`.

        Returns:
            `[.., T, N]` totals of `out_format`.

        Raises:
            InvariantError: shapes do not match, an operand lies outside its range, or a total outside `out_bits`.
        """
        tokens, channels = acc.shape[-2:]
        shapes = {"outlier": (outlier, acc.shape), "multiplier": (multiplier, (tokens,)),
                  "zero_point": (zero_point, (tokens,)), "column_sum": (column_sum, (channels,))}  # fmt: skip
        for name, (operand, shape) in shapes.items():
            if operand.shape != shape:
                raise InvariantError(f"token_scaler {name} has shape {operand.shape}, not {shape}")
        rows = acc.size // max(channels, 1), channels
        totals = self._totals(
            kind, acc=acc.reshape(rows), outlier=outlier.reshape(rows), multiplier=multiplier,
            zero_point=zero_point, column_sum=column_sum[None],
        )  # fmt: skip
        return totals.reshape(acc.shape).astype(kind, copy=False)

    def _totals(self, kind: type[np.signedinteger[Any]], **operands: Codes) -> Codes:
        """Totals of rows `[rows, N]`; multiplier and zero point of all or of every so many, as are column sums.

        They are of type `kind` where that is proven to hold them, else int64.
        """
        ends = {
            name: check_range(f"token_scaler {name}", operands[name], port.format)
            for name, port in self.inputs.items()
        }
        if operands["multiplier"].size and not operands["multiplier"].min():
            raise InvariantError("token_scaler multiplier must be positive, but one is 0")
        reach = self.reach_of({name: max(-low, high) for name, (low, high) in ends.items()})
        check_bound("token_scaler total", reach.total)
        holds = reach.total >> self.shift < np.iinfo(kind).max
        totals: Codes = np.empty(operands["acc"].shape, kind if holds else np.int64)
        given = (np.ascontiguousarray(operands[name]) for name in self.inputs)
        _scale(*given, self.outlier_shift, self.half, self.shift, totals)
        check_range("token_scaler total", totals, self.out_format)
        return totals

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One total per beat."""
        operands = {name: inputs[name].codes for name in self.inputs}
        operands |= {name: operands[name][:, 0] for name in ("multiplier", "zero_point")}
        totals = self._totals(np.int64, **operands)
        return {"o": Beats(totals, np.ones(len(totals), np.bool_))}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A beat per cycle, its total `latency` later."""
        beat = np.arange(len(inputs["acc"].codes))
        return {**dict.fromkeys(self.inputs, beat), "o": beat + self.latency}

    def cycles(self, codes: int) -> int:
        """Cycles from the first beat of `codes` to the last total, inclusive."""
        return codes + self.latency


def signed_bits(reach: int) -> int:
    """Width of a signed integer of any magnitude up to `reach`.

    >>> signed_bits(127), signed_bits(128)
    (8, 9)
    """
    return reach.bit_length() + 1


def _largest(format: Integer) -> int:
    return max(-format.min_code, format.max_code)

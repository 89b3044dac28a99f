"""Accumulator to code: multiply, add the offset, shift right (FLOOR; the offset holds the half), saturate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from sim.checks import check_codes, check_range
from sim.unit import Beats, Codes, Port, Unit

MULTIPLIER = Integer(bits=18, signed=True)
"""One operand of a DSP block."""
SHIFT = Integer(bits=6, signed=False)
MAX_SHIFT = 62


@numba.njit(cache=True, nogil=True)
def _requantize(acc, multiplier, offset, shift, low, high, codes):  # type: ignore[no-untyped-def]
    rows, channels = acc.shape
    for row in range(rows):
        for n in range(channels):
            scaled = (acc[row, n] * multiplier[n] + offset[n]) >> shift[n]
            codes[row, n] = min(max(scaled, low), high)


class Constant(NamedTuple):
    """One constant operand, checked."""

    codes: Codes
    """`[N]` or `[1]`."""

    def spread(self, name: str, channels: int) -> "Constant":
        """The constant with one entry per channel.

        Raises:
            InvariantError: it has neither one entry nor one per channel.
        """
        if self.codes.shape == (channels,):
            return self
        if self.codes.shape != (1,):
            raise InvariantError(
                f"requantizer {name} has shape {self.codes.shape}, neither ({channels},) nor (1,)"
            )
        return Constant(np.full(channels, self.codes[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantizer(Unit):
    """Accumulator to code, one per cycle.

    Streams: `acc`, `multiplier`, `offset` and `shift` move together, one beat per code; `o` gives the code
    `latency` cycles later.

    Ports: in `acc: acc_format`, `multiplier: s(18)`, `offset: offset_format`, `shift: u(6)`; out `o: out_format`.
    Latency: `4` cycles from an accumulator to its code.
    Interval: `1` cycle from an accumulator to the next.
    Rounding: FLOOR, which is HALF_UP once the offset holds the half; then saturation.
    Paper: multiplier and shift for a scale, as I-ViT (ICCV 2023, arXiv 2207.01405) has it.
    """

    acc_format: Integer
    """Accumulators."""
    offset_format: Integer
    """Offsets, signed: bias, zero point and rounding half in units of 2^−shift output codes."""
    out_bits: int
    """Width of an output code, 1 to 32."""
    out_signed: bool
    """Whether output codes are signed."""
    latency: ClassVar[int] = 4
    """Registers after: multiply; add; shift; saturate."""

    def __post_init__(self) -> None:
        if not 1 <= self.out_bits <= 32:
            raise ValueError(f"out_bits must be in [1, 32], not {self.out_bits}")
        if self.sum_bits > 64:
            raise ValueError(
                f"{self.acc_format} · {MULTIPLIER} + {self.offset_format} takes {self.sum_bits} > 64 bits"
            )

    @property
    def sum_bits(self) -> int:
        """Width of acc · multiplier + offset: the longer of the two, and a carry.

        An unsigned accumulator takes one more bit, its sign.
        """
        acc_bits = self.acc_format.bits + (not self.acc_format.signed)
        offset_bits = self.offset_format.bits + (not self.offset_format.signed)
        return max(acc_bits + MULTIPLIER.bits, offset_bits) + 1

    @property
    def out_format(self) -> Integer:
        """Output codes."""
        return Integer(bits=self.out_bits, signed=self.out_signed)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The accumulator and its three constants."""
        return {
            "acc": Port(self.acc_format),
            "multiplier": Port(MULTIPLIER),
            "offset": Port(self.offset_format),
            "shift": Port(SHIFT),
        }

    @property
    def outputs(self) -> Mapping[str, Port]:
        """The code."""
        return {"o": Port(self.out_format)}

    def prepare(self, name: str, constant: Codes) -> Codes | Constant:
        """What `compute` takes as well in place of constant `name`: checked once."""
        return constant if name == "acc" else self._constant(name, constant)

    def compute(
        self,
        *,
        acc: Codes,
        multiplier: Codes | Constant,
        offset: Codes | Constant,
        shift: Codes | Constant,
        kind: type[np.signedinteger[Any]] = np.int64,
    ) -> Codes:
        """`code = saturate((acc · multiplier + offset) >> shift)`.

        Args:
            acc: `[.., N]`.
            multiplier: `[N]` or `[1]`, 18 bits signed; or that, prepared, as the other two.
            offset: `[N]` or `[1]`.
            shift: `[N]` or `[1]`, 1 to 62.
            kind: type of the result, which holds `out_format`.

        Returns:
            `[.., N]` codes of `out_format`.

        Raises:
            InvariantError: an operand lies outside its range.
        """
        # Within their formats the operands make a sum of `sum_bits`, 64 at most.
        check_range("requantizer operand acc", acc, self.acc_format)
        channels = acc.shape[-1]
        given = {"multiplier": multiplier, "offset": offset, "shift": shift}
        factors, offsets, shifts = (
            (c if isinstance(c, Constant) else self._constant(name, c)).spread(name, channels)
            for name, c in given.items()
        )
        codes: Codes = np.empty((acc.size // max(channels, 1), channels), kind)
        first, last = self.out_format.min_code, self.out_format.max_code
        _requantize(acc.reshape(codes.shape), factors.codes, offsets.codes, shifts.codes, first, last, codes)
        return codes.reshape(acc.shape)

    def _constant(self, name: str, constant: Codes) -> Constant:
        """`constant`, checked."""
        codes = np.ascontiguousarray(check_codes(f"requantizer {name}", constant, self.inputs[name].format))
        if name == "shift" and codes.size and not 1 <= codes.min() <= codes.max() <= MAX_SHIFT:
            raise InvariantError(
                f"requantizer shift spans [{codes.min()}, {codes.max()}], outside [1, {MAX_SHIFT}]"
            )
        return Constant(codes)

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One code per beat."""
        acc, multiplier, offset, shift = (inputs[name].codes[:, 0] for name in self.inputs)
        codes = self.compute(acc=acc, multiplier=multiplier, offset=offset, shift=shift)
        return {"o": Beats(codes[:, None], np.ones(codes.size, np.bool_))}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A beat per cycle, its code `latency` later."""
        beat = np.arange(len(inputs["acc"].codes))
        return {**dict.fromkeys(self.inputs, beat), "o": beat + self.latency}

    def cycles(self, codes: int) -> int:
        """Cycles from the first beat of `codes` to the last code, inclusive."""
        return codes + self.latency

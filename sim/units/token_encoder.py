"""Codes of one scale per row, outliers left out: subtract, multiply, add, shift (FLOOR; the offset holds the half)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from sim.checks import check_codes
from sim.outliers import OutlierUnit
from sim.unit import Beats, Codes, Port
from sim.units.requantizer import MAX_SHIFT, MULTIPLIER, SHIFT


@numba.njit(cache=True, nogil=True)
def _encode(  # type: ignore[no-untyped-def]
    x, multiplier, offset, shift, zero_code, zero_point, threshold, capacity, high, codes
):
    rows, channels = x.shape
    for row in range(rows):
        token = row % multiplier.size
        for c in range(channels):
            scaled = ((x[row, c] - zero_point) * multiplier[token] + offset[token]) >> shift[token]
            codes[row, c] = min(max(scaled, 0), high)
        found = 0
        for c in range(channels):
            if abs(x[row, c] - zero_point) > threshold and found < capacity:
                found += 1
                codes[row, c] = zero_code[token]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEncoder(OutlierUnit):
    """Code of one value per cycle, with the row's own scale and zero point; an outlier takes the code of 0.

    Streams: `x` and `o` carry rows of any length, closed by `last`; `multiplier`, `offset`, `shift` and `zero_code`
    move together with the *first* beat of each row; `o` gives the code `latency` cycles after its `x`.

    Ports: in `x: u(in_bits), last`, `multiplier: s(18)`, `offset: offset_format`, `shift: u(6)`, `zero_code:
        u(code_bits)`; out `o: u(code_bits), last`.
    Latency: `4` cycles from a value to its code.
    Interval: `n` cycles from a row of n values to the next.
    Rounding: FLOOR, which is HALF_UP once the offset holds the half; then saturation.
    Paper: ADFQ-ViT (Neural Networks 186, 2025, arXiv 2407.02763).
    """

    code_bits: int
    """Width of the unsigned code, 2 to 8."""
    offset_format: Integer
    """Offsets, signed: zero point and rounding half in units of 2^−shift codes."""
    latency: ClassVar[int] = 4
    """Registers after: d times multiplier, and whether d is an outlier; add; shift; saturate."""

    def __post_init__(self) -> None:
        OutlierUnit.__post_init__(self)  # super() finds no class when dataclass has rebuilt it for slots
        self.check_limits({"code_bits": (2, 8)})

    @property
    def sum_bits(self) -> int:
        """Width of d · multiplier + offset: the longer of the two, and a carry; 64 at most, as no format exceeds 62."""
        offset_bits = self.offset_format.bits + (not self.offset_format.signed)
        return max(self.value_format.bits + MULTIPLIER.bits, offset_bits) + 1

    @property
    def code_format(self) -> Integer:
        """The codes."""
        return Integer(bits=self.code_bits, signed=False)

    @property
    def constants(self) -> Mapping[str, Integer]:
        """Formats of what a row has one of."""
        return {
            "multiplier": MULTIPLIER,
            "offset": self.offset_format,
            "shift": SHIFT,
            "zero_code": self.code_format,
        }

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The row, and its constants once per row."""
        constants = {name: Port(format) for name, format in self.constants.items()}
        return {"x": Port(self.in_format, last=True), **constants}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """The row of codes."""
        return {"o": Port(self.code_format, last=True)}

    def compute(self, *, x: Codes, multiplier: Codes, offset: Codes, shift: Codes, zero_code: Codes) -> Codes:
        """`zero_code[t]` for an outlier of row t, else `saturate((d · multiplier[t] + offset[t]) >> shift[t])`.

        Args:
            x: `[.., T, C]` unsigned codes.
            multiplier: `[T]`, positive, 18 bits signed.
            offset: `[T]`.
            shift: `[T]`, 1 to 62.
            zero_code: `[T]`, codes of the output.

        Returns:
            `[.., T, C]` codes.

        Raises:
            InvariantError: an operand lies outside its range, or the constants are not one per row.
        """
        given = {"multiplier": multiplier, "offset": offset, "shift": shift, "zero_code": zero_code}
        checked = {name: self._constant(name, given[name], x.shape[-2]) for name in self.constants}
        for name, low, high in (("multiplier", 1, MULTIPLIER.max_code), ("shift", 1, MAX_SHIFT)):
            found = checked[name]
            if found.size and not low <= found.min() <= found.max() <= high:
                raise InvariantError(
                    f"token_encoder {name} spans [{found.min()}, {found.max()}], outside [{low}, {high}]"
                )
        rows = np.ascontiguousarray(check_codes("token_encoder operand x", x, self.in_format))
        # Within their formats the operands make a sum of `sum_bits`, 64 at most.
        rows = rows.reshape(-1, x.shape[-1])
        codes = np.empty_like(rows)
        _encode(
            rows, checked["multiplier"], checked["offset"], checked["shift"], checked["zero_code"],
            self.in_zero_point, self.threshold, self.capacity, self.code_format.max_code, codes,
        )  # fmt: skip
        return codes.reshape(x.shape)

    def _constant(self, name: str, constant: Codes, tokens: int) -> Codes:
        """`constant` checked, one per row."""
        if constant.shape != (tokens,):
            raise InvariantError(f"token_encoder {name} has shape {constant.shape}, not ({tokens},)")
        return np.ascontiguousarray(check_codes(f"token_encoder {name}", constant, self.constants[name]))

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One code per beat, rows being the beats up to `last`."""
        x = inputs["x"]
        rows = np.split(x.codes[:, 0], np.flatnonzero(x.last)[:-1] + 1)
        constants = {name: inputs[name].codes for name in self.constants}
        codes = [
            self.compute(x=row[None], **{name: constants[name][n] for name in constants})[0]
            for n, row in enumerate(rows)
        ]
        return {"o": Beats(np.concatenate(codes)[:, None], x.last)}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A beat per cycle; the constants with the first of a row; the code `latency` later."""
        last = inputs["x"].last
        beat = np.arange(last.size)
        first = np.concatenate(([True], last[:-1]))
        return {"x": beat, **dict.fromkeys(self.constants, beat[first]), "o": beat + self.latency}

    def cycles(self, rows: int, length: int) -> int:
        """Cycles from the first beat of `rows` rows of `length` to the last code, inclusive."""
        return rows * length + self.latency

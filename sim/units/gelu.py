"""GELU: rectify, less a bump interpolated in a table of |h|, shift, add the zero point, saturate.

The interpolation and the shift round HALF_UP.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from golden.formats import MAX_BITS, Integer
from sim.checks import check_range
from sim.unit import Beats, Codes, Port, Unit

_PART = 256
"""Inputs that are looked up together."""
_TABLE_BITS = 20
"""Widest input of which a table of all codes, of up to 16 bits, stays in the second-level cache."""
_TABLE_WORTH = 1 << 17
"""Inputs of one call from which that table is worth its making: every later call has it."""


@numba.njit(cache=True, nogil=True)
def _gelu(h, table, slopes, step, lift, shift, zero_point, high, codes):  # type: ignore[no-untyped-def]
    """`slopes[i]` is `table[i + 1] - table[i]`, and both are 0 at the last entry, which stands for all beyond it.

    Look-ups and arithmetic in loops of their own, so that the compiler does the latter in vectors.
    """
    mask = (np.int64(1) << step) - 1
    step_half = (np.int64(1) << step) >> 1
    half = (np.int64(1) << shift) >> 1
    part, base, slope = np.empty(_PART, np.int64), np.empty(_PART, np.int64), np.empty(_PART, np.int64)
    for start in range(0, h.size, _PART):
        given, out = h[start : start + _PART], codes[start : start + _PART]
        part[: given.size] = given
        for n in range(given.size):
            index = np.uint64(min(abs(part[n]) >> step, table.size - 1))
            base[n] = table[index]
            slope[n] = slopes[index]
        for n in range(given.size):
            bump = base[n] + ((slope[n] * (abs(part[n]) & mask) + step_half) >> step)
            rectified = (max(part[n], 0) << lift) - bump
            out[n] = min(max(((rectified + half) >> shift) + zero_point, 0), high)


@numba.njit(cache=True, nogil=True)
def _look_up(h, lowest, table, codes):  # type: ignore[no-untyped-def]
    """`codes = table[h − lowest]`; the caller has checked the range of `h`."""
    for n in range(h.size):
        # An index without a sign is not asked whether it counts from the end.
        codes[n] = table[np.uint64(np.int64(h[n]) - lowest)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gelu(Unit):
    """GELU of one code per cycle: max(x, 0) less a bump of |x| alone; `o` follows `h` by `latency` cycles.

    Ports: in `h: s(in_bits)`; out `o: u(out_bits)`.
    Latency: `4` cycles from an input to its code.
    Interval: `1` cycle from an input to the next.
    Rounding: HALF_UP in the interpolation and in the last shift; then saturation.
    Paper: none of its own: a table of the bump, where I-BERT (ICML 2021, arXiv 2101.01321) has a polynomial.
    """

    in_bits: int
    """Width of the signed input, 2 to 40."""
    frac_bits: int
    """f: the input counts 2^−f output codes, 0 to 40."""
    table_frac_bits: int
    """e: fraction bits of the table beyond those of the input, 0 to 20."""
    table: tuple[int, ...]
    """Bump at multiples of 2^table_step, in units of 2^−(f + e) output codes; none negative, the last 0."""
    table_step: int
    """log2 of the entries' distance in units of the input, 0 to 40."""
    zero_point: int
    """Output code that means 0, any integer of at most 32 bits."""
    out_bits: int
    """Width of the unsigned output code, 1 to 24."""
    latency: ClassVar[int] = 4
    """Registers after: |h| and table; slope times distance; rectified less bump; code."""

    def __post_init__(self) -> None:
        limits = {
            "in_bits": (2, 40),
            "frac_bits": (0, 40),
            "table_frac_bits": (0, 20),
            "table_step": (0, 40),
            "zero_point": (-(1 << 31), (1 << 31) - 1),
            "out_bits": (1, 24),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], not {getattr(self, name)}")
        if len(self.table) < 2 or min(self.table) < 0 or self.table[-1] != 0:
            raise ValueError("table must have at least 2 entries, none negative and the last 0")
        # |slope · low| < max(table) << table_step; one bit more for the rounding half leaves it in int64.
        if max(self.table).bit_length() + self.table_step >= MAX_BITS:
            raise ValueError(
                f"table entries up to {max(self.table)} times 2^{self.table_step} exceed {MAX_BITS} bits"
            )

    @property
    def entry_format(self) -> Integer:
        """Entries of the table."""
        return Integer(bits=max(max(self.table).bit_length(), 1), signed=False)

    @property
    def slope_format(self) -> Integer:
        """Differences of neighbouring entries."""
        slopes = [after - before for before, after in zip(self.table, self.table[1:], strict=False)]
        return Integer.holding(min(slopes), max(*slopes, 0))

    @property
    def rectified_format(self) -> Integer:
        """Rectified input less bump, before the last rounding."""
        top = 1 << (self.in_bits - 1 + self.table_frac_bits)
        # Interpolation stays between two entries, so the bump is in [0, max(table)].
        return Integer.holding(-max(self.table), top)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The signed input."""
        return {"h": Port(Integer(bits=self.in_bits, signed=True))}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """The code."""
        return {"o": Port(Integer(bits=self.out_bits, signed=False))}

    def compute(self, h: Codes, kind: type[np.signedinteger[Any]] = np.int64) -> Codes:
        """Code of GELU of each `h`, in any shape; `kind` is its type, which holds the codes.

        Raises:
            InvariantError: `h` exceeds `in_bits`.
        """
        check_range("gelu operand h", h, self.inputs["h"].format)
        flat = np.ascontiguousarray(h).reshape(-1)
        codes: Codes = np.empty(h.size, kind)
        if self.in_bits <= _TABLE_BITS and self.out_bits <= 16 and h.size >= _TABLE_WORTH:
            _look_up(flat, self.inputs["h"].format.min_code, _all_codes(self), codes)
        else:
            self._calculate(flat, codes)
        return codes.reshape(h.shape)

    def _calculate(self, h: NDArray[Any], codes: NDArray[Any]) -> None:
        """Writes the code of each `h`."""
        table = np.array(self.table, np.int64)
        slopes = np.diff(table, append=0)
        step, lift, high = self.table_step, self.table_frac_bits, self.outputs["o"].format.max_code
        _gelu(h, table, slopes, step, lift, self.frac_bits + lift, self.zero_point, high, codes)

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One code per beat."""
        codes = self.compute(h=inputs["h"].codes)
        return {"o": Beats(codes, np.ones(len(codes), np.bool_))}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A beat per cycle, its code `latency` later."""
        beat = np.arange(len(inputs["h"].codes))
        return {"h": beat, "o": beat + self.latency}

    def cycles(self, codes: int) -> int:
        """Cycles from the first beat of `codes` to the last code, inclusive."""
        return codes + self.latency


@lru_cache(maxsize=128)
def _all_codes(spec: Gelu) -> NDArray[Any]:
    """The code of every input, the lowest first."""
    inputs = spec.inputs["h"].format
    codes = np.empty(1 << spec.in_bits, np.uint8 if spec.out_bits <= 8 else np.uint16)
    spec._calculate(np.arange(inputs.min_code, inputs.max_code + 1), codes)
    return codes

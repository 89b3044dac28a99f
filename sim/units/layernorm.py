"""LayerNorm: sums, variance, inverse square root (FLOOR), normalise (HALF_UP), gain, offset, shift, saturate.

The last shift is FLOOR; the offset holds the half.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import MAX_BITS, Integer
from sim.checks import check_codes, check_length, check_range
from sim.unit import Beats, Codes, Port, Unit

GAIN = Integer(bits=18, signed=True)
"""One operand of a DSP block."""


@numba.njit(cache=True, nogil=True)
def _inverse_root(variance):  # type: ignore[no-untyped-def]
    """(r, j) with `r² · v ≤ 2^62` for the largest r, v the variance times 2^−2j (FLOOR) in [2^30, 2^32)."""
    leading = np.int64(0)
    while variance >> (leading + 1):
        leading += 1
    octave = (leading >> 1) - 15
    normal = variance >> (2 * octave) if octave >= 0 else variance << (-2 * octave)
    # r² · v ≤ 2^62 is r² ≤ floor(2^62 / v), which keeps every product within 34 bits; r has 17 bits.
    limit = (np.int64(1) << 62) // normal
    root = np.int64(0)
    for bit in range(16, -1, -1):
        trial = root | (np.int64(1) << bit)
        if trial * trial <= limit:
            root = trial
    return root, octave


@numba.njit(cache=True, nogil=True)
def _layernorm(x, gain, offset, epsilon, frac_bits, shift, high, codes):  # type: ignore[no-untyped-def]
    rows, channels = x.shape
    for row in range(rows):
        total = np.int64(0)
        squares = np.int64(0)
        for c in range(channels):
            total += x[row, c]
            squares += x[row, c] * x[row, c]
        root, octave = _inverse_root(channels * squares - total * total + epsilon)
        down = 31 + octave - frac_bits
        half = (np.int64(1) << down) >> 1
        for c in range(channels):
            normal = ((channels * x[row, c] - total) * root + half) >> down
            code = (normal * gain[c] + offset[c]) >> shift
            codes[row, c] = min(max(code, 0), high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layernorm(Unit):
    """LayerNorm of one row at a time, in three phases: load the row, solve for 1/√V, emit.

    Streams: `x` and `o` carry rows of `channels` beats closed by `last`; `gain` and `offset` move together,
    one beat per code of every row, when the pipeline of the emit phase multiplies. With the last beat of a
    row taken in cycle T, the emit phase issues its beat k (reads x back from the row memory) in cycle T +
    solve_cycles + k, takes its gain and offset `affine_cycles` later and gives its code `emit_cycles`
    later. The next row's first beat is taken the cycle after the last issue.

    Ports: in `x: s(in_bits), last`, `gain: s(18)`, `offset: offset_format`; out `o: u(out_bits), last`.
    Latency: `channels - 1 + solve_cycles + emit_cycles` cycles from a row's first code to its first result.
    Interval: `2 * channels + solve_cycles - 1` cycles from a row to the next.
    Rounding: FLOOR in the inverse root, HALF_UP in the normalised value; FLOOR at the end, which is HALF_UP once the
        offset holds the half; then saturation.
    Paper: LayerNorm in integers, I-BERT (ICML 2021, arXiv 2101.01321) and FQ-ViT (IJCAI 2022, arXiv 2111.13824); the
        inverse root, bit by bit, is of this project.
    """

    channels: int
    """C, the length of a row, 2 to 65536."""
    epsilon: int
    """In units of C² · scale², at least 1, so that the variance is never 0."""
    norm_frac_bits: int
    """F: fraction bits of the normalised value, 0 to 16."""
    shift: int
    """Right shift after gain and offset, 1 to 62."""
    in_bits: int
    """Width of the signed input code, 2 to 24."""
    offset_format: Integer
    """Offsets: β, zero point and rounding half in units of 2^−shift output codes."""
    out_bits: int
    """Width of the unsigned output code, 1 to 16."""
    solve_cycles: ClassVar[int] = 23
    """From a row's last beat to its first issue. Registers after: x²; Σx²; C·Σx² and (Σx)²; V; leading one;
    v; and one per bit of r, 16 down to 0."""
    affine_cycles: ClassVar[int] = 7
    """From issue to gain and offset. Registers after: row memory, twice; C·x − Σx; · r, limbs and their sum;
    + half; shifted."""
    emit_cycles: ClassVar[int] = 11
    """From issue to the code. Further registers after: · gain, limbs and their sum; + offset, shifted;
    saturated."""

    def __post_init__(self) -> None:
        limits = {
            "channels": (2, 65536),
            "epsilon": (1, 1 << 60),
            "norm_frac_bits": (0, 16),
            "shift": (1, 62),
            "in_bits": (2, 24),
            "out_bits": (1, 16),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], not {getattr(self, name)}")
        variance = (self.channels << (self.in_bits - 1)) ** 2 + self.epsilon
        if variance.bit_length() > MAX_BITS:
            raise ValueError(
                f"{self.channels} channels of {self.in_bits} bits need a variance of "
                f"{variance.bit_length()} bits, more than {MAX_BITS}"
            )

    @property
    def sum_format(self) -> Integer:
        """Σ x of a row."""
        code = self.inputs["x"].format
        return Integer.holding(self.channels * code.min_code, self.channels * code.max_code)

    @property
    def variance_format(self) -> Integer:
        """V, and C · Σ x², which bounds it but for ε."""
        bound = (self.channels << (self.in_bits - 1)) ** 2 + self.epsilon
        return Integer(bits=bound.bit_length(), signed=False)

    @property
    def deviation_format(self) -> Integer:
        """C · x − Σ x: the row's other C − 1 codes differ from x by less than 2^in_bits."""
        reach = (self.channels - 1) * ((1 << self.in_bits) - 1)
        return Integer.holding(-reach, reach)

    @property
    def normal_format(self) -> Integer:
        """The normalised value with F fraction bits.

        The squared deviations of a row add up to C · (V − ε), so |n| ≤ √(C·V); with r ≤ 2^31 / √v and v
        within one part in 2^30 of V / 2^2j, |n · r| / 2^(31 + j) stays below √C · (1 + 2^−30). Two codes
        more than floor(√C · 2^F) cover that, the floor, and the rounding: F ≤ 16 and C ≤ 2^16 make √C · 2^F
        · 2^−30 < 1.
        """
        reach = isqrt(self.channels << (2 * self.norm_frac_bits)) + 2
        return Integer.holding(-reach, reach)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The row, and gain and offset per channel."""
        code = Integer(bits=self.in_bits, signed=True)
        return {"x": Port(code, last=True), "gain": Port(GAIN), "offset": Port(self.offset_format)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """The row of codes."""
        return {"o": Port(Integer(bits=self.out_bits, signed=False), last=True)}

    def compute(
        self, *, x: Codes, gain: Codes, offset: Codes, kind: type[np.signedinteger[Any]] = np.int64
    ) -> Codes:
        """Codes of LayerNorm of each row.

        Args:
            x: `[.., C]` signed codes.
            gain: `[C]`, 18 bits signed.
            offset: `[C]`.
            kind: type of the result, which holds its codes.

        Returns:
            `[.., C]` unsigned codes of `out_bits`.

        Raises:
            InvariantError: an operand lies outside its range, or a row is not `channels` long.
        """
        for name, operand in (("x", x), ("gain", gain), ("offset", offset)):
            check_length(f"the last axis of layernorm operand {name}", operand.shape[-1], self.channels)
        gains = check_codes("layernorm gain", gain, GAIN)
        offsets = check_codes("layernorm offset", offset, self.offset_format)
        check_range("layernorm operand x", x, self.inputs["x"].format)
        # A normalised value is below √65536 · 2^16, a gain 2^17 at most: with any offset the sum fits int64.
        rows = np.ascontiguousarray(x).reshape(-1, self.channels)
        codes: Codes = np.empty(rows.shape, kind)
        high = self.outputs["o"].format.max_code
        _layernorm(rows, gains, offsets, self.epsilon, self.norm_frac_bits, self.shift, high, codes)
        return codes.reshape(x.shape)

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One row of codes per row of `x`."""
        last = self._check_rows(inputs["x"])
        x, gain, offset = (inputs[name].codes.reshape(-1, self.channels) for name in ("x", "gain", "offset"))
        rows = [self.compute(x=x[n], gain=gain[n], offset=offset[n]) for n in range(len(x))]
        return {"o": Beats(np.array(rows, np.int64).reshape(-1, 1), last)}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """Load, solve, emit, one row after the other."""
        rows = self._check_rows(inputs["x"]).size // self.channels
        load = (np.arange(rows)[:, None] * self.interval + np.arange(self.channels)).ravel()
        issue = load + self.channels - 1 + self.solve_cycles
        affine = issue + self.affine_cycles
        return {"x": load, "gain": affine, "offset": affine, "o": issue + self.emit_cycles}

    @property
    def interval(self) -> int:
        """Cycles from one row's first beat to the next row's: load, solve, emit."""
        return 2 * self.channels + self.solve_cycles - 1

    def cycles(self, rows: int, length: int) -> int:
        """Cycles from the first beat of `rows` rows to the last code, inclusive; `length` must be `channels`."""
        check_length("layernorm row", length, self.channels)
        return rows * self.interval + self.emit_cycles

    def _check_rows(self, x: Beats) -> NDArray[np.bool_]:
        """`last`, after checking that it closes rows of `channels` beats and nothing else."""
        expected = np.arange(1, x.last.size + 1) % self.channels == 0
        if x.last.size % self.channels or not np.array_equal(x.last, expected):
            raise InvariantError(f"layernorm rows must have {self.channels} beats each, closed by last")
        return x.last

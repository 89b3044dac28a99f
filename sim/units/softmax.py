"""Softmax straight to log2 codes: row maximum, powers of two, their sum, its log2, one subtraction per code.

FLOOR in the powers and in log2, HALF_UP in the code, saturate at the end (docs/datapath.md, "softmax").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from golden.formats import MAX_BITS, Integer, Log2
from sim.unit import Beats, Codes, Port, Unit

LOG_INDEX_BITS = 12
"""Bits of the sum after its leading one that log2 looks at."""


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _sum_of_powers(
    scores: Codes, x_max: int, f: int, exp_base: Codes, exp_slope: Codes, segment_shift: int
) -> int:
    fraction, low_mask = (1 << f) - 1, (1 << segment_shift) - 1
    total = 0
    for x in scores:
        d = x_max - x
        r = d & fraction
        segment = r >> segment_shift
        mantissa = exp_base[segment] - exp_slope[segment] * (r & low_mask)
        total += mantissa >> min(d >> f, 62)
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def _log2_sum(total: int, p_bits: int, g: int, log_base: Codes, log_slope: Codes, segment_shift: int) -> int:
    p = 0
    while total >> (p + 1):
        p += 1
    u = ((total << LOG_INDEX_BITS) >> p) & ((1 << LOG_INDEX_BITS) - 1)
    segment, low = u >> segment_shift, u & ((1 << segment_shift) - 1)
    return int(((p - p_bits) << g) + log_base[segment] + ((log_slope[segment] * low) >> segment_shift))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _row_level(
    row: Codes, x_max: int, exp_base: Codes, exp_slope: Codes, log_base: Codes, log_slope: Codes,
    exp_shift: int, log_shift: int, f: int, p_bits: int, g: int, log2_scale: int,
) -> int:  # fmt: skip
    total = _sum_of_powers(row, x_max, f, exp_base, exp_slope, exp_shift)
    return int(_log2_sum(total, p_bits, g, log_base, log_slope, log_shift) + log2_scale)


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def _levels(
    rows: Codes, exp_base: Codes, exp_slope: Codes, log_base: Codes, log_slope: Codes,
    exp_shift: int, log_shift: int, f: int, p_bits: int, g: int, log2_scale: int,
) -> Codes:  # fmt: skip
    levels = np.empty(len(rows), np.int64)
    for i in prange(len(rows)):
        levels[i] = _row_level(
            rows[i], rows[i].max(), exp_base, exp_slope, log_base, log_slope,
            exp_shift, log_shift, f, p_bits, g, log2_scale,
        )  # fmt: skip
    return levels


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def _softmax_rows(
    scores: Codes, starts: Codes, exp_base: Codes, exp_slope: Codes, log_base: Codes, log_slope: Codes,
    exp_shift: int, log_shift: int, f: int, p_bits: int, g: int, log2_scale: int, h: int, top: int,
) -> Codes:  # fmt: skip
    """Codes of the rows `scores[starts[i] : starts[i + 1]]`; the scalars are those of `Softmax`."""
    codes = np.empty_like(scores)
    for i in prange(len(starts) - 1):
        row, out = scores[starts[i] : starts[i + 1]], codes[starts[i] : starts[i + 1]]
        x_max = row.max()
        level = _row_level(
            row, x_max, exp_base, exp_slope, log_base, log_slope,
            exp_shift, log_shift, f, p_bits, g, log2_scale,
        )  # fmt: skip
        half = (1 << h) >> 1
        for j in range(len(row)):
            t = ((x_max - row[j]) << (g - f)) + level
            out[j] = min(max((t + half) >> h, 0), top)
    return codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Unit):
    """Row softmax from scores in octaves to codes of `-log2(p / scale)`, one score or code per cycle."""

    score_bits: int
    """Width of a score, signed, 2 to 32."""
    score_frac_bits: int
    """Fraction bits of a score, in octaves; at least log2 of `steps_per_octave` and of the segments."""
    code_bits: int
    """Width of an output code, 2 to 8; the top code means zero."""
    steps_per_octave: int
    """1: base 2; 2: base √2."""
    max_length: int
    """Longest row, in scores, 1 to 65536: the depth of the row memory."""
    log2_scale: int
    """round(log2 of the output format's scale · 2^log_frac_bits); within ±64 octaves."""
    exp_bits: int
    """Fraction bits P of a power of two: 2^0 is about 2^P. 1 to 30."""
    log_frac_bits: int
    """Fraction bits g of a logarithm, score_frac_bits to 30."""
    exp_base: tuple[int, ...]
    """2^−f at the start of each of its equal segments, in units of 2^−exp_bits."""
    exp_slope: tuple[int, ...]
    """Fall of 2^−f per step of f, by segment, in units of 2^−exp_bits per 2^−score_frac_bits."""
    log_base: tuple[int, ...]
    """log2(1 + u) at the start of each of its equal segments, in units of 2^−log_frac_bits."""
    log_slope: tuple[int, ...]
    """Rise of log2(1 + u) over the whole segment, in units of 2^−log_frac_bits."""

    # Pipeline of the RTL, in cycles; `timing` is made of these and cosimulation asserts them.
    read_latency: ClassVar[int] = 3
    """From an address to its difference with the reference: memory, score register, subtraction."""
    power_latency: ClassVar[int] = 3
    """From a difference to its power of two: partial products, mantissa, shift."""
    level_latency: ClassVar[int] = 2
    """From log2's interpolation to the reference of the codes: two additions."""

    def __post_init__(self) -> None:
        """Raises ValueError unless every parameter and every width it implies can be built."""
        Log2(bits=self.code_bits, steps_per_octave=self.steps_per_octave)
        for name, low, high in (
            ("score_bits", 2, 32),
            ("score_frac_bits", self.steps_per_octave - 1, 24),
            ("max_length", 1, 1 << 16),
            ("exp_bits", 1, 30),
            ("log_frac_bits", self.score_frac_bits, 30),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], not {getattr(self, name)}")
        if abs(self.log2_scale) > 64 << self.log_frac_bits:
            raise ValueError(
                f"log2_scale must be within ±64 octaves, not {self.log2_scale} / 2^{self.log_frac_bits}"
            )
        self._check_segments("exp", self.exp_base, self.exp_slope, self.score_frac_bits)
        self._check_segments("log", self.log_base, self.log_slope, LOG_INDEX_BITS)
        self._check_tables()
        # t = (d << (g − f)) + level is the longest integer of the model; the kernel works in int64.
        grown = self.difference_format.bits + self.log_frac_bits - self.score_frac_bits
        if grown > MAX_BITS:
            raise ValueError(f"score_bits and log_frac_bits must keep a code in {MAX_BITS} bits, not {grown}")

    @staticmethod
    def _check_segments(table: str, base: tuple[int, ...], slope: tuple[int, ...], index_bits: int) -> None:
        n = len(base)
        if len(slope) != n or n < 1 or n & (n - 1) or n > 1 << index_bits:
            raise ValueError(
                f"{table}_base and {table}_slope must have the same length, "
                f"a power of two up to 2^{index_bits}, not {n} and {len(slope)}"
            )
        if min(base + slope) < 0:
            raise ValueError(
                f"{table}_base and {table}_slope must not be negative, but one is {min(base + slope)}"
            )

    def _check_tables(self) -> None:
        last = (1 << self.exp_segment_shift) - 1
        for n, (base, slope) in enumerate(zip(self.exp_base, self.exp_slope, strict=True)):
            if base >> (self.exp_bits + 1) or base < slope * last:
                raise ValueError(
                    f"exp segment {n} must stay within [0, 2^{self.exp_bits + 1} - 1], "
                    f"not fall from {base} to {base - slope * last}"
                )
        if self.exp_base[0] < 1:
            raise ValueError("exp_base[0] must be at least 1: it is the row maximum's own term of the sum")
        for n, (base, slope) in enumerate(zip(self.log_base, self.log_slope, strict=True)):
            if base + slope > 2 << self.log_frac_bits:
                raise ValueError(f"log segment {n} must stay below 2 octaves, not reach {base + slope}")

    @property
    def inputs(self) -> Mapping[str, Port]:
        """`i`: one score per beat, `last` on the row's last."""
        return {"i": Port(Integer(bits=self.score_bits, signed=True), last=True)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """`o`: one code per beat, in the order of the scores, `last` on the row's last."""
        return {"o": Port(Integer(bits=self.code_bits, signed=False), last=True)}

    @property
    def exp_segment_shift(self) -> int:
        """Fraction bits of a difference below its exp segment's number."""
        return self.score_frac_bits - (len(self.exp_base) - 1).bit_length()

    @property
    def log_segment_shift(self) -> int:
        """Bits of log2's index below its segment's number."""
        return LOG_INDEX_BITS - (len(self.log_base) - 1).bit_length()

    @property
    def sum_bits(self) -> int:
        """Width of the sum: no term exceeds a segment's base, and a row has at most `max_length` terms.

        At least 13, so that log2's index fits below the leading one once that is at the top.
        """
        return max((self.max_length * max(self.exp_base)).bit_length(), LOG_INDEX_BITS + 1)

    @property
    def code_shift(self) -> int:
        """h: fraction bits of a code before rounding."""
        return self.log_frac_bits - (self.steps_per_octave - 1)

    @property
    def level_range(self) -> tuple[int, int]:
        """Ends of log2 S + log2_scale + half over all sums, in units of 2^−log_frac_bits.

        S lies between exp_base[0] (the row maximum's own term) and max_length · max(exp_base), and log2's
        interpolation between the smallest base and the largest base + slope.
        """
        constant = self.log2_scale + ((1 << self.code_shift) >> 1) - (self.exp_bits << self.log_frac_bits)
        lowest, highest = self.exp_base[0].bit_length() - 1, self.sum_bits - 1
        ends = [base + slope for base, slope in zip(self.log_base, self.log_slope, strict=True)]
        return (
            (lowest << self.log_frac_bits) + min(self.log_base) + constant,
            (highest << self.log_frac_bits) + max(ends) + constant,
        )

    @property
    def level_format(self) -> Integer:
        """Holds every level."""
        return Integer.holding(*self.level_range)

    @property
    def reference_format(self) -> Integer:
        """Holds the row maximum, and the row maximum plus the level in score units: what scores are taken from."""
        low, high = (end >> (self.log_frac_bits - self.score_frac_bits) for end in self.level_range)
        score = self.inputs["i"].format
        return Integer.holding(score.min_code + min(low, 0), score.max_code + max(high, 0))

    @property
    def difference_format(self) -> Integer:
        """Holds reference − score of both passes; x_max − x alone is in [0, 2^score_bits − 1]."""
        low, high = (end >> (self.log_frac_bits - self.score_frac_bits) for end in self.level_range)
        return Integer.holding(min(low, 0), (1 << self.score_bits) - 1 + max(high, 0))

    @property
    def normalise_cycles(self) -> int:
        """Cycles to bring the sum's leading one to the top, four places a cycle and then one.

        The furthest it can be is sum_bits − 1 = 4a + b places away, which takes a + b ≤ a + 3 cycles.
        """
        return (self.sum_bits - 1) // 4 + 3

    @property
    def row_overhead(self) -> int:
        """Cycles between a row's last accept and its first code, beyond the ones that read its scores."""
        return (
            self.read_latency + self.power_latency + 1  # drain the sum, add the last power
            + self.normalise_cycles + self.log_segment_shift + self.level_latency
            + self.read_latency + 1  # refill, round and saturate
        )  # fmt: skip

    def compute(self, scores: NDArray[np.int64]) -> NDArray[np.int64]:
        """Codes of `scores[..., n]`, each row along the last axis."""
        length = scores.shape[-1]
        flat = np.ascontiguousarray(scores, dtype=np.int64).reshape(-1)
        if length == 0 or flat.size == 0:
            raise ValueError(f"scores must hold at least one row of one score, not shape {scores.shape}")
        return self._codes(flat, np.arange(0, flat.size + 1, length)).reshape(scores.shape)

    def levels(self, scores: NDArray[np.int64]) -> NDArray[np.int64]:
        """log2 S + log2_scale of each row of `scores[rows, n]`, log_frac_bits fraction bits: t_i less d_i's part."""
        levels: Codes = _levels(
            np.ascontiguousarray(scores, dtype=np.int64), *self._tables(), self.exp_segment_shift,
            self.log_segment_shift, self.score_frac_bits, self.exp_bits, self.log_frac_bits, self.log2_scale,
        )  # fmt: skip
        return levels

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """Codes of the rows in stream `i`, of any lengths."""
        i = inputs["i"]
        return {"o": Beats(self._codes(i.codes[:, 0], self._starts(i))[:, None], i.last.copy())}

    def timing(self, **inputs: Beats) -> dict[str, Codes]:
        """Cycles of the RTL: a row is taken, a score a cycle; given, a code a cycle; then the next row."""
        starts = self._starts(inputs["i"])
        length = np.diff(starts)
        interval = 3 * length + self.row_overhead - 1  # as `cycles`, row by row
        first = np.concatenate(([0], np.cumsum(interval)[:-1]))
        taken = np.arange(starts[-1]) + np.repeat(first - starts[:-1], length)
        return {"i": taken, "o": taken + np.repeat(2 * length + self.row_overhead - 1, length)}

    def cycles(self, rows: int, length: int) -> int:
        """Cycles from the first accept to the last code, both included, of `rows` rows of `length` scores.

        The scores pass three times: taken, summed, turned into codes. The next row follows without a gap.
        """
        return rows * (3 * length + self.row_overhead - 1)

    def _tables(self) -> list[Codes]:
        tables = (self.exp_base, self.exp_slope, self.log_base, self.log_slope)
        return [np.array(entries, dtype=np.int64) for entries in tables]

    def _starts(self, beats: Beats) -> Codes:
        if not len(beats.last) or not beats.last[-1]:
            raise ValueError("stream i must end with a beat that closes a row")
        return np.concatenate(([0], np.flatnonzero(beats.last) + 1)).astype(np.int64)

    def _codes(self, scores: Codes, starts: Codes) -> Codes:
        longest = int(np.diff(starts).max())
        if longest > self.max_length:
            raise ValueError(f"a row has {longest} scores, but max_length is {self.max_length}")
        port = self.inputs["i"].format
        low, high = int(scores.min()), int(scores.max())
        if low < port.min_code or high > port.max_code:
            raise ValueError(
                f"scores must be in {port} = [{port.min_code}, {port.max_code}], not [{low}, {high}]"
            )
        codes: Codes = _softmax_rows(
            np.ascontiguousarray(scores), starts, *self._tables(), self.exp_segment_shift, self.log_segment_shift,
            self.score_frac_bits, self.exp_bits, self.log_frac_bits, self.log2_scale, self.code_shift,
            (1 << self.code_bits) - 1,
        )  # fmt: skip
        return codes

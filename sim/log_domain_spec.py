"""Parameters and formats of rows divided by their sum in the log domain, which `softmax` and `probability` share."""

from collections.abc import Mapping
from dataclasses import dataclass

from golden.formats import MAX_BITS, Integer
from sim.log_domain import LOG_INDEX_BITS
from sim.unit import Port, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDomainSpec(Unit):
    """What a row unit in the log domain is built from, and the format of everything in it, derived.

    With more than one lane the lowest score is none, which fills up a row's last beat: `absent`. A unit of this kind
    states what it emits: `output_format`, `level_offset` and `rounding_half`.
    """

    score_bits: int
    """Width of a score, signed, 2 to 32."""
    score_frac_bits: int
    """Fraction bits f of a score, in octaves, 0 to 24; at least log2 of the number of segments."""
    max_length: int
    """Longest row, in scores, 1 to 65536: the depth of the row memory."""
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
    lanes: int = 1
    """Scores, and results, of a beat: a power of two, 1 to 8."""

    def __post_init__(self) -> None:
        """Raises ValueError unless every parameter and every width it implies can be built."""
        for name, low, high in (
            ("score_bits", 2, 32),
            ("score_frac_bits", 0, 24),
            ("max_length", 1, 1 << 16),
            ("exp_bits", 1, 30),
            ("log_frac_bits", self.score_frac_bits, 30),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], not {getattr(self, name)}")
        if self.lanes not in (1, 2, 4, 8):
            raise ValueError(f"lanes must be 1, 2, 4 or 8, not {self.lanes}")
        _check_segments("exp", self.exp_base, self.exp_slope, self.score_frac_bits)
        _check_segments("log", self.log_base, self.log_slope, LOG_INDEX_BITS)
        self._check_tables()
        # t = (d << (g − f)) + level is the longest integer of the model; the kernel works in int64.
        grown = self.difference_format.bits + self.log_frac_bits - self.score_frac_bits
        if grown > MAX_BITS:
            raise ValueError(f"score_bits and log_frac_bits must keep a code in {MAX_BITS} bits, not {grown}")

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
    def output_format(self) -> Integer:
        """What is emitted."""
        raise NotImplementedError(f"{type(self).__name__} states no output format")

    @property
    def level_offset(self) -> int:
        """Constant added to log2 S, in units of 2^−log_frac_bits."""
        raise NotImplementedError(f"{type(self).__name__} states no level offset")

    @property
    def rounding_half(self) -> int:
        """What the RTL adds to a level so that its FLOOR rounds HALF_UP, in units of 2^−log_frac_bits."""
        raise NotImplementedError(f"{type(self).__name__} states no rounding")

    @property
    def score_format(self) -> Integer:
        """The scores."""
        return Integer(bits=self.score_bits, signed=True)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """`i`: `lanes` scores per beat, `last` on the row's last."""
        return {"i": Port(self.score_format, lanes=self.lanes, last=True)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """`o`: `lanes` results per beat, in the order of the scores, `last` on the row's last."""
        return {"o": Port(self.output_format, lanes=self.lanes, last=True)}

    @property
    def absent(self) -> int:
        """The code that stands for no score; with one lane a code that no score has."""
        return self.score_format.min_code - (self.lanes == 1)

    @property
    def max_beats(self) -> int:
        """Beats of the longest row."""
        return -(-self.max_length // self.lanes)

    @property
    def exp_segment_shift(self) -> int:
        """Fraction bits of a difference below its exp segment's number."""
        return self.score_frac_bits - (len(self.exp_base) - 1).bit_length()

    @property
    def log_segment_shift(self) -> int:
        """Bits of log2's index below its segment's number."""
        return LOG_INDEX_BITS - (len(self.log_base) - 1).bit_length()

    @property
    def finer_bits(self) -> int:
        """g − f: fraction bits that a level has and a score has not."""
        return self.log_frac_bits - self.score_frac_bits

    @property
    def sum_bits(self) -> int:
        """Width of the sum: no term exceeds a segment's base, and a row has at most `max_length` terms.

        At least 13, so that log2's index fits below the leading one once that is at the top.
        """
        return max((self.max_length * max(self.exp_base)).bit_length(), LOG_INDEX_BITS + 1)

    @property
    def level_constant(self) -> int:
        """What the RTL adds to log2 of the sum as an integer: the sum has P fraction bits."""
        return self.level_offset + self.rounding_half - (self.exp_bits << self.log_frac_bits)

    @property
    def level_range(self) -> tuple[int, int]:
        """Ends of log2 S + level_offset + rounding_half over all sums, in units of 2^−log_frac_bits.

        S lies between exp_base[0] (the row maximum's own term) and max_length · max(exp_base), and log2's
        interpolation between the smallest base and the largest base + slope.
        """
        lowest, highest = self.exp_base[0].bit_length() - 1, self.sum_bits - 1
        ends = [base + slope for base, slope in zip(self.log_base, self.log_slope, strict=True)]
        return (
            (lowest << self.log_frac_bits) + min(self.log_base) + self.level_constant,
            (highest << self.log_frac_bits) + max(ends) + self.level_constant,
        )

    @property
    def level_format(self) -> Integer:
        """Holds every level."""
        return Integer.holding(*self.level_range)

    @property
    def reference_format(self) -> Integer:
        """Holds the row maximum, and the row maximum plus the level in score units: what scores are taken from."""
        low, high = (end >> self.finer_bits for end in self.level_range)
        lowest, highest = self.score_format.min_code, self.score_format.max_code
        return Integer.holding(min(lowest, lowest + low), max(highest, highest + high))

    @property
    def difference_format(self) -> Integer:
        """Holds reference − score of both passes; x_max − x alone is in [0, 2^score_bits − 1]."""
        low, high = (end >> self.finer_bits for end in self.level_range)
        furthest = (1 << self.score_bits) - 1
        return Integer.holding(low, max(furthest, furthest + high))  # 0 is in every format

    @property
    def power_format(self) -> Integer:
        """A power of two: no more than the largest base."""
        return Integer(bits=max(self.exp_base).bit_length(), signed=False)


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

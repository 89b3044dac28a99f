"""Rows of scores divided by their sum in the log domain: what the models of `softmax` and `probability` share."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sim.checks import extremes
from sim.log_domain import powers_of_two, row_levels
from sim.log_domain_spec import LogDomainSpec
from sim.unit import Beats, Codes

_MOST_POWERS = 1 << 16
"""Longest table of powers of two: it stays in the caches near the processor."""
_WORTH = 1 << 15
"""Scores of one call from which such a table is worth its making: every later call has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDomainRows(LogDomainSpec):
    """A row unit that divides by the sum of powers in the log domain, `lanes` scores or results per cycle.

    The scores of a row pass three times: taken, summed, emitted. A unit of this kind states, beside what
    `LogDomainSpec` asks for, `emit_latency` and `emit`.
    """

    # Pipeline of the RTL, in cycles; `timing` is made of these and cosimulation asserts them.
    read_latency: ClassVar[int] = 3
    """From an address to its difference with the reference: memory, score register, subtraction."""
    power_latency: ClassVar[int] = 3
    """From a difference to its power of two: partial products, mantissa, shift."""
    level_latency: ClassVar[int] = 2
    """From log2's interpolation to the reference of the emitted: two additions."""
    emit_latency: ClassVar[int]
    """From a difference to what is emitted for it."""

    def emit(self, scores: Codes, starts: Codes, results: Codes) -> None:
        """Writes the results of the rows `scores[starts[i] : starts[i + 1]]`, which fit their format."""
        raise NotImplementedError(f"{type(self).__name__} emits nothing")

    @property
    def normalise_cycles(self) -> int:
        """Cycles to bring the sum's leading one to the top, four places a cycle and then one.

        The furthest it can be is sum_bits − 1 = 4a + b places away, which takes a + b ≤ a + 3 cycles.
        """
        return (self.sum_bits - 1) // 4 + 3

    @property
    def gather_latency(self) -> int:
        """From the powers of a beat's lanes to their sum: a register after each level of additions."""
        return (self.lanes - 1).bit_length()

    @property
    def interpolate_cycles(self) -> int:
        """One for each bit that a slope is multiplied by; none without slopes."""
        return self.log_segment_shift if any(self.log_slope) else 0

    @property
    def row_overhead(self) -> int:
        """Cycles between a row's last accept and its first result, beyond the ones that read its beats."""
        return (
            self.read_latency + self.power_latency + self.gather_latency + 1  # drain the sum, add the last powers
            + self.normalise_cycles + self.interpolate_cycles + self.level_latency
            + self.read_latency + self.emit_latency  # refill
        )  # fmt: skip

    def compute(self, scores: Codes, kind: type[np.signedinteger[Any]] = np.int64) -> Codes:
        """Results of `scores[..., n]`, each row along the last axis; `kind` is their type, which holds them."""
        length = scores.shape[-1]
        flat = np.ascontiguousarray(scores).reshape(-1)
        if length == 0 or flat.size == 0:
            raise ValueError(f"scores must hold at least one row of one score, not shape {scores.shape}")
        return self._checked(flat, np.arange(0, flat.size + 1, length), kind).reshape(scores.shape)

    def levels(self, scores: Codes) -> Codes:
        """log2 S + level_offset of each row of `scores[rows, n]`, log_frac_bits fraction bits: t_i less d_i's part."""
        levels: Codes = row_levels(
            np.ascontiguousarray(scores, dtype=np.int64), *self._row_parameters(scores.size)
        )
        return levels

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """Results of the rows in stream `i`, of any lengths."""
        i = inputs["i"]
        results = self._checked(i.codes.reshape(-1), _starts(i) * self.lanes)
        return {"o": Beats(results.reshape(-1, self.lanes), i.last.copy())}

    def timing(self, **inputs: Beats) -> dict[str, Codes]:
        """Cycles of the RTL: a row is taken, a beat a cycle; given, a beat a cycle; then the next row."""
        starts = _starts(inputs["i"])
        length = np.diff(starts)
        interval = 3 * length + self.row_overhead - 1  # as `cycles`, row by row
        first = np.concatenate(([0], np.cumsum(interval)[:-1]))
        taken = np.arange(starts[-1]) + np.repeat(first - starts[:-1], length)
        return {"i": taken, "o": taken + np.repeat(2 * length + self.row_overhead - 1, length)}

    def cycles(self, rows: int, length: int) -> int:
        """Cycles from the first accept to the last result, both included, of `rows` rows of `length` scores.

        The beats pass three times: taken, summed, turned into results. The next row follows without a gap.
        """
        return rows * (3 * -(-length // self.lanes) + self.row_overhead - 1)

    def _row_parameters(self, scores: int) -> tuple[Codes | NDArray[np.int32] | int, ...]:
        """The parameters of `row_level`, in its order, for so many scores."""
        tables = (self.exp_base, self.exp_slope, self.log_base, self.log_slope)
        return (
            *(np.array(entries, dtype=np.int64) for entries in tables),
            *(self.exp_segment_shift, self.log_segment_shift, self.score_frac_bits),
            *(self.exp_bits, self.log_frac_bits, self.level_offset, self.absent),
            _powers(self) if scores >= _WORTH and self._tabled else np.empty(0, np.int32),
        )

    @property
    def _distances(self) -> int:
        """Distances up to the first whose power of two is 0, it included: 2^P shifted right by P + 1."""
        return ((self.exp_bits + 1) << self.score_frac_bits) + 1

    @property
    def _tabled(self) -> bool:
        """Whether the table is short enough, and int32 holds every distance."""
        return self._distances <= _MOST_POWERS and self.score_bits <= 30

    def _checked(self, scores: Codes, starts: Codes, kind: type[np.signedinteger[Any]] = np.int64) -> Codes:
        lengths = np.diff(starts)
        if self.lanes > 1:
            lengths = np.add.reduceat((scores != self.absent).astype(np.int64), starts[:-1])
            if not lengths.min():
                raise ValueError(f"a row has no score: all are {self.absent}, which stands for none")
        longest = int(lengths.max())
        if longest > self.max_length:
            raise ValueError(f"a row has {longest} scores, but max_length is {self.max_length}")
        low, high = extremes(scores)
        if low < self.score_format.min_code or high > self.score_format.max_code:
            raise ValueError(
                f"scores must be in {self.score_format} = "
                f"[{self.score_format.min_code}, {self.score_format.max_code}], not [{low}, {high}]"
            )
        results: Codes = np.empty(scores.shape, kind)
        self.emit(np.ascontiguousarray(scores), starts, results)
        return results


@lru_cache(maxsize=128)
def _powers(spec: LogDomainRows) -> NDArray[np.int32]:
    """Powers of two of all distances that have one, and of one more."""
    base, slope = (np.array(entries, np.int64) for entries in (spec.exp_base, spec.exp_slope))
    powers: NDArray[np.int32] = powers_of_two(
        spec.score_frac_bits, base, slope, spec.exp_segment_shift, spec._distances
    )
    return powers


def _starts(beats: Beats) -> Codes:
    if not len(beats.last) or not beats.last[-1]:
        raise ValueError("stream i must end with a beat that closes a row")
    return np.concatenate(([0], np.flatnonzero(beats.last) + 1)).astype(np.int64)

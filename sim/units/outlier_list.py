"""A row's outliers as words of channel and value, in the order of the channels; exact, no rounding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from sim.checks import check_codes, check_length
from sim.outliers import OutlierUnit
from sim.unit import Beats, Codes, Port


@numba.njit(cache=True, nogil=True)
def _list(x, zero_point, threshold, value_bits, words):  # type: ignore[no-untyped-def]
    """Fills the first places of `words`, which is 0 before; its rows have `capacity` places."""
    rows, channels = x.shape
    mask = (np.int64(1) << value_bits) - 1
    for row in range(rows):
        found = 0
        for c in range(channels):
            d = x[row, c] - zero_point
            if abs(d) > threshold and found < words.shape[1]:
                words[row, found] = (c << value_bits) | (d & mask)
                found += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierList(OutlierUnit):
    """List of the outliers of one row at a time.

    Streams: `x` carries rows of `channels` beats closed by `last`, one beat per cycle; `o` then gives the row's list,
    `capacity` words closed by `last`, one per cycle from `latency` cycles after the row's last beat. The next
    row's first beat is taken in the cycle that offers the last word.

    Ports: in `x: u(in_bits), last`; out `o: u(in_bits + 1 + index_bits), last`.
    Latency: `channels + 1` cycles from a row's first code to its list's first word.
    Interval: `channels + capacity` cycles from a row to the next.
    Rounding: none.
    Paper: ADFQ-ViT (Neural Networks 186, 2025, arXiv 2407.02763).
    """

    channels: int
    """C, the length of a row, 2 to 4096."""
    latency: ClassVar[int] = 2
    """Cycles from a row's last beat to the list's first word. Registers after: the list; the word."""

    def __post_init__(self) -> None:
        OutlierUnit.__post_init__(self)  # super() finds no class when dataclass has rebuilt it for slots
        self.check_limits({"channels": (2, 4096)})

    @property
    def value_bits(self) -> int:
        """Low bits of a word: d in two's complement."""
        return self.value_format.bits

    @property
    def index_bits(self) -> int:
        """Bits above them: the channel."""
        return (self.channels - 1).bit_length()

    @property
    def word_format(self) -> Integer:
        """A word: 17 + 12 bits at most."""
        return Integer(bits=self.value_bits + self.index_bits, signed=False)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The row."""
        return {"x": Port(self.in_format, last=True)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """Its list."""
        return {"o": Port(self.word_format, last=True)}

    def compute(self, x: Codes) -> Codes:
        """`(channel << value_bits) | (d mod 2^value_bits)` of each outlier of a row, then zeros.

        Args:
            x: `[.., C]` unsigned codes.

        Returns:
            `[.., capacity]` words.

        Raises:
            InvariantError: `x` exceeds `in_bits`, or a row is not `channels` long.
        """
        check_length("the last axis of outlier_list operand x", x.shape[-1], self.channels)
        rows = np.ascontiguousarray(check_codes("outlier_list operand x", x, self.in_format))
        words = np.zeros((x.size // self.channels, self.capacity), np.int64)
        _list(rows.reshape(-1, self.channels), self.in_zero_point, self.threshold, self.value_bits, words)
        return words.reshape(*x.shape[:-1], self.capacity)

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One list per row of `x`."""
        rows = self._rows(inputs["x"])
        words = self.compute(inputs["x"].codes.reshape(rows, self.channels))
        last = np.arange(1, words.size + 1) % self.capacity == 0
        return {"o": Beats(words.reshape(-1, 1), last)}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """Take a row, give its list, one row after the other."""
        start = np.arange(self._rows(inputs["x"]))[:, None] * self.interval
        first_word = start + self.channels - 1 + self.latency
        return {
            "x": (start + np.arange(self.channels)).ravel(),
            "o": (first_word + np.arange(self.capacity)).ravel(),
        }

    @property
    def interval(self) -> int:
        """Cycles from one row's first beat to the next row's: take the row, give the list."""
        return self.channels + self.capacity

    def cycles(self, rows: int, length: int) -> int:
        """Cycles from the first beat of `rows` rows to the last word, inclusive; `length`, a list's, is `capacity`."""
        check_length("outlier_list list", length, self.capacity)
        return rows * self.interval + self.latency - 1

    def _rows(self, x: Beats) -> int:
        """Number of rows, after checking that `last` closes rows of `channels` beats and nothing else."""
        expected = np.arange(1, x.last.size + 1) % self.channels == 0
        if x.last.size % self.channels or not np.array_equal(x.last, expected):
            raise InvariantError(f"outlier_list rows must have {self.channels} beats each, closed by last")
        return x.last.size // self.channels

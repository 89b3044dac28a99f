"""Sparse dot products: each word's value times the weight at its index, onto the bias; overflow as stated."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from sim.accumulation import check_bias, saturated_list, settled, stretches
from sim.checks import check_bound, check_codes, check_range, magnitude
from sim.unit import Beats, Codes, Port, Unit
from sim.units.mac import Mac

_INT32 = Integer(bits=32, signed=True)


@numba.njit(cache=True, nogil=True)
def _sparse_products(words, columns, bias, value_bits, acc):  # type: ignore[no-untyped-def]
    """Word by word, so that a value of 0 costs nothing and another runs along one column of weights."""
    rows, places = words.shape
    half = np.int64(1) << (value_bits - 1)
    for row in range(rows):
        for n in range(bias.size):
            acc[row, n] = bias[n]
        for p in range(places):
            value = ((words[row, p] + half) & (2 * half - 1)) - half
            if value != 0:
                index = words[row, p] >> value_bits
                for n in range(bias.size):
                    acc[row, n] += value * columns[index, n]


class Columns(NamedTuple):
    """Weights `[K, N]` in C order: what belongs to one index lies side by side."""

    weights: NDArray[np.int32]
    reach: int
    """Largest magnitude."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierMac(Unit):
    """Multiply-accumulate of listed outliers and the weights at their indices, one word per cycle.

    Streams: `a` and `w` move together, one beat per word, `last` of `a` closing a list; `w` carries the weight
    already fetched at the word's index. `bias` moves with the first beat of each list; `o` gives one accumulator
    per list, `latency` cycles after its last beat.

    Ports: in `a: u(value_bits + index_bits), last`, `w: w_format`, `bias: s(acc_bits)`; out `o: s(acc_bits)`.
    Latency: `n + 1` cycles from the first of a row's n beats to its sum.
    Interval: `n` cycles from a row to the next, one for each of its beats.
    Rounding: none in the sum; what does not fit `acc_bits` wraps or saturates, as `overflow` says.
    Paper: ADFQ-ViT (Neural Networks 186, 2025, arXiv 2407.02763).
    """

    value_bits: int
    """Low bits of a word, the value in two's complement, 3 to 17."""
    index_bits: int
    """Bits above them, 1 to 12."""
    w_format: Integer
    """Weights, 32 bits signed at most."""
    acc_bits: int
    """Width of the signed accumulator, 1 to 62."""
    overflow: str = "none"
    """What sums beyond `acc_bits` do: none (lowering has proven that there are none), wrap or saturate."""
    latency: ClassVar[int] = Mac.latency
    """Cycles from the last beat of a list to its accumulator: product and accumulator registers."""

    def __post_init__(self) -> None:
        for name, (low, high) in {"value_bits": (3, 17), "index_bits": (1, 12)}.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], not {getattr(self, name)}")
        if self.w_format.min_code < _INT32.min_code or self.w_format.max_code > _INT32.max_code:
            raise ValueError(f"w_format must fit {_INT32}, not {self.w_format}")
        _ = self.mac  # which checks acc_bits and overflow

    @property
    def value_format(self) -> Integer:
        """Values of the words."""
        return Integer(bits=self.value_bits, signed=True)

    @property
    def word_format(self) -> Integer:
        """Index and value."""
        return Integer(bits=self.value_bits + self.index_bits, signed=False)

    @property
    def acc_format(self) -> Integer:
        """The accumulator, and the bias it starts from."""
        return Integer(bits=self.acc_bits, signed=True)

    @property
    def mac(self) -> Mac:
        """The sums' streams and cycles: those of values and fetched weights."""
        return Mac(
            a_format=self.value_format,
            w_format=self.w_format,
            a_zero_point=0,
            w_zero_point=0,
            acc_bits=self.acc_bits,
            overflow=self.overflow,
        )

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The words with their weights, and the bias once per list."""
        return {**self.mac.inputs, "a": Port(self.word_format, last=True)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """One accumulator per list."""
        return {"o": Port(self.acc_format)}

    def prepare(self, name: str, constant: Codes) -> Codes | Columns:
        """What `compute` takes as well in place of constant `name`: the weights, checked and turned once."""
        return self._columns(constant) if name == "w" else constant

    def compute(self, *, a: Codes, w: Codes | Columns, bias: Codes | None = None) -> Codes:
        """`acc[.., m, n] = bias[n] + Σ_p value(a[.., m, p]) · w[n, index(a[.., m, p])]`.

        Args:
            a: `[.., M, P]` words.
            w: `[N, K]`, or that, prepared.
            bias: `[N]`; none means 0. Beyond `acc_bits` it does what the sums do: the bias buffer holds the result.

        Returns:
            `[.., M, N]` accumulators.

        Raises:
            InvariantError: an operand lies outside its format, an index beyond w, or with overflow none an
                accumulator outside `acc_bits`.
        """
        columns, start = self._constants(a, w, bias)
        return self._sums(a, columns, start)

    def overflows(self, *, a: Codes, w: Codes | Columns, bias: Codes | None = None) -> int:
        """Of how many accumulators of `compute` the bias or a sum in the order of p leaves `acc_bits`."""
        columns, start = self._constants(a, w, bias)
        if self._fits(a, columns, start):
            return 0
        # Until the first overflow all modes agree, and only whether there is one counts.
        _, over = self._saturated(self._rows(a), columns, start)
        return int(np.count_nonzero(over))

    def _constants(self, a: Codes, w: Codes | Columns, bias: Codes | None) -> tuple[Columns, Codes]:
        """Weights and bias for the words `a`, all checked."""
        _, highest = check_range("outlier_mac operand a", a, self.word_format)
        columns = w if isinstance(w, Columns) else self._columns(w)
        depth, outputs = columns.weights.shape
        if highest >> self.value_bits >= depth:
            raise InvariantError(
                f"outlier_mac index {highest >> self.value_bits} is beyond a depth of {depth}"
            )
        start = check_bias("outlier_mac bias", bias, outputs, self.acc_format, self.overflow)
        return columns, np.ascontiguousarray(start)

    def _sums(self, words: Codes, columns: Columns, start: Codes) -> Codes:
        """Accumulators of words whose indices lie within the columns."""
        rows = self._rows(words)
        if self.overflow == "none" or self._fits(words, columns, start):
            check_bound("outlier_mac partial sum", self._bound(words, columns) + magnitude(start))
            acc = self._exact(rows, columns, start)
        elif self.overflow == "wrap":
            acc = settled(start, self.acc_format, "wrap")
            for part in stretches(rows.shape[1], columns.reach << (self.value_bits - 1)):
                exact = self._exact(np.ascontiguousarray(rows[:, part]), columns, np.zeros_like(start))
                acc = settled(acc + exact, self.acc_format, "wrap")
        else:
            acc, _ = self._saturated(rows, columns, start)
        return check_codes(
            "outlier_mac accumulator", acc.reshape(*words.shape[:-1], start.size), self.acc_format
        )

    def _bound(self, words: Codes, columns: Columns) -> int:
        """Every partial sum, in whatever order, is within P · max|value| · max|w|."""
        places: int = words.shape[-1]
        return (places << (self.value_bits - 1)) * columns.reach

    def _fits(self, words: Codes, columns: Columns, start: Codes) -> bool:
        """Whether that bound proves that no sum leaves `acc_bits`."""
        return self._bound(words, columns) + magnitude(start) <= self.acc_format.max_code

    def _exact(self, rows: Codes, columns: Columns, start: Codes) -> Codes:
        """Sums that are proven to fit 64 bits."""
        acc = np.empty((len(rows), start.size), np.int64)
        _sparse_products(rows, columns.weights, start, self.value_bits, acc)
        return acc

    def _saturated(self, rows: Codes, columns: Columns, start: Codes) -> tuple[Codes, NDArray[np.bool_]]:
        """Sums that saturate at each word, and where one did."""
        return saturated_list(rows, columns.weights, self.value_bits, columns.reach, start, self.acc_format)

    def _rows(self, words: Codes) -> Codes:
        """Lists of words, all leading axes as one."""
        return np.ascontiguousarray(words, np.int64).reshape(prod(words.shape[:-1]), words.shape[-1])

    def _columns(self, w: Codes) -> Columns:
        """`w` checked, one row per index."""
        if w.ndim != 2:
            raise InvariantError(f"outlier_mac operand w has shape {w.shape}, not [N, K]")
        low, high = check_range("outlier_mac operand w", w, self.w_format)
        return Columns(np.ascontiguousarray(w.T, np.int32), max(-low, high))

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """One accumulator per list of `a`, a list being the beats up to `last`."""
        words, weights, bias = (inputs[name].codes[:, 0] for name in ("a", "w", "bias"))
        check_range("outlier_mac operand a", words, self.word_format)
        stops = np.flatnonzero(inputs["a"].last) + 1
        starts = np.concatenate(([0], stops[:-1]))
        # A fetched weight belongs to a place of the list, which takes the place of the index.
        places = np.arange(words.size) - np.repeat(starts, stops - starts)
        placed = (places << self.value_bits) | (words & ((1 << self.value_bits) - 1))
        acc = [
            self._sums(placed[None, start:stop], self._columns(weights[None, start:stop]), bias[n : n + 1])[0]
            for n, (start, stop) in enumerate(zip(starts, stops, strict=True))
        ]
        return {"o": Beats(np.array(acc, np.int64).reshape(-1, 1), np.ones(len(acc), np.bool_))}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A beat per cycle; the bias with the first of a list; the accumulator `latency` after the last."""
        return self.mac.timing(**inputs)

    def cycles(self, rows: int, length: int) -> int:
        """Cycles from the first beat of `rows` lists of `length` to the last accumulator."""
        return self.mac.cycles(rows, length)

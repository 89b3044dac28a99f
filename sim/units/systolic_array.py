"""Output-stationary array of multiply-accumulators: one tile of a matrix product at a time, each sum in its place."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from sim.checks import check_range
from sim.decoded_mac import DecodedMac
from sim.unit import Beats, Codes, Port, Unit
from sim.units.log2_mac import Log2Mac
from sim.units.mac import Mac

MAX_SIDE = 1024


class Tile(NamedTuple):
    """One tile of a stream of operands."""

    beats: slice
    """Its steps."""
    rows: int
    """r: rows of the left operand, and of the output."""
    columns: int
    """c: columns of the right operand, and of the output."""
    start: int
    """Cycle of its first beat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystolicArray(Unit):
    """`rows` × `columns` places, each with the arithmetic of the multiply-accumulator `pe` and one sum of a tile.

    Streams: a beat of `a` and `w` is one step k of a tile, all rows of the left and all columns of the right operand;
    they move together, `last` of `a` closing the tile. `tile`, the rows r and columns c that the tile really has,
    and `bias`, where `pe` has one, a value for every column, move with the tile's *first* beat. `o` gives r beats per
    tile, one per row from the first on, `last` with the final one; a lane beyond c holds what its sums start from.
    One tile is in work at a time: the next one's first beat moves after the last output.

    Ports: in `a: pe.inputs['a'].format × rows, last`, `w: pe.w_format × columns`, `tile: side_format × 2`, `bias:
        s(pe.acc_bits) × columns`; out `o: s(pe.acc_bits) × columns, last`.
    Latency: `pe.cycles(1, n) + r + c - 3` cycles from the first of n steps of a tile of r × c sums to its first row
        of them.
    Interval: `pe.cycles(1, n) + 2 * r + c - 3` cycles from a tile to the next.
    Rounding: that of `pe`, term by term in the order of k.
    Paper: none of its own.
    """

    pe: Mac | DecodedMac | Log2Mac
    """The multiply-accumulator in every place."""
    rows: int
    """Rows of the left operand that are in work together, 1 to 1024."""
    columns: int
    """Columns of the output that are in work together, 1 to 1024."""

    def __post_init__(self) -> None:
        if not isinstance(self.pe, Mac | DecodedMac | Log2Mac):
            raise TypeError(f"pe must be a mac, two_scale_mac, table_mac or log2_mac, not {self.pe}")
        for name in ("rows", "columns"):
            if not 1 <= getattr(self, name) <= MAX_SIDE:
                raise ValueError(f"{name} must be in [1, {MAX_SIDE}], not {getattr(self, name)}")

    @property
    def side_format(self) -> Integer:
        """Rows and columns of a tile."""
        return Integer(bits=max(self.rows, self.columns).bit_length(), signed=False)

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The operands, a lane per row or column; the tile's sides; the bias, if `pe` has one."""
        ports = self.pe.inputs
        found = {
            "a": Port(ports["a"].format, lanes=self.rows, last=True),
            "w": Port(ports["w"].format, lanes=self.columns),
            "tile": Port(self.side_format, lanes=2),
        }
        if "bias" in ports:
            found["bias"] = Port(ports["bias"].format, lanes=self.columns)
        return found

    @property
    def outputs(self) -> Mapping[str, Port]:
        """One row of a tile's sums per beat."""
        return {"o": Port(self.pe.acc_format, lanes=self.columns, last=True)}

    def tile_cycles(self, length: int, rows: int, columns: int) -> int:
        """Cycles of a tile of `rows` × `columns` sums of `length` terms, from its first beat to its last output.

        Those of one sum, (r − 1) + (c − 1) until operands reach the farthest place, r − 1 more until all rows are out.
        """
        return self.pe.cycles(1, length) + (rows - 1) + (columns - 1) + (rows - 1)

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """The sums of each tile, row by row."""
        a, w = inputs["a"].codes, inputs["w"].codes
        # Lanes beyond a tile's sides are free, but codes all the same.
        check_range("systolic_array operand a", a, self.inputs["a"].format)
        check_range("systolic_array operand w", w, self.inputs["w"].format)
        found, last = [], []
        for n, tile in enumerate(self._tiles(inputs)):
            starts = inputs["bias"].codes[n] if "bias" in inputs else np.zeros(self.columns, np.int64)
            sums = np.tile(starts, (tile.rows, 1))
            sums[:, : tile.columns] = self._sums(
                a[tile.beats, : tile.rows].T, w[tile.beats, : tile.columns], starts[: tile.columns]
            )
            found.append(sums)
            last += [False] * (tile.rows - 1) + [True]
        codes = np.concatenate(found) if found else np.empty((0, self.columns), np.int64)
        return {"o": Beats(codes, np.array(last, np.bool_))}

    def timing(self, **inputs: Beats) -> dict[str, NDArray[np.int64]]:
        """A step per cycle, and `tile_cycles` from a tile's first one to the next tile's."""
        steps, outputs, starts = [], [], []
        for tile in self._tiles(inputs):
            length = tile.beats.stop - tile.beats.start
            end = tile.start + self.tile_cycles(length, tile.rows, tile.columns)
            starts.append(tile.start)
            steps.append(tile.start + np.arange(length))
            outputs.append(np.arange(end - tile.rows, end))
        none = np.empty(0, np.int64)
        beats, first = np.concatenate([none, *steps]), np.array(starts, np.int64)
        when = {"a": beats, "w": beats, "tile": first, "bias": first, "o": np.concatenate([none, *outputs])}
        return {name: when[name] for name in (*self.inputs, *self.outputs)}

    def _sums(self, a: Codes, w: Codes, bias: Codes) -> Codes:
        """Sums `[r, c]` of operands `[r, K]` and `[K, c]`."""
        if isinstance(self.pe, Log2Mac):
            return self.pe.compute(a=np.ascontiguousarray(a), w=np.ascontiguousarray(w))
        return self.pe.compute(a=np.ascontiguousarray(a), w=np.ascontiguousarray(w.T), bias=bias)

    def _tiles(self, inputs: Mapping[str, Beats]) -> Iterator[Tile]:
        """Tiles of the operands in their order.

        Raises:
            InvariantError: a tile is larger than the array, or empty.
        """
        sides = inputs["tile"].codes
        if sides.size and (sides.min() < 1 or (sides.max(axis=0) > (self.rows, self.columns)).any()):
            raise InvariantError(
                f"tiles must be 1 × 1 to {self.rows} × {self.columns}, but one is not: {sides}"
            )
        first = start = 0
        for stop, (rows, columns) in zip(
            (np.flatnonzero(inputs["a"].last) + 1).tolist(), sides.tolist(), strict=True
        ):
            yield Tile(slice(first, stop), rows, columns, start)
            start += self.tile_cycles(stop - first, rows, columns)
            first = stop

"""Systolic array in reports: small arrays of every multiply-accumulator and overflow mode; tiles of every size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from golden.formats import Integer
from reports.registry import Entry, entry, reference_parameters
from reports.stimuli import uniform
from sim.decoded_mac import DecodedMac
from sim.unit import Beats, Codes, Unit
from sim.units.log2_mac import Log2Mac
from sim.units.mac import Mac
from sim.units.systolic_array import SystolicArray
from sim.units.table_mac import TableMac
from sim.units.two_scale_mac import TwoScaleMac

NAMES: Mapping[type[Unit], str] = {
    Mac: "mac",
    TwoScaleMac: "two_scale_mac",
    TableMac: "table_mac",
    Log2Mac: "log2_mac",
}
"""Registry name of what sits in the places."""


def place_unit(pe: Unit) -> Entry:
    """The multiply-accumulator in the places."""
    return entry(NAMES[type(pe)])


def _sweep() -> list[SystolicArray]:
    """Points of the units' own sweeps in arrays with more rows than columns, fewer, as many, and with one place."""
    points = (
        *(("mac", 1, 3, 2), ("mac", 0, 1, 1), ("mac", 4, 2, 3), ("mac", 5, 4, 4)),
        *(("two_scale_mac", 0, 4, 4), ("two_scale_mac", 6, 6, 2), ("two_scale_mac", 9, 2, 3)),
        *(("table_mac", 0, 3, 2), ("table_mac", 3, 2, 3), ("table_mac", 4, 3, 2)),
        *(("log2_mac", 0, 4, 4), ("log2_mac", 4, 2, 3), ("log2_mac", 5, 3, 2)),
        *(("log2_mac", 2, 3, 2), ("log2_mac", 6, 1, 3), ("log2_mac", 7, 3, 2)),
    )
    return [
        SystolicArray(pe=entry(name).report.SWEEP[n], rows=rows, columns=columns)  # type: ignore[arg-type]
        for name, n, rows, columns in points
    ]


SWEEP = _sweep()


def label(spec: SystolicArray) -> str:
    """Such as `3x2-mac-u4-z8-x-u4-z7`: rows, columns, and the unit in every place with its own label."""
    return f"{spec.rows}x{spec.columns}-{NAMES[type(spec.pe)]}-{place_unit(spec.pe).report.label(spec.pe)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TileStimulus:
    """Operands of one tile, with codes in all lanes."""

    a: Codes
    """`[K, rows]`"""
    w: Codes
    """`[K, columns]`"""
    bias: Codes
    """`[columns]`"""
    sides: tuple[int, int]


def stimuli(spec: SystolicArray, rng: np.random.Generator) -> dict[str, Beats]:
    """Tiles of every size, of one step and of many, with other codes in each lane, then the places' own rows.

    Lanes that a tile leaves free hold codes like the others, which must not show.
    """
    depths = (1, 2, 3, 7)
    sides = [(r, c) for r in range(1, spec.rows + 1) for c in range(1, spec.columns + 1)]
    found = [_random(spec, depths[n % len(depths)], side, rng) for n, side in enumerate(sides)]
    # The shortest tile, close behind which what it leaves of the array is taken by the largest.
    found += [
        _random(spec, depth, side, rng) for depth, side in ((1, sides[0]), (1, sides[-1]), (60, sides[-1]))
    ]
    found += _rows(spec, sides, rng)
    return _beats(spec, found)


def _random(
    spec: SystolicArray, depth: int, sides: tuple[int, int], rng: np.random.Generator
) -> TileStimulus:
    """Random codes; biases leave room for all terms where sums must not overflow."""
    ports = spec.inputs
    a, w = (
        uniform(ports[name].format, rng, depth * ports[name].lanes).reshape(depth, -1) for name in ("a", "w")
    )
    limits = spec.pe.acc_format
    room = depth * _largest(spec.pe) if spec.pe.overflow == "none" else 0
    bias = rng.integers(limits.min_code + room, limits.max_code - room, spec.columns, endpoint=True)
    return TileStimulus(a=a, w=w, bias=bias, sides=sides)


def _rows(
    spec: SystolicArray, sides: Sequence[tuple[int, int]], rng: np.random.Generator
) -> list[TileStimulus]:
    """Rows of the places' own stimuli, the last of them extremes: the same in all places, in tiles of all sizes."""
    beats = place_unit(spec.pe).report.stimuli(spec.pe, rng)
    ends = np.flatnonzero(beats["a"].last) + 1
    lengths = np.diff(ends, prepend=0)
    chosen = [*rng.choice(len(ends) - 12, 6, replace=False), *range(len(ends) - 12, len(ends))]
    found = []
    for n in chosen:
        a, w = (beats[name].codes[ends[n] - lengths[n] : ends[n]] for name in ("a", "w"))
        bias = beats["bias"].codes[n] if "bias" in beats else np.zeros(1, np.int64)
        found.append(
            TileStimulus(
                a=np.tile(a, spec.rows),
                w=np.tile(w, spec.columns),
                bias=np.tile(bias, spec.columns),
                sides=sides[int(rng.integers(len(sides)))],
            )
        )
    return found


def volume(spec: SystolicArray, rng: np.random.Generator, count: int) -> dict[str, Beats]:
    """About `count` steps in tiles of every size and of 1 to 64 steps: vectors of the places' own, others in each lane.

    A lane carries the operands that a place is given by itself from another one on, so that the first row and column
    meet the very rows of these, and elsewhere any of them meet. A bias is anywhere, or at an end, of what the largest
    terms leave of the accumulator; of one that may overflow anywhere at all.
    """
    beats = place_unit(spec.pe).report.volume(spec.pe, rng, count)  # type: ignore[attr-defined]
    last = beats["a"].last
    lengths = np.diff(np.flatnonzero(last) + 1, prepend=0)[:, None]
    limits, shape = spec.pe.acc_format, (len(lengths), spec.columns)
    room = lengths * (_largest(spec.pe) if spec.pe.overflow == "none" else 0)
    low, high = (np.broadcast_to(end, shape) for end in (limits.min_code + room, limits.max_code - room))
    place = rng.integers(0, 6, shape)
    first = np.ones(len(lengths), np.bool_)
    found = {
        "a": Beats(_lanes(beats["a"].codes, spec.rows, rng), last),
        "w": Beats(_lanes(beats["w"].codes, spec.columns, rng), np.ones_like(last)),
        "tile": Beats(rng.integers(1, (spec.rows, spec.columns), (len(lengths), 2), endpoint=True), first),
        "bias": Beats(
            np.select((place == 0, place == 1), (low, high), rng.integers(low, high, endpoint=True)), first
        ),
    }
    return {name: found[name] for name in spec.inputs}


def _lanes(codes: Codes, count: int, rng: np.random.Generator) -> Codes:
    """`[beats, 1]` as lanes: as it is, and from other places on."""
    starts = [0, *rng.integers(0, len(codes), count - 1).tolist()]
    return np.hstack([np.roll(codes, start, axis=0) for start in starts])


def _largest(pe: Mac | DecodedMac | Log2Mac) -> int:
    """Largest magnitude of a term that a bias may have to leave room for."""
    if isinstance(pe, Log2Mac):
        return 0  # no bias
    mac = pe.mac if isinstance(pe, DecodedMac) else pe
    return _reach(mac.a_format, mac.a_zero_point) * _reach(mac.w_format, mac.w_zero_point)


def _reach(format: Integer, zero_point: int) -> int:
    return max(abs(format.min_code - zero_point), abs(format.max_code - zero_point))


def _beats(spec: SystolicArray, tiles: Sequence[TileStimulus]) -> dict[str, Beats]:
    """Streams of the tiles, one after the other."""
    lengths = np.array([len(tile.a) for tile in tiles])
    last = np.zeros(lengths.sum(), np.bool_)
    last[np.cumsum(lengths) - 1] = True
    first = np.ones(len(tiles), np.bool_)
    found = {
        "a": Beats(np.concatenate([tile.a for tile in tiles]), last),
        "w": Beats(np.concatenate([tile.w for tile in tiles]), np.ones_like(last)),
        "tile": Beats(np.array([tile.sides for tile in tiles], np.int64), first),
        "bias": Beats(np.array([tile.bias for tile in tiles]), first),
    }
    return {name: found[name] for name in spec.inputs}


def product(pe: Unit) -> Callable[..., Any]:
    """`golden`'s reference of `pe` on `a[r, K]`, `w[K, c]` and `bias[c]`."""
    golden = place_unit(pe).golden
    parameters = reference_parameters(golden, pe)
    if isinstance(pe, Log2Mac):
        return lambda a, w, bias: golden(a, w, **parameters)
    return lambda a, w, bias: golden(a, w.T, bias, **parameters)


def reference(spec: SystolicArray, inputs: Mapping[str, Beats]) -> dict[str, Beats]:
    """Sums by golden's reference, tile by tile; what a column starts from where a tile has none."""
    import torch

    from golden.units.systolic_array import golden

    pe, cuts = product(spec.pe), np.flatnonzero(inputs["a"].last)[:-1] + 1
    a, w = (np.split(inputs[name].codes, cuts) for name in ("a", "w"))
    none = np.zeros((len(a), spec.columns), np.int64)
    starts = inputs["bias"].codes if "bias" in inputs else none
    found = []
    for left, right, start, (rows, columns) in zip(a, w, starts, inputs["tile"].codes.tolist(), strict=True):
        operands = [torch.from_numpy(x) for x in (left[:, :rows].T, right[:, :columns], start[:columns])]
        acc = golden(*operands, pe=pe, rows=spec.rows, columns=spec.columns)
        found.append(np.hstack((acc.numpy(), np.tile(start[columns:], (rows, 1)))))
    last = np.zeros(sum(len(tile) for tile in found), np.bool_)
    last[np.cumsum([len(tile) for tile in found]) - 1] = True
    return {"o": Beats(np.concatenate(found), last)}

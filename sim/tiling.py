"""Matrix products of any size on an array of one size: cut into tiles, and put together again from their sums."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from golden.errors import InvariantError
from sim.checks import check_length
from sim.unit import Beats, Codes
from sim.units.log2_mac import Log2Mac
from sim.units.systolic_array import SystolicArray


class Cut(NamedTuple):
    """Where a tile lies in the output."""

    rows: slice
    columns: slice

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def cuts(array: SystolicArray, rows: int, columns: int) -> Iterator[Cut]:
    """Tiles of a `rows` × `columns` output: from the top down, and in each band from left to right."""
    for top in range(0, rows, array.rows):
        for left in range(0, columns, array.columns):
            yield Cut(
                slice(top, min(top + array.rows, rows)), slice(left, min(left + array.columns, columns))
            )


def tiled(array: SystolicArray, a: Codes, w: Codes, bias: Codes | None = None) -> dict[str, Beats]:
    """Input beats of the array for a whole product; lanes that a tile leaves free are 0.

    Args:
        array: the array.
        a: `[M, K]`.
        w: as the array's `pe` takes it: `[K, N]` of a log2_mac, `[N, K]` of the others.
        bias: `[N]`, where `pe` has one; none means 0.

    Raises:
        InvariantError: the operands' depths differ, K is 0, or `pe` has no bias to take.
    """
    steps = w if isinstance(array.pe, Log2Mac) else w.T
    depth, columns = steps.shape
    check_length("the last axis of systolic_array operand a", a.shape[-1], depth)
    if not depth or (bias is not None and "bias" not in array.inputs):
        raise InvariantError(f"systolic_array takes no product of depth {depth} with bias {bias}")
    start = np.zeros(columns, np.int64) if bias is None else bias
    places = list(cuts(array, len(a), columns))
    last = np.zeros(len(places) * depth, np.bool_)
    last[depth - 1 :: depth] = True
    codes = {
        "a": [_wide(a[cut.rows].T, array.rows) for cut in places],
        "w": [_wide(steps[:, cut.columns], array.columns) for cut in places],
        "tile": [np.array([cut.sides], np.int64) for cut in places],
        "bias": [_wide(start[None, cut.columns], array.columns) for cut in places],
    }
    lasts = {"a": last, "w": np.ones_like(last)}
    first = np.ones(len(places), np.bool_)
    return {name: Beats(np.concatenate(codes[name]), lasts.get(name, first)) for name in array.inputs}


def assembled(array: SystolicArray, o: Beats, rows: int, columns: int) -> Codes:
    """Output `[rows, columns]` of a whole product from the beats of its tiles."""
    places = list(cuts(array, rows, columns))
    check_length("systolic_array output", len(o.codes), sum(cut.sides[0] for cut in places))
    acc, beat = np.empty((rows, columns), np.int64), 0
    for cut in places:
        height, width = cut.sides
        acc[cut] = o.codes[beat : beat + height, :width]
        beat += height
    return acc


def _wide(codes: Codes, lanes: int) -> Codes:
    """`codes` with zeros in the lanes they do not have."""
    return np.pad(codes, ((0, 0), (0, lanes - codes.shape[1])))

"""The simulator's movement: every kind element by element against docs/datapath.md, inverses, refusals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from golden.program import Parameter
from sim.movement import move
from sim.unit import Codes

BATCH = 2
Shape = tuple[int, ...]
Indices = tuple[int, ...]


def numbered(*shape: int) -> Codes:
    """A batch in which every element differs from every other."""
    return np.arange(BATCH * int(np.prod(shape))).reshape(BATCH, *shape)


def gathered(x: Codes, shape: Shape, source: Callable[[Indices], Indices]) -> Codes:
    """The tensor of `shape` per image whose element at `there` is x at `source(there)`, one by one."""
    expected = np.empty((BATCH, *shape), np.int64)
    for batch, *there in np.ndindex(*expected.shape):
        expected[(batch, *there)] = x[(batch, *source(tuple(there)))]
    return expected


def moved(x: Codes, kind: str, **parameters: Parameter) -> Codes:
    return move({"x": x}, {"kind": kind, **parameters})


def same(found: Codes, expected: Codes) -> bool:
    return found.shape == expected.shape and found.dtype == expected.dtype and np.array_equal(found, expected)


def test_patches() -> None:
    p, across = 2, 3  # 2 channels of 4 × 6 pixels: 2 × 3 patches

    def source(there: Indices) -> Indices:
        patch, column = there
        channel, y, x = column // (p * p), column // p % p, column % p
        return channel, patch // across * p + y, patch % across * p + x

    image = numbered(2, 4, 6)
    assert same(moved(image, "patches", patch_size=p), gathered(image, (6, 2 * p * p), source))


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_heads_and_merge_heads(lead: Shape, part: int) -> None:
    tokens, heads, depth = 5, 3, 2
    qkv = numbered(*lead, tokens, 3 * heads * depth)

    def third(there: Indices) -> Indices:
        *before, head, token, channel = there
        return *before, token, part * heads * depth + head * depth + channel

    split = moved(qkv, "heads", part=part, heads=heads)
    assert same(split, gathered(qkv, (*lead, heads, tokens, depth), third))

    def merged(there: Indices) -> Indices:
        *before, token, column = there
        return *before, column // depth, token, column % depth

    together = moved(split, "merge_heads")
    assert same(together, gathered(split, (*lead, tokens, heads * depth), merged))
    width = heads * depth
    assert same(together, np.ascontiguousarray(qkv[..., part * width : (part + 1) * width]))


WINDOWINGS = [(4, 6, 2, 0), (4, 6, 2, 1), (6, 3, 3, 2), (4, 4, 4, 2), (3, 2, 1, 5), (7, 14, 7, 3)]


@pytest.mark.parametrize(("height", "width", "window", "shift"), WINDOWINGS)
def test_windows_and_unwindows(height: int, width: int, window: int, shift: int) -> None:
    """`windows` takes from, and `unwindows` returns to, where each token of the page's sentence stands."""
    across, channels = width // window, 3
    place = {}
    for y in range(height):
        for x in range(width):
            row, column = (y - shift) % height, (x - shift) % width
            square = row // window * across + column // window
            place[square, row % window * window + column % window] = y * width + x
    assert len(place) == height * width
    back = {token: where for where, token in place.items()}

    settings: dict[str, Parameter] = {"height": height, "width": width, "window": window, "shift": shift}
    tokens = numbered(height * width, channels)
    cut = moved(tokens, "windows", **settings)
    shape = ((height // window) * across, window * window, channels)
    assert same(cut, gathered(tokens, shape, lambda there: (place[there[0], there[1]], there[2])))

    squares = numbered(*shape)
    joined = moved(squares, "unwindows", **settings)
    assert same(joined, gathered(squares, tokens.shape[1:], lambda there: (*back[there[0]], there[1])))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 6), (6, 2)])
def test_merge_patches(height: int, width: int) -> None:
    channels, across = 3, width // 2
    corners = [(0, 0), (1, 0), (0, 1), (1, 1)]  # (down, right)

    def source(there: Indices) -> Indices:
        token, column = there
        down, right = corners[column // channels]
        return (token // across * 2 + down) * width + token % across * 2 + right, column % channels

    tokens = numbered(height * width, channels)
    expected = gathered(tokens, ((height // 2) * across, 4 * channels), source)
    assert same(moved(tokens, "merge_patches", height=height, width=width), expected)


@pytest.mark.parametrize("lead", [(), (4,)])
def test_transpose(lead: Shape) -> None:
    x = numbered(*lead, 3, 5)
    assert same(moved(x, "transpose"), gathered(x, (*lead, 5, 3), lambda t: (*t[:-2], t[-1], t[-2])))


def test_prepend_and_token() -> None:
    x, rows = numbered(4, 3), np.arange(-6, 0).reshape(2, 3)
    expected = np.array([[rows[n] if n < 2 else image[n - 2] for n in range(6)] for image in x])
    assert same(move({"x": x, "rows": rows}, {"kind": "prepend"}), expected)
    for index in range(4):
        picked = gathered(x, (1, 3), lambda there, index=index: (index, there[1]))  # type: ignore[misc]
        assert same(moved(x, "token", index=index), picked)


def test_by_hand() -> None:
    # 2 × 4 tokens 0 … 7. Shifted by 1, token 0 = (0, 0) moves to (1, 3), so the grid reads 5 6 7 4 / 1 2 3 0.
    x = np.arange(8).reshape(1, 8, 1)
    cut = moved(x, "windows", height=2, width=4, window=2, shift=1)
    assert cut[..., 0].tolist() == [[[5, 6, 1, 2], [7, 4, 3, 0]]]
    # Upper left, lower left, upper right, lower right of columns 0-1, then of columns 2-3.
    assert moved(x, "merge_patches", height=2, width=4).tolist() == [[[0, 4, 1, 5], [2, 6, 3, 7]]]


@given(st.tuples(*[st.integers(1, 4)] * 3), st.integers(1, 3), st.integers(-20, 20),
       st.lists(st.integers(1, 3), max_size=2), st.sampled_from([np.int16, np.int64]))  # fmt: skip
def test_unwindows_undoes_windows(
    sides: tuple[int, int, int], channels: int, shift: int, lead: list[int], kind: type[Any]
) -> None:
    down, across, window = sides
    height, width = down * window, across * window
    x = numbered(*lead, height * width, channels).astype(kind)
    settings: dict[str, Parameter] = {"height": height, "width": width, "window": window, "shift": shift}
    cut = moved(x, "windows", **settings)
    assert cut.shape == (BATCH, *lead, down * across, window**2, channels)
    assert same(moved(cut, "unwindows", **settings), x)
    assert same(moved(moved(cut, "unwindows", **settings), "windows", **settings), cut)


def window(**changes: Parameter) -> dict[str, Parameter]:
    return {"kind": "windows", "height": 4, "width": 6, "window": 2, "shift": 1} | changes


@pytest.mark.parametrize(
    ("shape", "parameters", "message"),
    [
        ((24, 3), window(window=4), "6 does not divide into pieces of 4"),
        ((24, 3), window(window=0), "4 does not divide into pieces of 0"),
        ((24, 3), window(window=-2), "pieces of -2"),
        ((24, 3), window(height=-4, width=-6), "-4 does not divide"),
        ((24, 3), window(width=4), "24 tokens are not 4 × 4"),
        ((24,), window(), "2 tokens are not 4 × 6"),
        ((24, 3), window(shift="1"), "does not fit"),
        ((24, 3), window(heads=1), "unexpected keyword argument 'heads'"),
        ((24, 3), {"kind": "windows", "height": 4, "width": 6, "window": 2}, "missing .* 'shift'"),
        ((6, 4, 3), window(kind="unwindows", window=4), "6 does not divide into pieces of 4"),
        ((4, 6, 3), window(kind="unwindows"), "4 windows of 6 tokens are not 4 × 6 tokens"),
        ((3, 4, 3), window(kind="unwindows"), "3 windows of 4 tokens"),
        ((15, 3), {"kind": "merge_patches", "height": 3, "width": 5}, "3 does not divide into pieces of 2"),
        ((20, 3), {"kind": "merge_patches", "height": 4, "width": 5}, "5 does not divide into pieces of 2"),
        ((20, 3), {"kind": "merge_patches", "height": 4, "width": 6}, "20 tokens are not 4 × 6"),
        ((5, 12), {"kind": "heads", "part": -1, "heads": 2}, "part must be 0, 1 or 2, not -1"),
        ((5, 12), {"kind": "heads", "part": 0, "heads": 0}, "12 does not divide into pieces of 0"),
        ((5, 12), {"kind": "heads", "part": 0, "heads": -1}, "12 does not divide into pieces of -3"),
        ((5, 10), {"kind": "heads", "part": 0, "heads": 2}, "10 does not divide into pieces of 6"),
        ((), {"kind": "merge_heads"}, "does not fit"),
        ((3, 5, 4), {"kind": "patches", "patch_size": 2}, "5 does not divide into pieces of 2"),
        ((3, 4, 4), {"kind": "patches", "patch_size": 0}, "4 does not divide into pieces of 0"),
        ((4, 3), {"kind": "token", "index": -1}, "index must not be negative, not -1"),
    ],
)
def test_what_does_not_fit_raises(shape: Shape, parameters: dict[str, Parameter], message: str) -> None:
    with pytest.raises(InvariantError, match=message):
        move({"x": np.zeros((BATCH, *shape), np.int64)}, parameters)

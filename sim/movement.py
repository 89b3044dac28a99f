"""Movement: what the address generators of the operand buffers do; views and copies, no arithmetic."""

from collections.abc import Callable, Mapping

import numpy as np

from golden.errors import InvariantError
from golden.program import Parameter
from sim.unit import Codes


def move(operands: Mapping[str, Codes], parameters: Mapping[str, Parameter]) -> Codes:
    """The codes of operand `x` (and, for `prepend`, the constant `rows`) in the order that `kind` asks for.

    Raises:
        InvariantError: the kind, a parameter or a shape is not one that docs/datapath.md defines.
    """
    settings = dict(parameters)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InvariantError(f"movement kind must be one of {', '.join(_KINDS)}, not {kind!r}")
    try:
        return np.ascontiguousarray(_KINDS[kind](**operands, **settings))
    except (TypeError, ValueError, IndexError) as error:
        shapes = {name: operand.shape for name, operand in operands.items()}
        raise InvariantError(
            f"movement {kind} with {settings} does not fit operands {shapes}: {error}"
        ) from error


def _patches(x: Codes, patch_size: int) -> Codes:
    batch, channels, height, width = x.shape
    down, across = _pieces(height, patch_size), _pieces(width, patch_size)
    grid = x.reshape(batch, channels, down, patch_size, across, patch_size)
    return grid.transpose(0, 2, 4, 1, 3, 5).reshape(batch, down * across, channels * patch_size**2)


def _heads(x: Codes, part: int, heads: int) -> Codes:
    *lead, tokens, columns = x.shape
    if part not in range(3):
        raise ValueError(f"part must be 0, 1 or 2, not {part}")
    split = x.reshape(*lead, tokens, 3, heads, _pieces(columns, 3 * heads))
    return split[..., part, :, :].swapaxes(-3, -2)


def _merge_heads(x: Codes) -> Codes:
    *lead, heads, tokens, depth = x.shape
    return x.swapaxes(-3, -2).reshape(*lead, tokens, heads * depth)


def _windows(x: Codes, height: int, width: int, window: int, shift: int) -> Codes:
    down, across = _pieces(height, window), _pieces(width, window)
    shifted = np.roll(_grid(x, height, width), (-shift, -shift), axis=(-3, -2))
    *lead, _, _, channels = shifted.shape
    squares = shifted.reshape(*lead, down, window, across, window, channels).swapaxes(-4, -3)
    return squares.reshape(*lead, down * across, window**2, channels)


def _unwindows(x: Codes, height: int, width: int, window: int, shift: int) -> Codes:
    down, across = _pieces(height, window), _pieces(width, window)
    *lead, windows, tokens, channels = x.shape
    if (windows, tokens) != (down * across, window**2):
        raise ValueError(f"{windows} windows of {tokens} tokens are not {height} × {width} tokens")
    squares = x.reshape(*lead, down, across, window, window, channels)
    shifted = squares.swapaxes(-4, -3).reshape(*lead, height, width, channels)
    return np.roll(shifted, (shift, shift), axis=(-3, -2)).reshape(*lead, height * width, channels)


def _merge_patches(x: Codes, height: int, width: int) -> Codes:
    merged = _pieces(height, 2) * _pieces(width, 2)
    grid = _grid(x, height, width)
    corners = [grid[..., top::2, left::2, :] for top, left in ((0, 0), (1, 0), (0, 1), (1, 1))]
    *lead, _, _, channels = grid.shape
    return np.concatenate(corners, axis=-1).reshape(*lead, merged, 4 * channels)


def _grid(x: Codes, height: int, width: int) -> Codes:
    """Row-major tokens [.., height · width, C] as [.., height, width, C]."""
    *lead, tokens, channels = x.shape
    if tokens != height * width:
        raise ValueError(f"{tokens} tokens are not {height} × {width}")
    return x.reshape(*lead, height, width, channels)


def _pieces(length: int, size: int) -> int:
    """How many pieces of `size` make up `length`; both are positive and nothing is left over."""
    if length < 1 or size < 1 or length % size:
        raise ValueError(f"{length} does not divide into pieces of {size}")
    return length // size


def _transpose(x: Codes) -> Codes:
    return x.swapaxes(-1, -2)


def _prepend(x: Codes, rows: Codes) -> Codes:
    return np.concatenate([np.broadcast_to(rows, (x.shape[0], *rows.shape)), x], axis=1)


def _token(x: Codes, index: int) -> Codes:
    if index < 0:
        raise ValueError(f"index must not be negative, not {index}")
    return x[:, [index]]


_KINDS: Mapping[str, Callable[..., Codes]] = {
    "patches": _patches,
    "heads": _heads,
    "merge_heads": _merge_heads,
    "windows": _windows,
    "unwindows": _unwindows,
    "merge_patches": _merge_patches,
    "transpose": _transpose,
    "prepend": _prepend,
    "token": _token,
}

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
    down, across = height // patch_size, width // patch_size
    grid = x.reshape(batch, channels, down, patch_size, across, patch_size)
    return grid.transpose(0, 2, 4, 1, 3, 5).reshape(batch, down * across, channels * patch_size**2)


def _heads(x: Codes, part: int, heads: int) -> Codes:
    batch, tokens, columns = x.shape
    split = x.reshape(batch, tokens, 3, heads, columns // (3 * heads))
    return split[:, :, part].transpose(0, 2, 1, 3)


def _merge_heads(x: Codes) -> Codes:
    batch, heads, tokens, depth = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, tokens, heads * depth)


def _transpose(x: Codes) -> Codes:
    return x.swapaxes(-1, -2)


def _prepend(x: Codes, rows: Codes) -> Codes:
    return np.concatenate([np.broadcast_to(rows, (x.shape[0], *rows.shape)), x], axis=1)


def _token(x: Codes, index: int) -> Codes:
    return x[:, [index]]


_KINDS: Mapping[str, Callable[..., Codes]] = {
    "patches": _patches,
    "heads": _heads,
    "merge_heads": _merge_heads,
    "transpose": _transpose,
    "prepend": _prepend,
    "token": _token,
}

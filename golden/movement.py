"""Pure addressing between units (docs/datapath.md, movement): reshape, split, select. No arithmetic."""

from collections.abc import Mapping

import torch
from torch import Tensor

from golden.errors import InvariantError
from golden.program import Parameter


def move(inputs: Mapping[str, Tensor], parameters: Mapping[str, Parameter]) -> Tensor:
    """Output of a `move` operation on batched tensors."""
    x = inputs["x"]
    match parameters:
        case {"kind": "patches", "patch_size": int(p)}:
            b, c, h, w = x.shape
            cells = x.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)
            return cells.reshape(b, (h // p) * (w // p), c * p * p)
        case {"kind": "heads", "part": int(part), "heads": int(heads)}:
            b, n, c = x.shape
            return x.reshape(b, n, 3, heads, c // (3 * heads))[:, :, part].transpose(1, 2)
        case {"kind": "merge_heads"}:
            b, h, n, d = x.shape
            return x.transpose(1, 2).reshape(b, n, h * d)
        case {"kind": "transpose"}:
            return x.transpose(-1, -2)
        case {"kind": "prepend"}:
            return torch.cat([inputs["rows"].expand(len(x), -1, -1), x], dim=1)
        case {"kind": "token", "index": int(index)}:
            return x[:, index : index + 1]
    raise InvariantError(f"no such movement: {dict(parameters)}")

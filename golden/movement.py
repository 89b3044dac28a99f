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
            return x.reshape(*x.shape[:-1], 3, heads, -1)[..., part, :, :].transpose(-3, -2)
        case {"kind": "merge_heads"}:
            return x.transpose(-3, -2).flatten(-2)
        case {"kind": "windows", "height": int(h), "width": int(w), "window": int(side), "shift": int(shift)}:
            b, _, c = x.shape
            grid = torch.roll(x.reshape(b, h, w, c), (-shift, -shift), dims=(1, 2))
            cells = grid.reshape(b, h // side, side, w // side, side, c).transpose(2, 3)
            return cells.reshape(b, -1, side * side, c)
        case {
            "kind": "unwindows",
            "height": int(h),
            "width": int(w),
            "window": int(side),
            "shift": int(shift),
        }:
            b, c = len(x), x.shape[-1]
            cells = x.reshape(b, h // side, w // side, side, side, c).transpose(2, 3)
            return torch.roll(cells.reshape(b, h, w, c), (shift, shift), dims=(1, 2)).reshape(b, h * w, c)
        case {"kind": "merge_patches", "height": int(h), "width": int(w)}:
            b, _, c = x.shape
            squares = x.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5)
            return squares.reshape(b, (h // 2) * (w // 2), 4 * c)
        case {"kind": "transpose"}:
            return x.transpose(-1, -2)
        case {"kind": "prepend"}:
            return torch.cat([inputs["rows"].expand(len(x), -1, -1), x], dim=1)
        case {"kind": "token", "index": int(index)}:
            return x[:, index : index + 1]
    raise InvariantError(f"no such movement: {dict(parameters)}")

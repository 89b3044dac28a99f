"""From a timm model to one of the families that this package can lower."""

from collections.abc import Callable, Mapping
from typing import Any

from golden.errors import UserError
from golden.model import Model
from golden.swin import swin_from_timm
from golden.vit import vit_from_timm

FAMILIES: Mapping[str, Callable[[Any], Model]] = {
    "SwinTransformer": swin_from_timm,
    "VisionTransformer": vit_from_timm,
    "VisionTransformerDistilled": vit_from_timm,
}
"""Name of timm's class -> reader of its parameters."""


def from_timm(model: Any) -> Model:
    """Parameters and function of a timm model; UserError, by name, for anything this package cannot lower."""
    kind = type(model).__name__
    if kind not in FAMILIES:
        raise UserError(f"{kind} is not supported: this version lowers timm's {', '.join(FAMILIES)}")
    return FAMILIES[kind](model)

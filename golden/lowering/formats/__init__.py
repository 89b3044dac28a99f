"""How each number format is made and consumed in integers, one file per format, named as in golden/codecs.

A module offers `encode` (wide values to codes) and `multiply` (codes times an operand), or `encode_scores` where the
codes come straight from attention scores. One that can follow LayerNorm or GELU also says from which uniform codes
it is made there (`fine`); one that can hold the residual stream, how it is read back (`decode`). Adding a format adds
a file; nothing else changes.
"""

from importlib import import_module
from types import ModuleType

from golden.codecs.base import Codec


def lowering_of(codec: Codec) -> ModuleType:
    """The module that lowers `codec`'s format."""
    return import_module(f"{__name__}.{codec.kind}")

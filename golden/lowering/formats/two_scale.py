"""Two-scale codes: flag and payload of a non-negative integer, consumed by a multiplier and a shift."""

from golden.lowering.flagged import encode_flagged as encode
from golden.lowering.flagged import fine_codec as fine
from golden.lowering.flagged import multiply_flagged as multiply

__all__ = ["encode", "fine", "multiply"]

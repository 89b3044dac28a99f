"""Sign-scale codes: region and payload of a signed integer, consumed by a multiplier and a shift or a negation."""

from golden.lowering.flagged import encode_flagged as encode
from golden.lowering.flagged import fine_codec as fine
from golden.lowering.flagged import multiply_flagged as multiply

__all__ = ["encode", "fine", "multiply"]

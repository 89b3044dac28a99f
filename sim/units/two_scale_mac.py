"""Two-scale code times integer: multiply the payload, shift left or negate as the flag says, sum onto the bias."""

from dataclasses import dataclass

import numpy as np

from sim.decoded_mac import DecodedMac
from sim.unit import Codes

MAX_SHIFT = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoScaleMac(DecodedMac):
    """Multiply-accumulate of two-scale or sign-scale codes: one multiplier of the payload, one constant shift.

    Ports: in `a: u(code_bits), last`, `w: w_format`, `bias: s(acc_bits)`; out `o: s(acc_bits)`.
    Latency: `n + 1` cycles from the first of a row's n beats to its sum.
    Interval: `n` cycles from a row to the next, one for each of its beats.
    Rounding: none in the sum; what does not fit `acc_bits` wraps or saturates, as `overflow` says.
    Paper: TSPTQ-ViT (ICASSP 2023, arXiv 2305.12901), whose formulas are reconstructed here from its summary; regions
        by sign, PTQ4ViT (ECCV 2022, arXiv 2111.12293).
    """

    shift: int
    """m: the coarse step is 2^m fine ones, 0 to 24."""
    signed_regions: bool
    """Whether a flag of 0 means a negative value (sign-scale) or a small one (two-scale)."""

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= MAX_SHIFT:
            raise ValueError(f"shift must be in [0, {MAX_SHIFT}], not {self.shift}")
        DecodedMac.__post_init__(self)  # super() finds no class when dataclass has rebuilt it for slots

    @property
    def payload_bits(self) -> int:
        """Bits of a code below its flag."""
        return self.code_bits - 1

    @property
    def values(self) -> Codes:
        """Fine codes first: the payload, negative with `signed_regions`; then the coarse ones, 2^m times as large."""
        payload = np.arange(1 << self.payload_bits)
        return np.concatenate((-payload if self.signed_regions else payload, payload << self.shift))

"""Two-scale encoder: small integers as they are, large ones shifted right (HALF_UP), saturated and flagged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numba

from sim.encoder import Encoder
from sim.unit import Codes


@numba.njit(cache=True, nogil=True)
def _two_scale(x, flag, shift, half, codes):  # type: ignore[no-untyped-def]
    for n in range(x.size):
        coarse = flag | min((x[n] + half) >> shift, flag - 1)
        codes[n] = x[n] if x[n] < flag else coarse


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoScaleEncoder(Encoder):
    """Unsigned integer to flag and payload: large values keep their most significant bits, small ones their least.

    Ports: in `x: u(in_bits)`; out `o: u(code_bits)`.
    Latency: `1` cycles from an input to its code.
    Interval: `1` cycle from an input to the next.
    Rounding: HALF_UP in the coarse region; then saturation.
    Paper: TSPTQ-ViT (ICASSP 2023, arXiv 2305.12901), whose formulas are reconstructed here from its summary.
    """

    shift: int
    """m: the coarse step is 2^m fine ones, 1 to 24; `in_bits` is the width of the payload and m together."""

    limits: ClassVar[Mapping[str, tuple[int, int]]] = {"code_bits": (2, 16), "shift": (1, 24)}

    def __post_init__(self) -> None:
        Encoder.__post_init__(self)  # super() finds no class when dataclass has rebuilt it for slots
        if self.in_bits != self.payload_bits + self.shift:
            raise ValueError(
                f"in_bits must be code_bits − 1 + shift = {self.payload_bits + self.shift}, not {self.in_bits}"
            )

    @property
    def payload_bits(self) -> int:
        """Bits of a code below its flag."""
        return self.code_bits - 1

    def encode(self, x: Codes, codes: Codes) -> None:
        """`x` itself below 2^k, else `2^k | min(round_shift(x, m), 2^k − 1)`, with k the payload's width."""
        _two_scale(x, 1 << self.payload_bits, self.shift, 1 << (self.shift - 1), codes)

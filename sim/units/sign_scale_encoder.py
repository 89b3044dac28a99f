"""Sign-scale encoder: negate, or shift right (HALF_UP) and flag what is not negative; saturate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numba

from sim.encoder import Encoder
from sim.unit import Codes


@numba.njit(cache=True, nogil=True)
def _sign_scale(x, flag, shift, half, codes):  # type: ignore[no-untyped-def]
    for n in range(x.size):
        fine = min(0 - x[n], flag - 1)
        coarse = flag | min((x[n] + half) >> shift, flag - 1)
        codes[n] = fine if x[n] < 0 else coarse


@dataclass(frozen=True, slots=True, kw_only=True)
class SignScaleEncoder(Encoder):
    """Signed integer to region and payload: one step for negative values, 2^m times that step for the others.

    Ports: in `x: s(in_bits)`; out `o: u(code_bits)`.
    Latency: `1` cycles from an input to its code.
    Interval: `1` cycle from an input to the next.
    Rounding: HALF_UP in the coarse region, none in the fine one; then saturation.
    Paper: regions by sign, PTQ4ViT (ECCV 2022, arXiv 2111.12293); their steps a power of two apart, TSPTQ-ViT (ICASSP
        2023, arXiv 2305.12901), whose formulas are reconstructed here from its summary.
    """

    shift: int
    """m: the coarse step is 2^m fine ones, 0 to 24."""
    in_signed: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[int, int]]] = {
        "in_bits": (2, 40),
        "code_bits": (2, 16),
        "shift": (0, 24),
    }

    @property
    def payload_bits(self) -> int:
        """Bits of a code below its region."""
        return self.code_bits - 1

    def encode(self, x: Codes, codes: Codes) -> None:
        """`min(−x, 2^k − 1)` if `x < 0`, else `2^k | min(round_shift(x, m), 2^k − 1)`, with k the payload's width."""
        _sign_scale(x, 1 << self.payload_bits, self.shift, (1 << self.shift) >> 1, codes)

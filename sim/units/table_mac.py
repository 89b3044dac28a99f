"""Table entry times integer: look the code up, multiply, sum onto the bias; exact, no rounding."""

from dataclasses import dataclass

import numpy as np

from sim.decoded_mac import DecodedMac
from sim.unit import Codes

MAX_ENTRY_BITS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMac(DecodedMac):
    """Multiply-accumulate of codes that a table of unsigned integers decodes: one multiplier behind the table.

    Ports: in `a: u(code_bits), last`, `w: w_format`, `bias: s(acc_bits)`; out `o: s(acc_bits)`.
    Latency: `n + 1` cycles from the first of a row's n beats to its sum.
    Interval: `n` cycles from a row to the next, one for each of its beats.
    Rounding: none in the sum; what does not fit `acc_bits` wraps or saturates, as `overflow` says.
    Paper: TanQ of DopQ-ViT (2024, arXiv 2408.03291), reconstructed here from its summary.
    """

    entry_bits: int
    """Width of an unsigned entry, 1 to 24."""
    table: tuple[int, ...]
    """Integer that each of the 2^code_bits codes stands for."""

    def __post_init__(self) -> None:
        if not 1 <= self.entry_bits <= MAX_ENTRY_BITS:
            raise ValueError(f"entry_bits must be in [1, {MAX_ENTRY_BITS}], not {self.entry_bits}")
        top = (1 << self.entry_bits) - 1
        for entry in self.table:
            if not 0 <= entry <= top:
                raise ValueError(f"table entries must be in [0, {top}], but one is {entry}")
        DecodedMac.__post_init__(self)  # super() finds no class when dataclass has rebuilt it for slots
        if len(self.table) != 1 << self.code_bits:
            raise ValueError(f"table must have {1 << self.code_bits} entries, not {len(self.table)}")

    @property
    def values(self) -> Codes:
        """The table."""
        return np.array(self.table, np.int64)

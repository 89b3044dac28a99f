"""What flows between formats while lowering: wide integers with their real meaning, and operands of products."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.lowering.builder import ProgramBuilder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wide:
    """A tensor of integers before it is encoded: value = integer * scale + bias."""

    tensor: str
    scale: NDArray[np.float64]
    """Per channel of the last axis, or one entry."""
    bias: NDArray[np.float64]
    """Per channel of the last axis, or one entry, in value units."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operand:
    """The second operand of a product: weights, or V."""

    name: str
    """Name of the constant to make, or of the activation tensor."""
    weights: NDArray[np.int64] | None
    """Centred weights [N, K] of a layer; None for an activation."""
    zero_point: int
    """Of an activation's codes; 0 for weights."""
    reach: tuple[int, int]
    """Range of the centred integers."""
    depth: int
    """K: products per output."""
    scale: NDArray[np.float64]
    """Value of one centred integer, per output channel or one entry."""
    transposed: bool = False
    """True for an activation [.., K, N] (V) rather than [.., N, K] (K of Q·Kᵀ)."""

    def rows(self, builder: ProgramBuilder) -> str:
        """Its name in the layout [.., N, K]."""
        if self.weights is not None:
            return builder.constant(self.name, self.weights)
        if not self.transposed:
            return self.name
        *lead, tokens, width = builder.tensors[self.name].shape
        return builder.move(f"{self.name}_transposed", self.name, (*lead, width, tokens), kind="transpose")

    def columns(self, builder: ProgramBuilder) -> str:
        """Its name in the layout [.., K, N]."""
        if self.weights is None:
            if not self.transposed:
                raise InvariantError(f"{self.name} is needed in columns, but comes in rows")
            return self.name
        return builder.constant(self.name, np.ascontiguousarray(self.weights.T))

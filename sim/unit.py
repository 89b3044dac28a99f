"""What every unit is: frozen parameters, named streams, a bit-accurate model, and the cycle of every handshake."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from golden.formats import Integer

Codes = NDArray[np.int64]


class Beats(NamedTuple):
    """What crosses a stream: `lanes` codes per handshake; `last` closes a row."""

    codes: Codes
    """int64[beats, lanes]"""
    last: NDArray[np.bool_]
    """bool[beats]"""


@dataclass(frozen=True, slots=True)
class Port:
    """One stream. In the payload lane 0 has the lowest bits and the `last` bit, if any, is on top."""

    format: Integer
    lanes: int = 1
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Parameters of one unit, its bit-accurate model and its cycle model; nothing defaults to 0."""

    @property
    def inputs(self) -> Mapping[str, Port]:
        """Streams the unit takes."""
        raise NotImplementedError(f"{type(self).__name__} states no inputs")

    @property
    def outputs(self) -> Mapping[str, Port]:
        """Streams the unit gives."""
        raise NotImplementedError(f"{type(self).__name__} states no outputs")

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        """Output beats for these input beats, bit for bit."""
        raise NotImplementedError(f"{type(self).__name__} states no behaviour")

    def timing(self, **inputs: Beats) -> dict[str, Codes]:
        """Cycle of every handshake on every port, counted from the first one, with nobody stalling."""
        raise NotImplementedError(f"{type(self).__name__} states no timing")

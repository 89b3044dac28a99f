"""A program without weights, under construction: every shape and parameter that cycles depend on, placeholders else.

Constants are one value, or one row of weights, broadcast to their shape, so that they take no memory.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from golden.program import Operation, Parameter, Program, Tensor

ACC = Integer(bits=32, signed=True)
"""Accumulators and other integers whose width a calibration decides; no cycle depends on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wide:
    """A tensor before it is encoded, and how many factors lead to its values: one per channel, or one."""

    tensor: str
    channels: int


@dataclass(slots=True)
class OutlineBuilder:
    """Collects tensors, constants and operations under the names that lowering gives them."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    def tensor(self, name: str, shape: tuple[int, ...], format: Integer, site: str | None = None) -> str:
        """Declares an activation tensor."""
        if name in self.tensors:
            raise InvariantError(f"tensor {name} is made twice")
        self.tensors[name] = Tensor(shape=shape, format=format, site=site)
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self.tensors[name].shape

    def operation(
        self,
        name: str,
        unit: str,
        inputs: dict[str, str],
        shape: tuple[int, ...],
        format: Integer,
        site: str | None = None,
        /,
        **parameters: Parameter,
    ) -> str:
        """Adds one run of a unit; its output has the operation's name."""
        self.tensor(name, shape, format, site)
        self.operations.append(
            Operation(name=name, unit=unit, inputs=inputs, output=name, parameters=parameters)
        )
        return name

    def move(
        self, name: str, x: str, shape: tuple[int, ...], kind: str, /, site: str | None = None, **inputs: str
    ) -> str:
        """Adds pure addressing; its parameters but `kind` are left out."""
        format = self.tensors[x].format
        return self.operation(name, "move", {"x": x, **inputs}, shape, format, site, kind=kind)

    def constant(self, name: str, *shape: int) -> str:
        """A constant of that shape."""
        self.constants[name] = np.broadcast_to(np.int64(1), shape)
        return name

    def weights(self, name: str, channels: int, depth: int, bits: int, *, columns: bool = False) -> str:
        """Centred weights [channels, depth], or [depth, channels] where `columns`, of all codes of `bits` bits."""
        one = np.full(depth, (1 << (bits - 1)) - 1, np.int64)
        one[0] = -1 << (bits - 1)
        of = np.broadcast_to(one, (channels, depth))
        self.constants[name] = of.T if columns else of
        return name

    def requantize(
        self, name: str, wide: Wide, shape: tuple[int, ...], format: Integer, site: str | None = None
    ) -> str:
        """Adds a requantizer of `wide`."""
        constants = {port: f"{name}.{port}" for port in ("multiplier", "offset", "shift")}
        for constant in constants.values():
            self.constant(constant, wide.channels)
        return self.operation(name, "requantizer", {"acc": wide.tensor, **constants}, shape, format, site,
                              out_bits=format.bits, out_signed=format.signed)  # fmt: skip

    def finish(self, input: str, output: str) -> Program:
        """The program; executing it would mean nothing."""
        return Program(
            tensors=self.tensors,
            constants=self.constants,
            operations=tuple(self.operations),
            input=input,
            output=output,
            provenance={"weights": "none"},
            decoding={},
        )

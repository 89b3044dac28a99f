"""Collects tensors, constants and operations of a program while a model is lowered."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from golden.lowering.multipliers import check_product, fixed_offset, fixed_point
from golden.program import Operation, Parameter, Program, Tensor


@dataclass(slots=True)
class ProgramBuilder:
    """A program under construction; every method adds one operation and returns its output's name."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    decoding: dict[str, dict[str, str | int]] = field(default_factory=dict)

    def tensor(self, name: str, shape: tuple[int, ...], format: Integer, site: str | None = None) -> str:
        """Declares an activation tensor."""
        if name in self.tensors:
            raise InvariantError(f"tensor {name} is made twice")
        self.tensors[name] = Tensor(shape=shape, format=format, site=site)
        return name

    def constant(self, name: str, values: NDArray[np.int64]) -> str:
        """Stores an integer constant."""
        self.constants[name] = values.astype(np.int64)
        return name

    def operation(
        self,
        name: str,
        unit: str,
        inputs: dict[str, str],
        output: Tensor,
        **parameters: Parameter,
    ) -> str:
        """Adds one run of a unit; its output tensor has the operation's name."""
        self.tensor(name, output.shape, output.format, output.site)
        self.operations.append(
            Operation(name=name, unit=unit, inputs=inputs, output=name, parameters=parameters)
        )
        return name

    def move(self, name: str, x: str, shape: tuple[int, ...], **parameters: Parameter) -> str:
        """Adds pure addressing of `x`; the codes and their format stay."""
        output = Tensor(shape=shape, format=self.tensors[x].format, site=None)
        return self.operation(name, "move", {"x": x}, output, **parameters)

    def requantize(
        self, name: str, acc: str, ratio: NDArray[np.float64], steps: NDArray[np.float64], output: Tensor
    ) -> str:
        """Adds a requantizer from `acc` to output codes: code = round(acc * ratio + steps), saturated.

        `ratio` and `steps` are per channel or have one entry; `steps` holds bias and zero point in output codes.
        """
        multiplier, shift = fixed_point(ratio)
        offset = fixed_offset(steps, shift)
        check_product(self.tensors[acc].format.bits, multiplier, offset, name)
        inputs = {"acc": acc}
        for port, values in (("multiplier", multiplier), ("offset", offset), ("shift", shift)):
            inputs[port] = self.constant(f"{name}.{port}", values)
        return self.operation(
            name, "requantizer", inputs, output, out_bits=output.format.bits, out_signed=output.format.signed
        )

    def finish(self, input: str, output: str, provenance: Mapping[str, str | int]) -> Program:
        """The program."""
        return Program(
            tensors=self.tensors,
            constants=self.constants,
            operations=tuple(self.operations),
            input=input,
            output=output,
            provenance=provenance,
            decoding=self.decoding,
        )

"""Runs a program on int64 tensors, one operation after the other: slow, obvious, the definition of right."""

import importlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden.integers import check_range
from golden.movement import move
from golden.program import Operation, Program

Observe = Callable[[Operation, Mapping[str, Tensor]], None]
"""Is shown every operation with its operands, port -> int64 tensor."""


def execute(
    program: Program, images: NDArray[np.int64], observe: Observe | None = None
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yields (tensor name, int64[B, ...]) for every operation of `program`, in order, on image codes [B, C, H, W].

    Every result is checked against the range the program declares for it; outside is an InvariantError.
    """
    live = {program.input: torch.from_numpy(images)}
    constants = {name: torch.from_numpy(value) for name, value in program.constants.items()}
    last_use = {name: op.name for op in program.operations for name in op.inputs.values()}
    for operation in program.operations:
        inputs = {
            port: live[name] if name in live else constants[name] for port, name in operation.inputs.items()
        }
        if observe is not None:
            observe(operation, inputs)
        result = _run(operation, inputs)
        check_range(result, program.tensors[operation.output].format, operation.output)
        for name in operation.inputs.values():
            if last_use[name] == operation.name:
                live.pop(name, None)
        live[operation.output] = result
        yield operation.output, result.numpy()


def _run(operation: Operation, inputs: dict[str, Tensor]) -> Tensor:
    if operation.unit == "move":
        return move(inputs, operation.parameters)
    golden: Callable[..., Tensor] = importlib.import_module(f"golden.units.{operation.unit}").golden
    return golden(**inputs, **operation.parameters)

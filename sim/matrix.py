"""The shape of a matrix unit's operation."""

from math import prod
from typing import NamedTuple

from golden.program import Operation, Program


class MatrixShape(NamedTuple):
    """`groups` products of `[rows, depth]` by `[depth, columns]`."""

    groups: int
    rows: int
    columns: int
    depth: int


def is_product(operation: Operation) -> bool:
    """Whether a matrix unit runs the operation: those take `a` and `w`."""
    return operation.inputs.keys() >= {"a", "w"}


def matrix_shape(program: Program, operation: Operation) -> MatrixShape:
    """Shape of a matrix unit's operation for one image; leading axes of a shared weight's activations are rows."""
    a, output = (program.tensors[name].shape for name in (operation.inputs["a"], operation.output))
    shared = operation.inputs["w"] in program.constants and program.constants[operation.inputs["w"]].ndim == 2
    groups = 1 if shared else prod(output[:-2])
    return MatrixShape(groups, prod(output[:-1]) // groups, output[-1], a[-1])

"""Cycles of a program on an accelerator: one operation after the other, each unit's own closed form on its share.

Only `move` is free: it is what the address generators do while an operand is read. Requantizers, fills and drains are
all counted, and nothing overlaps. That is exact for this sequential machine and an upper bound for any pipelined one.

A matrix product `[M, K] × [K, N]` on an output-stationary array of R × C runs in ceil(M/R) · ceil(N/C) tiles. A tile of
r × c outputs takes

    cycles(1, K) + (r − 1) + (c − 1) + (r − 1)

where `cycles(1, K)` is the multiply-accumulator's own closed form for one sum of K terms: operands enter at the edge
and move one place per cycle, so the farthest place starts (r − 1) + (c − 1) later, and the r outputs of a column
leave through one port, the last r − 1 cycles after the first. Over all tiles Σ r = M · (tiles across) and
Σ c = N · (tiles down), which gives the closed form in `_array_cycles`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from inspect import signature
from math import prod
from typing import Any, NamedTuple

from golden.errors import InvariantError, UserError
from golden.program import Operation, Program
from sim.accelerator import Accelerator, Array, Copies, Lanes
from sim.registry import unit_of


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationCycles:
    """What one operation costs per image."""

    operation: str
    """Name of the operation."""
    unit: str
    """Registry name of the unit that is busy."""
    cycles: int
    """Cycles from its first operand to its last result."""
    work: int
    """Multiply-accumulates of a matrix unit, codes of any other."""
    utilisation: Fraction
    """Work over what the unit's share could do in these cycles."""


class MatrixShape(NamedTuple):
    """`groups` products of `[rows, depth]` by `[depth, columns]`."""

    groups: int
    rows: int
    columns: int
    depth: int


def schedule(program: Program, accelerator: Accelerator) -> tuple[OperationCycles, ...]:
    """Cycles of every operation but movement, in the program's order.

    Raises:
        UserError: the accelerator lacks a unit that the program runs, or gives it a share of another kind.
    """
    return tuple(_cost(program, o, accelerator) for o in program.operations if o.unit != "move")


def cycles_per_image(entries: Sequence[OperationCycles]) -> int:
    """Cycles of one image: operations run one after the other."""
    return sum(entry.cycles for entry in entries)


def cycles_by_unit(entries: Sequence[OperationCycles]) -> dict[str, int]:
    """Cycles each unit is busy, the critical one first."""
    total: Counter[str] = Counter()
    for entry in entries:
        total[entry.unit] += entry.cycles
    return dict(total.most_common())


def matrix_shape(program: Program, operation: Operation) -> MatrixShape:
    """Shape of a matrix unit's operation for one image; leading axes of a shared weight's activations are rows."""
    a, output = (program.tensors[name].shape for name in (operation.inputs["a"], operation.output))
    shared = operation.inputs["w"] in program.constants and program.constants[operation.inputs["w"]].ndim == 2
    groups = 1 if shared else prod(output[:-2])
    return MatrixShape(groups, prod(output[:-1]) // groups, output[-1], a[-1])


def _cost(program: Program, operation: Operation, accelerator: Accelerator) -> OperationCycles:
    share = accelerator.shares.get(operation.unit)
    if share is None:
        raise UserError(f"the accelerator has no [{operation.unit}], which {operation.name} runs on")
    unit: Any = unit_of(program, operation)
    needed = _share_kind(operation, unit)
    if not isinstance(share, needed):
        keys = " and ".join(field.name for field in fields(needed))
        raise UserError(f"the accelerator gives [{operation.unit}] {share}; it needs {keys}")
    output = program.tensors[operation.output].shape
    work = prod(output)
    if isinstance(share, Array):
        shape = matrix_shape(program, operation)
        work *= shape.depth
        cycles = _array_cycles(shape, share, unit.cycles(1, shape.depth))
    elif isinstance(share, Copies):
        rows = work // output[-1]
        cycles = unit.cycles(-(-rows // share.copies), output[-1])
    else:
        cycles = unit.cycles(-(-work // share.lanes))
    if cycles < 1:
        raise InvariantError(f"operation {operation.name} on {operation.unit} cannot take {cycles} cycles")
    return OperationCycles(
        operation=operation.name,
        unit=operation.unit,
        cycles=cycles,
        work=work,
        utilisation=Fraction(work, cycles * share.width),
    )


def _share_kind(operation: Operation, unit: Any) -> type[Array] | type[Copies] | type[Lanes]:
    """How a unit's work is split: matrix units take `a` and `w`, row units count cycles by rows, others by codes."""
    if {"a", "w"} <= operation.inputs.keys():
        return Array
    return Copies if "rows" in signature(unit.cycles).parameters else Lanes


def _array_cycles(shape: MatrixShape, array: Array, sum_cycles: int) -> int:
    """Cycles of all tiles, `sum_cycles` being those of one sum in one place of the array."""
    down, across = -(-shape.rows // array.rows), -(-shape.columns // array.columns)
    tiles = down * across
    fill_and_drain = 2 * shape.rows * across + shape.columns * down - 3 * tiles
    return shape.groups * (tiles * sum_cycles + fill_and_drain)

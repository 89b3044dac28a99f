"""Cycles of a program on an accelerator: one operation after the other, each unit's own closed form on its share.

Only `move` is free: it is what the address generators do while an operand is read. Requantizers, fills and drains are
all counted, and no two operations overlap. That is exact for this sequential machine and an upper bound for any
pipelined one. Where the accelerator has a `[memory]`, an operation also waits for its bytes (`sim.traffic`).

A matrix product `[M, K] × [K, N]` on an output-stationary array of R × C runs in ceil(M/R) · ceil(N/C) tiles. A tile of
r × c outputs takes

    cycles(1, K) + (r − 1) + (c − 1) + (r − 1)

where `cycles(1, K)` is the multiply-accumulator's own closed form for one sum of K terms: operands enter at the edge
and move one place per cycle, so the farthest place starts (r − 1) + (c − 1) later, and the r outputs of a column
leave through one port, the last r − 1 cycles after the first. This is the unit `systolic_array`, cycle for cycle.
Over all tiles Σ r = M · (tiles across) and Σ c = N · (tiles down), which gives the closed form in `array_cycles`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from inspect import signature
from math import prod
from typing import Any

from golden.errors import InvariantError, UserError
from golden.formats import Integer
from golden.program import Operation, Program, Tensor
from sim.accelerator import Accelerator, Array, Copies, Lanes
from sim.matrix import MatrixShape, is_product, matrix_shape
from sim.registry import unit_of
from sim.traffic import Placement, Traffic, one_of_each


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationCycles:
    """What one operation costs per image."""

    operation: str
    """Name of the operation."""
    unit: str
    """Registry name of the unit that is busy."""
    cycles: int
    """Cycles that it takes: those it computes for, and what its bytes need beyond or beside them."""
    work: int
    """Multiply-accumulates of a matrix unit, codes of any other."""
    utilisation: Fraction
    """Work over what the unit's share could do in these cycles."""
    compute_cycles: int
    """Cycles from its first operand to its last result, every operand being there."""
    memory_cycles: int | None
    """Cycles that its bytes take to cross the chip's edge; None where memory is not modelled."""
    traffic: Traffic | None
    """Those bytes; None where memory is not modelled."""

    @property
    def bound(self) -> str:
        """What takes longer, `compute` or `memory`; compute where memory is not modelled."""
        waits = self.memory_cycles is not None and self.memory_cycles > self.compute_cycles
        return "memory" if waits else "compute"


def schedule(program: Program, accelerator: Accelerator) -> tuple[OperationCycles, ...]:
    """Cycles of every operation but movement, in the program's order.

    Raises:
        UserError: the accelerator lacks a unit that the program runs, or gives it a share of another kind.
    """
    placement = None if accelerator.memory is None else Placement(program, accelerator.memory)
    return tuple(_cost(program, o, accelerator, placement) for o in program.operations if o.unit != "move")


def cycles_per_image(entries: Sequence[OperationCycles]) -> int:
    """Cycles of one image: operations run one after the other."""
    return sum(entry.cycles for entry in entries)


def cycles_by_unit(entries: Sequence[OperationCycles]) -> dict[str, int]:
    """Cycles each unit is busy, the critical one first."""
    total: Counter[str] = Counter()
    for entry in entries:
        total[entry.unit] += entry.cycles
    return dict(total.most_common())


def _cost(
    program: Program, operation: Operation, accelerator: Accelerator, placement: Placement | None
) -> OperationCycles:
    share = accelerator.share_of(operation.name, operation.unit)
    if share is None:
        raise UserError(f"the accelerator has no [{operation.unit}], which {operation.name} runs on")
    unit: Any = unit_of(_operands(program, operation), operation)
    needed = _share_kind(operation, unit)
    if not isinstance(share, needed):
        keys = " and ".join(field.name for field in fields(needed))
        raise UserError(f"the accelerator gives [{operation.unit}] {share}; it needs {keys}")
    output = program.tensors[operation.output].shape
    work = prod(output)
    if isinstance(share, Array):
        shape = matrix_shape(program, operation)
        work *= shape.depth
        cycles = array_cycles(shape, share, unit.cycles(1, shape.depth))
    elif isinstance(share, Copies):
        rows = work // output[-1]
        cycles = unit.cycles(-(-rows // share.copies), output[-1])
    else:
        cycles = unit.cycles(-(-work // share.lanes))
    if cycles < 1:
        raise InvariantError(f"operation {operation.name} on {operation.unit} cannot take {cycles} cycles")
    total, transfer, traffic = cycles, None, None
    if placement is not None:
        traffic = placement.traffic(operation, share if isinstance(share, Array) else None)
        transfer = -(-traffic.total // placement.memory.bandwidth_bytes_per_cycle)
        total = placement.memory.operation_cycles(cycles, transfer)
    return OperationCycles(
        operation=operation.name,
        unit=operation.unit,
        cycles=total,
        work=work,
        utilisation=Fraction(work, total * share.width),
        compute_cycles=cycles,
        memory_cycles=transfer,
        traffic=traffic,
    )


def _operands(program: Program, operation: Operation) -> Program:
    """`program` with `operation`'s operands alone, constants as tensors of the narrowest format that holds them.

    By numpy: the first call of a compiled kernel costs more than all closed forms of a model.
    """
    tensors = dict[str, Tensor]()
    for name in operation.inputs.values():
        if name in program.tensors:
            tensors[name] = program.tensors[name]
        elif name in program.constants:
            values = one_of_each(program.constants[name])
            tensors[name] = Tensor(
                shape=values.shape, format=Integer.holding(int(values.min()), int(values.max()))
            )
    return replace(program, tensors=tensors, constants={})


def _share_kind(operation: Operation, unit: Any) -> type[Array] | type[Copies] | type[Lanes]:
    """How a unit's work is split: matrix units take `a` and `w`, row units count cycles by rows, others by codes."""
    if is_product(operation):
        return Array
    return Copies if "rows" in signature(unit.cycles).parameters else Lanes


def array_cycles(shape: MatrixShape, array: Array, sum_cycles: int) -> int:
    """Cycles of all tiles, `sum_cycles` being those of one sum in one place of the array."""
    down, across = -(-shape.rows // array.rows), -(-shape.columns // array.columns)
    tiles = down * across
    fill_and_drain = 2 * shape.rows * across + shape.columns * down - 3 * tiles
    return shape.groups * (tiles * sum_cycles + fill_and_drain)

"""What is exported: every different spec of a program, or of the units' sweeps, with its name and its vectors."""

import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from golden.errors import UserError
from golden.program import Operation, Program
from reports.export.operands import operand_beats
from reports.registry import entry, unit_names
from reports.verification import joined
from sim.registry import unit_of
from sim.unit import Beats, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """One unit at one spec."""

    unit: str
    name: str
    """Of the folder and of the Verilog module: `<unit>_<label>`, unique within an export."""
    spec: Unit
    operations: tuple[str, ...]
    """Operations of the program that run it; none of a sweep."""
    draw: Callable[[], Mapping[str, Beats]]
    """Makes the input vectors, the same ones every time."""


def program_designs(
    program: Program, tensors: Mapping[str, NDArray[np.int64]], units: Sequence[str], rows: int, seed: int
) -> list[Design]:
    """One design for every different spec of `units`, all when empty, in the order of the program.

    Its vectors are rows of the operands of one of its operations: widths are proven for these. Where any input
    will do, because all operands are activations and nothing is summed, the unit's directed vectors come first.
    Raises UserError for a unit that the program does not run.
    """
    runs: dict[tuple[str, Unit], list[Operation]] = {}
    for operation in program.operations:
        if operation.unit in unit_names():
            runs.setdefault((operation.unit, unit_of(program, operation)), []).append(operation)
    present = sorted({unit for unit, _ in runs})
    for unit in units:
        if unit not in present:
            raise UserError(f"the program has no {unit}; its units are {', '.join(present)}")
    everything = dict(program.constants) | dict(tensors)
    designs = []
    for (unit, spec), operations in runs.items():
        if not units or unit in units:
            # One whose operands are all activations, if any is: directed vectors then come along.
            example = min(operations, key=lambda operation: _has_constants(program, operation))
            directed = not _has_constants(program, example) and "w" not in spec.inputs
            draw = partial(_program_inputs, spec, example, everything, rows, seed, directed)
            names = tuple(operation.name for operation in operations)
            designs.append(Design(unit=unit, name=_name(unit, spec), spec=spec, operations=names, draw=draw))
    return _numbered(designs)


def sweep_designs(units: Sequence[str], seed: int) -> list[Design]:
    """One design for every point of the sweeps of `units`, all when empty."""
    return _numbered(
        Design(
            unit=unit,
            name=_name(unit, spec),
            spec=spec,
            operations=(),
            draw=partial(_directed, unit, spec, seed),
        )
        for unit in units or unit_names()
        for spec in entry(unit).report.SWEEP
    )


def _program_inputs(
    spec: Unit,
    operation: Operation,
    tensors: Mapping[str, NDArray[np.int64]],
    rows: int,
    seed: int,
    directed: bool,
) -> Mapping[str, Beats]:
    """Rows of the operation's operands, where `directed` behind the unit's directed vectors."""
    real = operand_beats(spec, operation, tensors, rows, _generator(operation.unit, spec, seed))
    if not directed:
        return real
    first = _directed(operation.unit, spec, seed)
    return {name: joined(first[name], real[name]) for name in real}


def _has_constants(program: Program, operation: Operation) -> bool:
    return any(source in program.constants for source in operation.inputs.values())


def _generator(unit: str, spec: Unit, seed: int) -> np.random.Generator:
    """Random numbers that depend on the seed and the spec, not on what else is exported."""
    return np.random.default_rng([seed, zlib.crc32(f"{unit} {entry(unit).report.label(spec)}".encode())])


def _directed(unit: str, spec: Unit, seed: int) -> Mapping[str, Beats]:
    """The unit's directed and random vectors."""
    return entry(unit).report.stimuli(spec, _generator(unit, spec, seed))


def _name(unit: str, spec: Unit) -> str:
    return re.sub(r"\W+", "_", f"{unit}_{entry(unit).report.label(spec)}")


def _numbered(designs: Iterable[Design]) -> list[Design]:
    """Numbers designs of equal labels: two specs may differ in nothing but the entries of a table."""
    seen: dict[str, int] = {}
    numbered = []
    for design in designs:
        count = seen[design.name] = seen.get(design.name, 0) + 1
        numbered.append(design if count == 1 else replace(design, name=f"{design.name}_{count}"))
    return numbered

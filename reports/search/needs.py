"""Hardware that serves every layer of a mixed program: of each unit a parameter set at least as wide as all it runs."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from golden.formats import Integer
from golden.program import Program
from reports.tradeoff.needs import Need, _written, needs_of, width
from sim.accelerator import is_edge
from sim.registry import unit_of
from sim.unit import Unit


def covering_needs(program: Program) -> tuple[Need, ...]:
    """`needs_of(program)`, each parameter set widened until no other of its unit has a wider format.

    The widest set of one width serves all others. With widths that differ by layer none may: 4-bit codes by 8-bit
    weights here, 6-bit codes by 5-bit weights there take an element of 6 by 8 bits.
    """
    specs: dict[tuple[str, bool], dict[Unit, None]] = defaultdict(dict)
    for operation in program.operations:
        if operation.unit != "move":
            specs[operation.unit, is_edge(operation.name)].setdefault(unit_of(program, operation))
    return tuple(
        need.model_copy(update={"parameters": _written(joined(specs[need.unit, need.edge]))})
        for need in needs_of(program)
    )


def joined(specs: Iterable[Unit]) -> Unit:
    """The widest of `specs` with each of its formats and widths as wide as any of theirs.

    What is no width, such as a zero point or a table, stays the widest set's. Where the unit takes no such
    parameter set, the widest stays as it is.
    """
    every = list(specs)
    chosen = max(every, key=width)
    changes: dict[str, Any] = {}
    for field in fields(chosen):
        values = [getattr(spec, field.name) for spec in every]
        if isinstance(values[0], Integer):
            changes[field.name] = _joined_format(values)
        elif field.name.endswith("bits") and all(isinstance(value, int) for value in values):
            changes[field.name] = max(values)
    try:
        return replace(chosen, **changes)
    except ValueError:
        return chosen


def _joined_format(formats: list[Integer]) -> Integer:
    """Narrowest format that holds all of `formats`: among signed ones an unsigned one takes one more bit."""
    signed = any(each.signed for each in formats)
    return Integer(bits=max(each.bits + (signed and not each.signed) for each in formats), signed=signed)

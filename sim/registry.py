"""Finds units by file name, and builds the unit that an operation of a program runs."""

import pkgutil
from dataclasses import fields
from functools import cache
from importlib import import_module

from golden.errors import InvariantError
from golden.formats import Integer
from golden.program import Operation, Program
from sim import units
from sim.checks import extremes
from sim.unit import Unit

COMPOSED = frozenset({"systolic_array"})
"""Units that hold another: a program names the one inside, and an accelerator says how many of those there are."""


def unit_names() -> tuple[str, ...]:
    """Registry names, which are the file names in sim/units."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(units.__path__)))


def operation_units() -> tuple[str, ...]:
    """Units that an operation of a program may name: all but those built of others."""
    return tuple(name for name in unit_names() if name not in COMPOSED)


@cache
def unit_class(name: str) -> type[Unit]:
    """The specification class of unit `name`: CamelCase of its file name.

    Raises:
        InvariantError: there is no such unit.
    """
    if name not in unit_names():
        raise InvariantError(f"there is no unit {name!r}; the units are {', '.join(unit_names())}")
    title = "".join(part.capitalize() for part in name.split("_"))
    found: type[Unit] = getattr(import_module(f"{units.__name__}.{name}"), title)
    return found


def unit_of(program: Program, operation: Operation) -> Unit:
    """The unit with the operation's parameters.

    A field `<input>_format` that the parameters leave open takes the operand's format: the tensor's, or for a
    constant the narrowest signed one that holds it.

    Raises:
        InvariantError: the parameters are not the unit's.
    """
    parameters: dict[str, object] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in operation.parameters.items()
    }
    if operation.unit in COMPOSED:
        raise InvariantError(f"operation {operation.name}: no operation runs on {operation.unit} itself")
    kind = unit_class(operation.unit)
    for field in fields(kind):
        operand = field.name.removesuffix("_format")
        if field.name not in parameters and operand in operation.inputs:
            parameters[field.name] = operand_format(program, operation.inputs[operand])
    try:
        return kind(**parameters)
    except (TypeError, ValueError) as error:
        raise InvariantError(
            f"operation {operation.name}: {operation.unit} refuses its parameters: {error}"
        ) from error


def operand_format(program: Program, name: str) -> Integer:
    """Format of an activation tensor, or the narrowest signed format of a constant.

    Raises:
        InvariantError: the program has neither.
    """
    if name in program.tensors:
        return program.tensors[name].format
    if name in program.constants:
        return Integer.holding(*extremes(program.constants[name]))
    raise InvariantError(f"the program has no tensor or constant {name!r}")

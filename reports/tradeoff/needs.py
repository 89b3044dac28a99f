"""The hardware that a program needs on an accelerator: which unit, at which parameters, how many times."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from pydantic import JsonValue

from golden.formats import Integer
from golden.program import Program
from reports.row import Label, Positive, Row
from sim.accelerator import Accelerator, is_edge
from sim.registry import unit_class, unit_of
from sim.unit import Unit

_BLOCK = re.compile(r"^(stages\.\d+\.|layers\.\d+\.)?blocks\.\d+\.")


class Need(Row):
    """One kind of unit of a program, at the widest of its parameter sets, in the blocks or outside of them."""

    unit: Label
    edge: bool
    """Outside the blocks: patch embedding, patch merging, head. Their operands may be wider than any in a block."""
    parameters: dict[str, JsonValue]
    """The specification's fields; a format is an object with bits and signed."""
    specs: Positive
    """Different parameter sets in the program."""
    operations: tuple[Label, ...]
    """Names of the operations without their block, each once."""

    @property
    def spec(self) -> Unit:
        """The specification itself."""
        return read_spec(self.unit, self.parameters)


def needs_of(program: Program) -> tuple[Need, ...]:
    """What each unit of the program must be able to do, in the order of first use.

    Parameter sets of one unit differ by layer in constants, such as zero points and tables, sometimes in widths. What
    stands for hardware that serves all of them is `joined`.
    """
    specs: dict[tuple[str, bool], dict[Unit, None]] = defaultdict(dict)
    operations: dict[tuple[str, bool], dict[str, None]] = defaultdict(dict)
    for operation in program.operations:
        if operation.unit != "move":
            key = operation.unit, is_edge(operation.name)
            specs[key].setdefault(unit_of(program, operation))
            operations[key].setdefault(_BLOCK.sub("", operation.name))
    return tuple(
        Need(
            unit=unit,
            edge=edge,
            parameters=written_spec(joined(found)),
            specs=len(found),
            operations=tuple(operations[unit, edge]),
        )
        for (unit, edge), found in specs.items()
    )


def merged(one: Need, other: Need) -> Need:
    """What serves both."""
    # Sets that occur in both places are few: zero points and tables are each layer's own.
    return one.model_copy(
        update={
            "parameters": written_spec(joined([one.spec, other.spec])),
            "specs": one.specs + other.specs,
            "operations": (*one.operations, *other.operations),
        }
    )


def joined(specs: Iterable[Unit]) -> Unit:
    """The widest of `specs` with each of its formats and widths as wide as any of theirs.

    With widths that differ by layer no set need serve all others: 4-bit codes by 8-bit weights here, 6-bit codes by
    5-bit weights there take an element of 6 by 8 bits. What is no width, such as a zero point or a table, stays the
    widest set's: the one with the most bits in its ports, then in its constants. Where the unit takes no such
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


def width(spec: Unit) -> tuple[int, int, str]:
    """Bits of all ports, then of all constants; the text decides between equals, so that the choice is stable."""
    ports = [*spec.inputs.values(), *spec.outputs.values()]
    constants = [value for field in fields(spec) for value in _integers(getattr(spec, field.name))]
    return (
        sum(port.format.bits * port.lanes for port in ports),
        sum(abs(value).bit_length() for value in constants),
        repr(spec),
    )


def fit(needs: tuple[Need, ...], accelerator: Accelerator) -> list[tuple[Need, int]]:
    """Each unit that the accelerator must have for the needs, and how many: those of its edge apart."""
    found: dict[tuple[str, bool], Need] = {}
    for need in needs:
        key = need.unit, need.edge and need.unit in accelerator.edge
        found[key] = merged(found[key], need) if key in found else need
    return [
        (
            need.model_copy(update={"edge": edge}),
            (accelerator.edge if edge else accelerator.shares)[unit].width,
        )
        for (unit, edge), need in found.items()
    ]


def _integers(value: Any) -> list[int]:
    if isinstance(value, tuple):
        return [item for entry in value for item in _integers(entry)]
    return [value] if isinstance(value, int) else []


def written_spec(spec: Unit) -> dict[str, JsonValue]:
    """The specification's fields; a format is an object with bits and signed."""

    def plain(value: Any) -> JsonValue:
        if isinstance(value, Integer):
            return {"bits": value.bits, "signed": value.signed}
        return [plain(entry) for entry in value] if isinstance(value, tuple) else value

    return {field.name: plain(getattr(spec, field.name)) for field in fields(spec)}


def read_spec(unit: str, parameters: Mapping[str, JsonValue]) -> Unit:
    """The specification that `written_spec` wrote."""
    return unit_class(unit)(**{name: _read(value) for name, value in parameters.items()})


def _read(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Integer(**value)
    return tuple(_read(entry) for entry in value) if isinstance(value, list | tuple) else value

"""What a standard cell computes: truth tables and registers, from the gates that Yosys reads out of a Liberty file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_INPUTS = 6
"""Widest truth table: 64 entries, one machine word."""
_GATES: Mapping[str, Callable[[Mapping[str, int]], int]] = {
    "$_NOT_": lambda a: 1 - a["A"],
    "$_BUF_": lambda a: a["A"],
    "$_AND_": lambda a: a["A"] & a["B"],
    "$_OR_": lambda a: a["A"] | a["B"],
    "$_XOR_": lambda a: a["A"] ^ a["B"],
    "$_MUX_": lambda a: a["B"] if a["S"] else a["A"],
}


class UnknownFunctionError(ValueError):
    """A cell that two-valued logic without latches cannot express; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One output: bit `i` of `table` is its value when input `k` has bit `k` of `i`."""

    inputs: tuple[str, ...]
    """Pins of the cell, and names of its registers."""
    table: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Logic:
    """One cell."""

    outputs: Mapping[str, Function]
    """Output pin -> its function."""
    registers: Mapping[str, Function]
    """Register -> what it takes at a rising edge of the clock."""
    clock: str | None
    """Clock pin; None without registers."""


def logic_of(module: Mapping[str, Any]) -> Logic:
    """Logic of one module of Yosys' JSON.

    Raises UnknownFunctionError for an output without a function, latches, tristates, asynchronous set or reset,
    falling edges, and more than MAX_INPUTS inputs.
    """
    drivers: dict[object, tuple[str, Mapping[str, Any]]] = {}
    leaves: dict[object, str] = {
        port["bits"][0]: pin for pin, port in module["ports"].items() if port["direction"] == "input"
    }
    registers, clocks = {}, set()
    for name, gate in module["cells"].items():
        pins = {pin: bits[0] for pin, bits in gate["connections"].items()}
        if gate["type"] == "$_DFF_P_":
            leaves[pins["Q"]] = name
            registers[name] = pins["D"]
            clocks.add(leaves.get(pins["C"]))
        elif gate["type"] in _GATES:
            drivers[pins["Y"]] = gate["type"], pins
        else:
            raise UnknownFunctionError(f"it has a {gate['type'].strip('$_')}")
    if len(clocks) > 1 or None in clocks:
        raise UnknownFunctionError("its registers have no clock pin in common")
    outputs = {pin: port["bits"][0] for pin, port in module["ports"].items() if port["direction"] == "output"}
    made = {pin: _function(bit, leaves, drivers) for pin, bit in outputs.items()}
    # A library may describe a register's inverted copy that no output shows.
    seen: set[str] = set()
    needed = {name for function in made.values() for name in function.inputs} & set(registers)
    states: dict[str, Function] = {}
    while needed - seen:
        name = (needed - seen).pop()
        seen.add(name)
        states[name] = _function(registers[name], leaves, drivers)
        needed |= set(states[name].inputs) & set(registers)
    return Logic(outputs=made, registers=states, clock=clocks.pop() if clocks else None)


def _function(
    bit: object, leaves: Mapping[object, str], drivers: Mapping[object, tuple[str, Mapping[str, Any]]]
) -> Function:
    """Truth table of `bit` over the leaves it depends on, in order of their names."""
    support: set[str] = set()
    waiting, known = [bit], set()
    while waiting:
        one = waiting.pop()
        if one in leaves:
            support.add(leaves[one])
        elif one not in known and one not in ("0", "1"):
            if one not in drivers:
                raise UnknownFunctionError("an output has no function")
            known.add(one)
            _, pins = drivers[one]
            waiting += [pins[pin] for pin in pins if pin != "Y"]
    inputs = tuple(sorted(support))
    if len(inputs) > MAX_INPUTS:
        raise UnknownFunctionError(f"an output depends on {len(inputs)} inputs, more than {MAX_INPUTS}")

    def value(one: object, given: Mapping[str, int]) -> int:
        if one in ("0", "1"):
            return int(str(one))
        if one in leaves:
            return given[leaves[one]]
        kind, pins = drivers[one]
        return _GATES[kind]({pin: value(net, given) for pin, net in pins.items() if pin != "Y"})

    table = 0
    for row in range(1 << len(inputs)):
        table |= value(bit, {name: row >> k & 1 for k, name in enumerate(inputs)}) << row
    return Function(inputs=inputs, table=table)

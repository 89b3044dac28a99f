"""A netlist of standard cells as arrays: truth tables in an order in which each follows what it depends on."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.synthesis.area import SynthesisError
from reports.synthesis.functions import Function
from reports.synthesis.liberty import Liberty

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One connected pin of one cell."""

    cell: str
    """Cell type."""
    pin: str
    net: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """Nets 0 and 1 are the constants; each register has two more nets, for what it holds and what it takes next."""

    nets: int
    ports: Mapping[str, tuple[int, ...]]
    """Port -> its nets, lowest bit first."""
    sinks: tuple[Pin, ...]
    """Input pins, those of the clock included."""
    drivers: tuple[Pin, ...]
    """Output pins."""
    node_out: Indices
    """Net that each truth table gives."""
    node_tables: NDArray[np.uint64]
    node_starts: Indices
    """Where the inputs of each begin in `node_inputs`, and where the last one's end."""
    node_inputs: Indices
    holds: Indices
    """Net of what each register holds."""
    takes: Indices
    """Net of what it takes at the clock's edge."""


def build(module: Mapping[str, Any], liberty: Liberty) -> Circuit:
    """The circuit of Yosys' JSON `module`; SynthesisError for cells that cannot be simulated and for loops."""
    index: dict[object, int] = {"0": 0, "x": 0, "z": 0, "1": 1}
    logic = cache(liberty.logic)

    def net(bit: object) -> int:
        return index.setdefault(bit, len(index) - 2)  # x and z are no nets of their own

    ports = {name: tuple(net(bit) for bit in port["bits"]) for name, port in module["ports"].items()}
    sinks: list[Pin] = []
    drivers: list[Pin] = []
    nodes: list[tuple[int, Function, list[int]]] = []
    registers: list[tuple[int, int]] = []
    for name, cell in module["cells"].items():
        kind = cell["type"]
        pins = {pin: net(bits[0]) for pin, bits in cell["connections"].items() if bits}
        of = logic(kind)
        if of.clock is not None and (pins[of.clock],) != ports.get("clk"):
            raise SynthesisError(f"cell {kind} is not clocked by the clock itself")
        held = {register: net((name, register, "holds")) for register in of.registers}
        known = pins | held
        for register, function in of.registers.items():
            taken = net((name, register, "takes"))
            nodes.append((taken, function, [known[one] for one in function.inputs]))
            registers.append((held[register], taken))
        for pin in pins:
            if pin in of.outputs:
                function = of.outputs[pin]
                nodes.append((pins[pin], function, [known[one] for one in function.inputs]))
            (drivers if pin in of.outputs else sinks).append(Pin(cell=kind, pin=pin, net=pins[pin]))
    ordered = _ordered(nodes)
    return Circuit(
        nets=len(index) - 2,
        ports=ports,
        sinks=tuple(sinks),
        drivers=tuple(drivers),
        node_out=np.array([out for out, _, _ in ordered], np.int64),
        node_tables=np.array([function.table for _, function, _ in ordered], np.uint64),
        node_starts=np.cumsum([0, *(len(inputs) for _, _, inputs in ordered)]),
        node_inputs=np.array([one for _, _, inputs in ordered for one in inputs], np.int64),
        holds=np.array([held for held, _ in registers], np.int64),
        takes=np.array([taken for _, taken in registers], np.int64),
    )


def _ordered(nodes: list[tuple[int, Function, list[int]]]) -> list[tuple[int, Function, list[int]]]:
    """Nodes in an order of dependence; SynthesisError where they form a loop."""
    makers = {out: n for n, (out, _, _) in enumerate(nodes)}
    users: dict[int, list[int]] = {}
    missing = []
    for n, (_, _, inputs) in enumerate(nodes):
        needed = {makers[one] for one in inputs if one in makers}
        missing.append(len(needed))
        for one in needed:
            users.setdefault(one, []).append(n)
    ready = deque(n for n, count in enumerate(missing) if count == 0)
    found = []
    while ready:
        n = ready.popleft()
        found.append(nodes[n])
        for user in users.get(n, []):
            missing[user] -= 1
            if missing[user] == 0:
                ready.append(user)
    if len(found) < len(nodes):
        raise SynthesisError(f"{len(nodes) - len(found)} gates of the netlist form loops")
    return found

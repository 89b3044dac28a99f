"""Energy of a unit on real inputs: toggles of its gate-level netlist times the energies of its Liberty file."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from reports.energy.activity import Activity, activity
from reports.energy.circuit import Circuit, build
from reports.energy.tables import PACKAGE, CellEnergies, energies_of
from reports.registry import entry
from reports.synthesis.area import TOP, SynthesisError
from reports.synthesis.asic import asic_tools, map_to_gates
from reports.synthesis.cache import key_of, load_as, store
from reports.synthesis.liberty import read_liberty
from reports.synthesis.tools import TIMEOUT_S, package_version, workspace
from rtl.verilog import rtlil_text
from sim.unit import Beats, Unit

METHOD = (
    "relative: toggles in a zero-delay simulation of the gates on real inputs, times internal energy and half of "
    "the capacitance driven times voltage squared, as the Liberty file states them; clock pins included, wires, "
    "clock tree, glitches and leakage not"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What a unit takes for its inputs; to compare units of one Liberty file, not for watts of a chip."""

    operations: int
    """Beats of the unit's first input stream: products of a multiply-accumulator, scores of a softmax."""
    cycles: int
    """From the first beat to the last output."""
    internal_pj: float
    """Inside the cells, at toggles of their pins, clock pins left out."""
    switching_pj: float
    """To charge the input pins that nets drive, the clock's left out."""
    clock_pj: float
    """Of the clock pins of all registers, both of the above."""
    method: str
    tools: Mapping[str, str]
    """Tool -> version and flags, and the Liberty file."""

    @property
    def total_pj(self) -> float:
        """Of all inputs."""
        return self.internal_pj + self.switching_pj + self.clock_pj

    @property
    def pj_per_operation(self) -> float:
        """Of one operation, its share of idle cycles included."""
        return self.total_pj / self.operations


def energy(
    name: str,
    spec: Unit,
    inputs: Mapping[str, Beats],
    liberty: Path,
    cache: Path,
    timeout: float = TIMEOUT_S,
) -> Energy:
    """Energy of unit `name` with `spec` on `inputs`, in the cells of `liberty`; kept in `cache` as areas are.

    Raises SynthesisError when the unit cannot be mapped or simulated, when the netlist's outputs are not the
    model's, and when the Liberty file lacks an energy or a capacitance of a cell in use.
    """
    library = read_liberty(liberty)
    tools = {tool: text for tool, text in asic_tools(library).items() if tool != "opensta"}
    tools[PACKAGE] = package_version(PACKAGE)
    source = rtlil_text(entry(name).component(spec), TOP)
    path = cache / f"{name}-energy-{key_of(source, tools, METHOD, _digest(inputs))}.json"
    kept = load_as(path, Energy)
    if kept is not None:
        return kept
    try:
        with workspace() as folder:
            circuit = build(map_to_gates(source, library, folder, timeout).module, library)
        seen = activity(circuit, spec, inputs)
        internal, switching, clock = added(circuit, seen, energies_of(library))
    except SynthesisError as error:
        raise SynthesisError(f"energy of {name}: {error}") from error
    found = Energy(
        operations=len(inputs[next(iter(spec.inputs))].codes),
        cycles=seen.cycles,
        internal_pj=internal,
        switching_pj=switching,
        clock_pj=clock,
        method=METHOD,
        tools=tools,
    )
    store(path, asdict(found))
    return found


def added(circuit: Circuit, seen: Activity, cells: CellEnergies) -> tuple[float, float, float]:
    """Internal and switching energy in pJ without the clock's, and both of the clock's pins."""
    (clock,) = circuit.ports["clk"]
    rises, falls = seen.rises.copy(), seen.falls.copy()
    rises[clock] = falls[clock] = seen.cycles
    loads = np.zeros(circuit.nets)
    for sink in circuit.sinks:
        if (sink.cell, sink.pin) not in cells.capacitance:
            raise SynthesisError(f"the Liberty file states no capacitance of pin {sink.pin} of {sink.cell}")
        loads[sink.net] += cells.capacitance[sink.cell, sink.pin]
    internal = np.zeros(circuit.nets)
    for pin in (*circuit.sinks, *circuit.drivers):
        known = cells.pins.get((pin.cell, pin.pin))
        if known is not None:
            rise, fall = known.edges(loads[pin.net])
            internal[pin.net] += rise * rises[pin.net] + fall * falls[pin.net]
    for driver in circuit.drivers:
        if (driver.cell, driver.pin) not in cells.pins:
            raise SynthesisError(f"the Liberty file states no energy of pin {driver.pin} of {driver.cell}")
    switching = 0.5 * loads * cells.volts**2 * (rises + falls)
    at_clock = float(internal[clock] + switching[clock])
    return float(internal.sum() - internal[clock]), float(switching.sum() - switching[clock]), at_clock


def _digest(inputs: Mapping[str, Beats]) -> str:
    """Hash of all beats."""
    total = hashlib.sha256()
    for name in sorted(inputs):
        codes, last = inputs[name]
        total.update(f"{name} {codes.shape}".encode())
        total.update(np.ascontiguousarray(codes, np.int64).tobytes())
        total.update(np.ascontiguousarray(last, np.bool_).tobytes())
    return total.hexdigest()

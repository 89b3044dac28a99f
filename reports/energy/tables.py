"""Energies and capacitances of the cells of a Liberty file, in pJ and pF."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.synthesis.area import SynthesisError
from reports.synthesis.liberty import Liberty

PACKAGE = "liberty-parser"
SLEW_POINT = 1
"""Input transition that energies are read at, whatever the net: the second of a table's, short but not the least."""
_LOAD, _SLEW = "total_output_net_capacitance", "input_transition_time"
_FARADS = {"ff": 1e-3, "pf": 1.0}
_VOLTS = {"1V": 1.0, "100mV": 0.1, "10mV": 0.01, "1mV": 0.001}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Energy of one kind of edge on one pin, against the load of the pin."""

    loads: NDArray[np.float64]
    """In pF, ascending; one, of no meaning, where the energy does not depend on it."""
    energies: NDArray[np.float64]
    """In pJ."""

    def at(self, load: float) -> float:
        """Energy at `load` pF, between the table's points by straight lines, beyond its ends that of the end."""
        return float(np.interp(load, self.loads, self.energies))


@dataclass(frozen=True, slots=True, kw_only=True)
class PinEnergy:
    """Internal energy of one pin's edges: of each supply, the arcs to average."""

    rise: Sequence[Sequence[Curve]]
    fall: Sequence[Sequence[Curve]]

    def edges(self, load: float) -> tuple[float, float]:
        """Energy in pJ of a rising and of a falling edge."""
        rise, fall = (
            sum(float(np.mean([curve.at(load) for curve in arcs])) for arcs in supplies)
            for supplies in (self.rise, self.fall)
        )
        return rise, fall


@dataclass(frozen=True, slots=True, kw_only=True)
class CellEnergies:
    """All cells of one Liberty file."""

    volts: float
    capacitance: Mapping[tuple[str, str], float]
    """(cell, input pin) -> pF."""
    pins: Mapping[tuple[str, str], PinEnergy]
    """(cell, pin) -> its energies; a pin without any is absent."""


@dataclass(frozen=True, slots=True)
class _Units:
    """Of the file, in pF and V."""

    capacitance: float
    voltage: float

    @property
    def energy(self) -> float:
        """In pJ: by the format's definition that of capacitance times voltage squared."""
        return self.capacitance * self.voltage**2


@functools.lru_cache(maxsize=4)
def read_energies(text: str, name: str) -> CellEnergies:
    """Energies in the Liberty file `name`; SynthesisError when it lacks what they need, with the cell and pin."""
    library = _parsed(text, name)
    units = _units(library, name)
    if library.get_attribute("nom_voltage") is None:
        raise SynthesisError(f"{name} states no nom_voltage, which energies need")
    templates = {_word(group.args[0]): group for group in library.get_groups("power_lut_template")}
    capacitance, pins = {}, {}
    for cell in library.get_groups("cell"):
        for group in cell.get_groups("pin"):
            for pin in map(_word, group.args):
                where = _word(cell.args[0]), pin
                if group.get_attribute("capacitance") is not None:
                    capacitance[where] = units.capacitance * float(group["capacitance"])
                found = _pin_energy(group, templates, units, f"{name}, cell {where[0]}, pin {pin}")
                if found:
                    pins[where] = found
    volts = float(library["nom_voltage"]) * units.voltage
    return CellEnergies(volts=volts, capacitance=capacitance, pins=pins)


def energies_of(liberty: Liberty) -> CellEnergies:
    """Energies of a Liberty file that Yosys has read."""
    return read_energies(liberty.text, liberty.name)


def _parsed(text: str, name: str) -> Any:
    try:
        from liberty.parser import ParserError, parse_liberty
    except ImportError as error:
        raise SynthesisError(f"energies need {PACKAGE}: pip install 'vitrtl[asic]'") from error
    try:
        return parse_liberty(text)
    except ParserError as error:
        raise SynthesisError(f"{PACKAGE} does not read {name}: {error}") from error


def _word(value: object) -> str:
    return str(value).strip('"')


def _units(library: Any, name: str) -> _Units:
    scale, farads = library.get_attribute("capacitive_load_unit", [1, "none"])
    volts = _word(library.get_attribute("voltage_unit", "none"))
    try:
        return _Units(float(scale) * _FARADS[_word(farads).lower()], _VOLTS[volts])
    except KeyError as error:
        raise SynthesisError(
            f"{name} states no unit of capacitance or of voltage that is known: {error}"
        ) from error


def _pin_energy(pin: Any, templates: Mapping[str, Any], units: _Units, where: str) -> PinEnergy | None:
    """Energies of a pin; the arcs (by related pin and condition) of one supply are averaged, supplies add up."""
    rise: dict[str, list[Curve]] = {}
    fall: dict[str, list[Curve]] = {}
    for arc in pin.get_groups("internal_power"):
        supply = _word(arc.get_attribute("related_pg_pin", ""))
        for edge, names in ((rise, ("rise_power", "power")), (fall, ("fall_power", "power"))):
            tables = [table for kind in names for table in arc.get_groups(kind)]
            edge.setdefault(supply, []).extend(_curve(table, templates, units, where) for table in tables)
    edges = [[arcs for arcs in edge.values() if arcs] for edge in (rise, fall)]
    if not any(edges):
        return None
    if not all(edges):
        raise SynthesisError(f"{where}: it has energies of rising or of falling edges only")
    return PinEnergy(rise=edges[0], fall=edges[1])


def _curve(table: Any, templates: Mapping[str, Any], units: _Units, where: str) -> Curve:
    """One table at SLEW_POINT, against the load."""
    values = np.asarray(table.get_array("values")) * units.energy
    if values.size == 1:
        return Curve(loads=np.zeros(1), energies=values.reshape(1))
    template = templates.get(_word(table.args[0]) if table.args else "")
    if template is None:
        raise SynthesisError(f"{where}: an energy table has no template of the file")
    kinds = [
        _word(kind) for n in (1, 2, 3) if (kind := template.get_attribute(f"variable_{n}", None)) is not None
    ]
    axes = [
        np.ravel((table if f"index_{n}" in table else template).get_array(f"index_{n}"))
        for n in range(1, len(kinds) + 1)
    ]
    if values.size != math.prod(map(len, axes)) or kinds.count(_SLEW) != len(kinds) - 1 + (
        _LOAD not in kinds
    ):
        raise SynthesisError(f"{where}: an energy table over {', '.join(kinds)} is not understood")
    at = tuple(
        min(SLEW_POINT, len(axis) - 1) if kind == _SLEW else slice(None)
        for kind, axis in zip(kinds, axes, strict=True)
    )
    loads = [axis * units.capacitance for kind, axis in zip(kinds, axes, strict=True) if kind == _LOAD]
    energies = np.atleast_1d(values.reshape([len(axis) for axis in axes])[at])
    return Curve(loads=loads[0] if loads else np.zeros(1), energies=energies)

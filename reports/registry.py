"""Finds units by file name: one name in golden.units, sim.units, rtl.units and reports.units is one unit."""

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np

from golden.errors import UserError
from rtl.stream import StreamUnit
from sim.unit import Beats, Unit

FOLDERS = ("golden.units", "sim.units", "rtl.units", "reports.units")


class UnitReport(Protocol):
    """What a module of reports.units gives."""

    SWEEP: Sequence[Unit]
    """Specs the unit contributes to verification and trade-off studies."""

    def label(self, spec: Unit) -> str:
        """Short name of a spec, unique within the unit, fit for a file name."""

    def stimuli(self, spec: Unit, rng: np.random.Generator) -> Mapping[str, Beats]:
        """Directed and random input beats."""

    def reference(self, spec: Unit, inputs: Mapping[str, Beats]) -> Mapping[str, Beats]:
        """Output beats by golden's reference."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One unit; each of its parts is imported when asked for, so that none costs the others' time."""

    name: str

    @property
    def golden(self) -> Callable[..., Any]:
        """Reference function on int64 tensors."""
        return cast(Callable[..., Any], import_module(f"golden.units.{self.name}").golden)

    @property
    def model(self) -> type[Unit]:
        """Spec: parameters, bit-accurate model and cycles."""
        return cast(type[Unit], getattr(import_module(f"sim.units.{self.name}"), class_name(self.name)))

    @property
    def component(self) -> type[StreamUnit]:
        """Hardware; takes the spec."""
        return cast(type[StreamUnit], getattr(import_module(f"rtl.units.{self.name}"), class_name(self.name)))

    @property
    def report(self) -> UnitReport:
        """Sweep, labels and stimuli."""
        return cast(UnitReport, import_module(f"reports.units.{self.name}"))


def class_name(name: str) -> str:
    """CamelCase of a unit's file name.

    >>> class_name("residual_adder")
    'ResidualAdder'
    """
    return "".join(part.capitalize() for part in name.split("_"))


def names_in(package: str) -> set[str]:
    """Names of the modules in `package`."""
    return {module.name for module in pkgutil.iter_modules(import_module(package).__path__)}


def unit_names() -> list[str]:
    """Names of all units with hardware, in alphabetical order."""
    return sorted(names_in("rtl.units"))


def entry(name: str) -> Entry:
    """Entry of one unit; UserError for a name that is none."""
    if name not in unit_names():
        raise UserError(f"there is no unit {name!r}; the units are {', '.join(unit_names())}")
    return Entry(name)


def reference_parameters(golden: Callable[..., Any], spec: Unit) -> dict[str, Any]:
    """Keyword-only arguments of a reference, from the spec's fields of the same names; tables as lists."""
    names = [p.name for p in inspect.signature(golden).parameters.values() if p.kind is p.KEYWORD_ONLY]
    values = {name: getattr(spec, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

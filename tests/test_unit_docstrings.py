"""Every unit's docstrings state ports, latency, interval, rounding and paper, and the figures in them are right."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from golden.formats import Integer
from reports.registry import entry, unit_names
from sim.unit import Beats, Port, Unit

SECTIONS = ("Ports", "Latency", "Interval", "Rounding", "Paper")
PORT = re.compile(r"`(\w+): ([^`×]+?)(?: × ([^`,]+))?(, last)?`")
FORMULA = re.compile(r"^`([^`]+)` cycles? ")
SOURCE = re.compile(r"arXiv \d{4}\.\d{5}|none of its own")


def sections(documented: type) -> dict[str, str]:
    """Section -> its text in one line."""
    found: dict[str, str] = {}
    name = ""
    for line in str(documented.__doc__).splitlines():
        words = line.strip()
        if (head := words.partition(": "))[0] in SECTIONS:
            name, words = head[0], head[2]
        elif not words:
            name = ""
        if name:
            found[name] = f"{found.get(name, '')} {words}".strip()
    return found


class Names(dict[str, Any]):
    """What a formula may name: attributes of a spec, and what is given."""

    def __init__(self, spec: Unit, **given: object) -> None:
        super().__init__(given)
        self.spec = spec

    def __missing__(self, name: str) -> Any:
        return getattr(self.spec, name)


def value(formula: str, spec: Unit, **given: object) -> Any:
    """What `formula` is for this spec."""
    return eval(formula, {"__builtins__": {}}, Names(spec, **given))


def ports(text: str, spec: Unit) -> Iterator[tuple[str, Port]]:
    """The ports that a docstring states."""
    formats = {
        "u": lambda bits: Integer(bits=bits, signed=False),
        "s": lambda bits: Integer(bits=bits, signed=True),
    }
    for name, format, lanes, last in PORT.findall(text):
        count = value(lanes, spec) if lanes else 1
        yield name, Port(value(format, spec, **formats), lanes=count, last=bool(last))


@pytest.mark.parametrize("unit", unit_names())
def test_both_docstrings_state_the_same_five_sections(unit: str) -> None:
    model, component = (sections(one) for one in (entry(unit).model, entry(unit).component))
    assert tuple(model) == SECTIONS
    assert model == component
    assert model["Rounding"].startswith(("FLOOR", "HALF_UP", "none", "to the nearest", "that of `pe`"))
    assert SOURCE.search(model["Paper"])


@pytest.mark.parametrize("unit", unit_names())
def test_the_ports_are_those_of_the_spec(unit: str) -> None:
    text = sections(entry(unit).model)["Ports"]
    inputs, _, outputs = text.partition("; out ")
    for spec in entry(unit).report.SWEEP:
        stated = dict(ports(inputs, spec))
        # A systolic array has a bias where its places have one.
        assert {name: stated[name] for name in spec.inputs} == dict(spec.inputs)
        assert set(stated) - set(spec.inputs) <= {"bias"}
        assert dict(ports(outputs, spec)) == dict(spec.outputs)


def two_rows(spec: Unit, length: int) -> dict[str, Beats]:
    """Two rows of so many beats on all streams, of zeros, which no cycle depends on; two of the largest tiles."""
    found = {}
    for name, port in spec.inputs.items():
        beats = 2 if name == "tile" else 2 * length
        codes = np.zeros((beats, port.lanes), np.int64)
        if name == "tile":
            codes[:] = spec.rows, spec.columns  # type: ignore[attr-defined]
        last = (np.arange(beats) + 1) % length == 0 if port.last else np.ones(beats, np.bool_)
        found[name] = Beats(codes, last)
    return found


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("unit", unit_names())
def test_latency_and_interval_are_those_of_the_schedule(unit: str, length: int) -> None:
    text = sections(entry(unit).model)
    latency, interval = (
        str(FORMULA.match(text[name])[1])  # type: ignore[index]
        for name in ("Latency", "Interval")
    )
    for spec in entry(unit).report.SWEEP:
        stream, port = next(iter(spec.inputs.items()))
        beats = getattr(spec, "channels", length if port.last else 1)
        cycles = spec.timing(**two_rows(spec, beats))
        given = {"n": beats, "r": getattr(spec, "rows", 0), "c": getattr(spec, "columns", 0)}
        assert value(latency, spec, **given) == cycles["o"][0] - cycles[stream][0]
        assert value(interval, spec, **given) == cycles[stream][beats] - cycles[stream][0]


def test_a_section_ends_with_the_next_or_an_empty_line() -> None:
    class Told:
        """A unit.

        Ports: one
            and two.
        Latency: `1` cycle from here.

        What follows belongs to none.
        """

    assert sections(Told) == {"Ports": "one and two.", "Latency": "`1` cycle from here."}

"""Real inputs of the units whose energy a sweep states, kept beside the points."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue, ValidationError

from golden.program import Operation, Program
from reports.energy import real_inputs
from reports.row import Label, Row
from reports.tradeoff.needs import read_spec, width, written_spec
from reports.whole_file import write_text
from sim.accelerator import is_edge
from sim.registry import unit_of
from sim.unit import Beats, Unit

ROW_UNITS = ("softmax", "probability")
"""Units beside the multiply-accumulators whose energy is stated."""


class Stream(Row):
    """Beats of one input."""

    codes: tuple[tuple[int, ...], ...]
    """[beats, lanes]"""
    last: tuple[bool, ...]


class Stimulus(Row):
    """What drives one unit, in the blocks or outside of them: the operation with the widest parameters."""

    unit: Label
    edge: bool
    operation: Label
    parameters: dict[str, JsonValue]
    """The operation's own."""
    streams: dict[str, Stream]

    @property
    def spec(self) -> Unit:
        """The specification itself."""
        return read_spec(self.unit, self.parameters)

    @property
    def inputs(self) -> dict[str, Beats]:
        """The streams as a unit takes them."""
        return {
            name: Beats(np.array(stream.codes, np.int64), np.array(stream.last, np.bool_))
            for name, stream in self.streams.items()
        }


class Stimuli(Row):
    """Of one point."""

    key: str
    """The point's."""
    found: tuple[Stimulus, ...]


def stimuli_of(program: Program, tensors: Mapping[str, NDArray[np.int64]]) -> tuple[Stimulus, ...]:
    """One stimulus for every multiply-accumulator and row unit of attention, in the blocks and outside of them.

    Units whose real inputs are not known are left out.
    """
    widest: dict[tuple[str, bool], Operation] = {}
    for operation in program.operations:
        if operation.unit.endswith("mac") or operation.unit in ROW_UNITS:
            key = operation.unit, is_edge(operation.name)
            before = widest.setdefault(key, operation)
            if width(unit_of(program, operation)) > width(unit_of(program, before)):
                widest[key] = operation
    found = []
    for (unit, edge), operation in widest.items():
        try:
            spec, inputs = real_inputs(program, operation, tensors)
        except ValueError:  # several streams that nobody has cut into beats
            continue
        streams = {
            name: Stream(
                codes=tuple(tuple(map(int, beat)) for beat in beats.codes),
                last=tuple(map(bool, beats.last)),
            )
            for name, beats in inputs.items()
        }
        found.append(
            Stimulus(
                unit=unit,
                edge=edge,
                operation=operation.name,
                parameters=written_spec(spec),
                streams=streams,
            )
        )
    return tuple(found)


def load_stimuli(file: Path, key: str) -> tuple[Stimulus, ...] | None:
    """Those kept in `file`; None when it is absent, damaged, or another point's."""
    try:
        kept = Stimuli.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    return kept.found if kept.key == key else None


def save_stimuli(file: Path, key: str, found: tuple[Stimulus, ...]) -> None:
    """Keeps them, written beside first and then renamed."""
    write_text(file, Stimuli(key=key, found=found).model_dump_json())

"""Input vectors by the million for a unit's compiled RTL: every input there is, or directed and seeded ones."""

from collections.abc import Iterator, Mapping

import numpy as np

from reports.registry import Entry
from reports.stimuli import column
from sim.unit import Beats, Unit

EXHAUSTIVE_BITS = 24
"""Widest input, all streams together, of which every value is tried."""
BATCH = 1 << 18
"""Vectors at a time, which bounds memory."""
REPEATS = 32
"""Most times that the stimuli of a unit without `volume` are drawn again."""


def exhaustive(spec: Unit) -> bool:
    """Whether every input can be tried: one beat decides an output, and all of a beat has at most 24 bits."""
    ports = spec.inputs.values()
    bits = sum(port.format.bits * port.lanes for port in ports)
    return not any(port.last for port in ports) and bits <= EXHAUSTIVE_BITS


def volume_batches(
    unit: Entry, spec: Unit, rng: np.random.Generator, vectors: int
) -> Iterator[Mapping[str, Beats]]:
    """The unit's directed stimuli, then every input there is, or at least `vectors` seeded ones by its `volume`.

    `volume(spec, rng, count)` of a module of reports.units gives about `count` vectors, such that all parts of the
    function are often met. A unit without it has its stimuli drawn again and again, at most `REPEATS` times.
    """
    yield unit.report.stimuli(spec, rng)
    if exhaustive(spec):
        yield from every_input(spec)
        return
    draw, driven = getattr(unit.report, "volume", None), 0
    for _ in range(REPEATS if draw is None else vectors):
        inputs = unit.report.stimuli(spec, rng) if draw is None else draw(spec, rng, min(BATCH, vectors))
        yield inputs
        driven += max(len(beats.last) for beats in inputs.values())
        if driven >= vectors:
            return


def every_input(spec: Unit) -> Iterator[Mapping[str, Beats]]:
    """Every combination of codes of all lanes of all streams, in ascending order."""
    total = sum(port.format.bits * port.lanes for port in spec.inputs.values())
    for start in range(0, 1 << total, BATCH):
        number = np.arange(start, min(start + BATCH, 1 << total))
        inputs, place = {}, 0
        for name, port in spec.inputs.items():
            lanes = []
            for _ in range(port.lanes):
                code = (number >> place) & ((1 << port.format.bits) - 1)
                lanes.append(code - ((code > port.format.max_code) << port.format.bits))
                place += port.format.bits
            inputs[name] = column(lanes[0]) if port.lanes == 1 else _lanes(lanes)
        yield inputs


def _lanes(lanes: list[np.ndarray]) -> Beats:
    codes = np.stack(lanes, axis=1)
    return Beats(codes, np.ones(len(codes), np.bool_))

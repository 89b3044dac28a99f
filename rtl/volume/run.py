"""A unit's RTL, as a compiled library, against its spec's bits and cycles on millions of vectors."""

import ctypes
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtl.cosim import wheel
from rtl.cosim.failing import input_of
from rtl.stream import StreamUnit
from rtl.volume.library import build
from rtl.volume.words import Words, payload, words_of
from sim.unit import Beats

SPARE = 16
"""Beats more than are due that are kept for a message."""
BEFORE, AFTER = 500, 50
"""Cycles of a waveform before and after the failing one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What the library found for one spec."""

    library: str
    """Name and version of what compiled it."""
    vectors: int
    """Input vectors: beats of the busiest input."""
    exhaustive: bool
    """Every input there is was among them."""
    beats: int
    """Output beats the model states: the distinct ones compared."""
    cycles: int
    """Clock cycles simulated."""
    mismatches: int
    cycle_mismatches: int
    protocol_errors: int
    first_failure: str | None
    """One line: test, stream, beat, what it is and what it should be, and the input that it came from."""
    seconds: float
    waveform: Path | None
    """VCD around the first failure."""

    @property
    def passed(self) -> bool:
        """True when nothing was found."""
        return self.first_failure is None


class _Stream(ctypes.Structure):
    _fields_ = (
        ("payload", ctypes.c_void_p),
        ("cycles", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("room", ctypes.c_int64),
        ("moved", ctypes.c_int64),
    )


class _Run(ctypes.Structure):
    _fields_ = (
        ("cycles", ctypes.c_int64),
        ("protocol_errors", ctypes.c_int64),
        ("error_cycle", ctypes.c_int64),
        ("error_stream", ctypes.c_int32),
        ("hang", ctypes.c_int32),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Cycles of a run of which a waveform is wanted."""

    file: Path
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What crossed one stream in a run."""

    words: Words
    """Payloads: those offered, or those that came, up to `SPARE` more than were due."""
    cycles: NDArray[np.int64]
    """Cycle of each of these beats."""
    count: int
    """Beats that moved."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One run: all streams, and what was found about them on the way."""

    streams: Mapping[str, Moved]
    cycles: int
    protocol_errors: int
    first_error: tuple[str, int] | None
    """Stream and cycle of the first broken rule."""
    hang: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Input vectors and what is due for them."""

    inputs: Mapping[str, Beats]
    due: Mapping[str, Words]
    """Payloads of every stream."""
    cycles: Mapping[str, NDArray[np.int64]]
    """Cycle of every handshake when nobody stalls."""

    @classmethod
    def of(cls, component: StreamUnit, inputs: Mapping[str, Beats]) -> "Batch":
        """The model's answer to `inputs`."""
        spec = component.spec
        beats = dict(inputs) | spec.run(**inputs)
        ports = dict(spec.inputs) | dict(spec.outputs)
        due = {name: words_of(beats[name], port) for name, port in ports.items()}
        return cls(inputs, due, spec.timing(**inputs))

    @property
    def patience(self) -> int:
        """Twice the longest silence the model knows, and a margin for a stretch of nearly permanent stalls."""
        moves = np.unique(np.concatenate(list(self.cycles.values())))
        return 2 * int(np.diff(moves).max(initial=1)) + 1000


@dataclass(slots=True)
class _Failure:
    """The first thing wrong in a run."""

    text: str
    cycle: int
    place: tuple[str, int] | None


def run_volume(
    component: StreamUnit,
    batches: Iterable[Mapping[str, Beats]],
    folder: Path,
    cache: Path,
    *,
    seed: int,
    exhaustive: bool,
    waves: bool = True,
) -> Volume:
    """Every batch twice, from reset: without stalls, bits and cycles; with random ones, bits and handshake rules.

    `cache` keeps libraries from one call to the next. On a failure `folder` gets a waveform of the cycles around the
    first one, unless `waves` is off. Raises UserError when the tools to build a library are missing.
    """
    began = time.monotonic()
    library = build(component, cache)
    counts = dict.fromkeys(
        ("mismatches", "cycle_mismatches", "protocol_errors", "cycles", "beats", "vectors"), 0
    )
    first, waveform = None, None
    for number, inputs in enumerate(batches):
        batch = Batch.of(component, inputs)
        counts["vectors"] += max(len(beats.last) for beats in inputs.values())
        counts["beats"] += sum(len(batch.due[name]) for name in component.spec.outputs)
        for test, stalls in (("without stalls", 0), ("with stalls", seed + 1)):
            transfer = run(library, component, batch, stalls)
            failure = _compare(component, batch, transfer, counts, timed=not stalls)
            if failure is not None and first is None:
                first = _line(component, batch, failure, f"volume {test}, batch {number}")
                if waves:
                    waveform = _waveform(component, batch, stalls, failure.cycle, folder, cache)
    return Volume(
        library=wheel.version(),
        exhaustive=exhaustive,
        first_failure=first,
        seconds=time.monotonic() - began,
        waveform=waveform,
        **counts,
    )


def _waveform(component: StreamUnit, batch: Batch, seed: int, cycle: int, folder: Path, cache: Path) -> Path:
    """The run again, with a VCD of the cycles around `cycle`."""
    folder.mkdir(parents=True, exist_ok=True)
    window = Window(file=folder.resolve() / "volume.vcd", start=max(cycle - BEFORE, 0), stop=cycle + AFTER)
    run(build(component, cache, waves=True), component, batch, seed, window)
    return window.file


def run(
    library: ctypes.CDLL, component: StreamUnit, batch: Batch, seed: int, window: Window | None = None
) -> Transfer:
    """Moves the batch once; `seed` 0: nobody stalls. `window` takes a library built with waves."""
    spec = component.spec
    streams = (_Stream * len(batch.due))()
    words, cycles = {}, {}
    for stream, (name, due) in zip(streams, batch.due.items(), strict=True):
        room = len(due) + (SPARE if name in spec.outputs else 0)
        words[name] = due if name in spec.inputs else np.zeros((room, due.shape[1]), np.uint32)
        cycles[name] = np.zeros(room, np.int64)
        stream.payload, stream.cycles = words[name].ctypes.data, cycles[name].ctypes.data
        stream.count, stream.room = len(due), room
    result = _Run()
    file = str(window.file).encode() if window else None
    ends = (window.start, window.stop) if window else (0, 0)
    library.unit_run(
        streams, ctypes.byref(result), ctypes.c_uint64(seed), ctypes.c_int64(batch.patience), file,
        *map(ctypes.c_int64, ends),
    )  # fmt: skip
    moved = {
        name: Moved(words[name], cycles[name][: stream.moved], stream.moved)
        for stream, name in zip(streams, batch.due, strict=True)
    }
    broken = (list(batch.due)[result.error_stream], result.error_cycle) if result.protocol_errors else None
    return Transfer(moved, result.cycles, result.protocol_errors, broken, bool(result.hang))


def _compare(
    component: StreamUnit, batch: Batch, transfer: Transfer, counts: dict[str, int], *, timed: bool
) -> _Failure | None:
    """Adds to the counts what differs; the first failure, in the order: rules, bits, a hang, cycles."""
    counts["cycles"] += transfer.cycles
    counts["protocol_errors"] += transfer.protocol_errors
    found = []
    if transfer.first_error is not None:
        stream, cycle = transfer.first_error
        found.append(_Failure(f"{stream} withdrew or changed an offered beat in cycle {cycle}", cycle, None))
    for name in component.spec.outputs:
        found += _differing(name, batch.due[name], transfer.streams[name], counts)
    if transfer.hang:
        moved = transfer.streams.items()
        told = ", ".join(f"{name} moved {s.count} of {len(batch.due[name])} beats" for name, s in moved)
        found.append(_Failure(f"no handshake for {batch.patience} cycles: {told}", transfer.cycles, None))
    if timed:
        found += _mistimed(component, batch, transfer, counts)
    return found[0] if found else None


def _differing(name: str, due: Words, moved: Moved, counts: dict[str, int]) -> list[_Failure]:
    """Beats of one output whose payload is not the one due, and those beyond the last."""
    here = min(len(due), moved.count)
    wrong = np.flatnonzero((moved.words[:here] != due[:here]).any(axis=1))
    extra = max(moved.count - len(due), 0)
    counts["mismatches"] += len(wrong) + extra
    if len(wrong):
        beat, cycle = int(wrong[0]), int(moved.cycles[wrong[0]])
        got, wanted = payload(moved.words[beat]), payload(due[beat])
        return [
            _Failure(
                f"{name} beat {beat} is {got:#x}, not {wanted:#x}, in cycle {cycle}", cycle, (name, beat)
            )
        ]
    if extra:
        cycle = int(moved.cycles[len(due)])
        got = payload(moved.words[len(due)])
        return [
            _Failure(f"{name} gave beat {len(due)} = {got:#x} in cycle {cycle}, but none is due", cycle, None)
        ]
    return []


def _mistimed(
    component: StreamUnit, batch: Batch, transfer: Transfer, counts: dict[str, int]
) -> list[_Failure]:
    """Handshakes in another cycle than the model's, counted from the first one, and those that never came."""
    starts = [moved.cycles[0] for moved in transfer.streams.values() if moved.count]
    start, found = int(min(starts, default=0)), []
    for name, moved in transfer.streams.items():
        due = batch.cycles[name]
        here = min(len(due), len(moved.cycles))
        wrong = np.flatnonzero(moved.cycles[:here] - start != due[:here])
        counts["cycle_mismatches"] += len(wrong) + len(due) - here
        if len(wrong):
            beat, cycle = int(wrong[0]), int(moved.cycles[wrong[0]])
            place = (name, beat) if name in component.spec.outputs else None
            text = f"{name} beat {beat} moved in cycle {cycle - start}, not {due[beat]}"
            found.append(_Failure(text, cycle, place))
    return found


def _line(component: StreamUnit, batch: Batch, failure: _Failure, test: str) -> str:
    """The failure in one line, with its input."""
    source = input_of(component.spec, batch.inputs, *failure.place) if failure.place else ""
    return f"{test}: {failure.text}" + (f"; {source}" if source else "")

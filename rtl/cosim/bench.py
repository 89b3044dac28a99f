"""The one bench of all units; cocotb loads it inside the simulator. It needs only numpy and cocotb.

It reads `vectors.npz` (plusarg `vectors`) and writes what it saw to `findings.json` beside it. Three tests:
bits under random stalls on every stream; bits and the cycle of every handshake without stalls; both again
after a reset in mid-row. A stream that moves no more is a finding, not a hang.
"""

import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

QUIET_CYCLES = 32
"""Cycles watched after the last expected beat: nothing more may come."""


@dataclass
class Findings:
    """What one test saw."""

    compared: int = 0
    mismatches: int = 0
    cycle_mismatches: int = 0
    protocol_errors: int = 0
    cycles: int = 0
    hang: str | None = None
    first: str | None = None
    place: tuple[str, int] | None = None
    """Output stream and beat of the first finding, where it is about one."""

    def note(self, text: str, place: tuple[str, int] | None = None) -> None:
        """Keeps the first finding."""
        if self.first is None:
            self.first, self.place = text, place

    @property
    def clean(self) -> bool:
        """True when nothing was found."""
        return self.first is None


@dataclass
class Vectors:
    """Beats of each stream as one integer each, the cycle each should move in, and how to run them."""

    directions: dict[str, str]
    beats: dict[str, list[int]]
    cycles: dict[str, list[int]]
    seed: int
    patience: int
    resets: list[int]

    @classmethod
    def read(cls, part: str = "") -> "Vectors":
        """Vectors of the file the runner named; `part` "few_": the first rows only."""
        with np.load(Path(str(cocotb.plusargs["vectors"]))) as file:
            about = json.loads(str(file["about"]))
            names = about["directions"]
            beats = {name: [int(word, 16) for word in file[f"{name}.{part}beats"]] for name in names}
            cycles = {name: file[f"{name}.{part}cycles"].tolist() for name in names}
        return cls(beats=beats, cycles=cycles, **about)


class Stalls:
    """Random pauses in stretches of one rate: none, some, nearly always, and `ready` only after `valid`."""

    def __init__(self, rng: random.Random | None) -> None:
        self.rng, self.left, self.rate, self.patient = rng, 0, 0.0, False

    def pause(self, offered: bool) -> bool:
        """Whether to pause in this cycle; `offered`: the other side was seen to wait."""
        if self.rng is None:
            return False
        if self.left and self.patient and not offered:
            return True  # for as long as it takes: a unit whose valid waits for ready would wait for ever
        if not self.left:
            self.left = self.rng.randint(1, 48)
            self.rate = self.rng.choice((0.0, 0.3, 0.5, 0.9))
            self.patient = self.rng.random() < 0.3
        self.left -= 1
        return self.rng.random() < self.rate


@dataclass
class Stream:
    """One stream of the unit, driven or taken from; one call of `drive` and of `sample` per cycle."""

    name: str
    dut: Any
    beats: list[int]
    stalls: Stalls
    findings: Findings
    moved: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.valid, self.payload, self.ready = (
            getattr(self.dut, f"{self.name}__{signal}") for signal in ("valid", "payload", "ready")
        )

    @property
    def done(self) -> bool:
        """All expected beats have moved."""
        return len(self.moved) >= len(self.beats)

    def bad_level(self, signal: str, cycle: int) -> bool:
        """Notes a `valid` or `ready` that is neither 0 nor 1."""
        if getattr(self, signal).value.is_resolvable:
            return False
        self.findings.protocol_errors += 1
        self.findings.note(f"{self.name}.{signal} is undefined in cycle {cycle}")
        return True


@dataclass
class Source(Stream):
    """Offers every beat and holds it until it is taken; never waits for `ready`."""

    offering: bool = False

    def drive(self) -> None:
        """Offers the next beat unless pausing."""
        if not self.offering:
            self.offering = not self.done and not self.stalls.pause(True)
            self.valid.value = int(self.offering)
            if self.offering:
                self.payload.value = self.beats[len(self.moved)]

    def sample(self, cycle: int) -> None:
        """Notes whether the beat is taken in this cycle."""
        if not self.bad_level("ready", cycle) and self.offering and self.ready.value == 1:
            self.moved.append(cycle)
            self.offering = False


@dataclass
class Sink(Stream):
    """Takes beats and compares each; an offered beat must stay, unchanged, until it is taken."""

    waiting: int | None = None

    def drive(self) -> None:
        """Is ready unless pausing."""
        self.ready.value = int(not self.stalls.pause(self.waiting is not None))

    def sample(self, cycle: int) -> None:
        """Checks the handshake's rules and compares a beat taken in this cycle."""
        if self.bad_level("valid", cycle):
            return
        if self.valid.value == 0:
            self._rule(self.waiting is None, f"dropped valid in cycle {cycle} before ready")
            self.waiting = None
            return
        if not self.payload.value.is_resolvable:
            self._rule(False, f"payload is undefined in cycle {cycle}: {self.payload.value}")
            return
        now = int(self.payload.value.to_unsigned())
        self._rule(self.waiting in (None, now), f"changed its payload in cycle {cycle} while stalled")
        self.waiting = now
        if self.ready.value == 1:
            self._compare(now, cycle)
            self.waiting = None

    def _rule(self, kept: bool, broken: str) -> None:
        if not kept:
            self.findings.protocol_errors += 1
            self.findings.note(f"{self.name} {broken}")

    def _compare(self, now: int, cycle: int) -> None:
        beat = len(self.moved)
        self.moved.append(cycle)
        self.findings.compared += 1
        if beat >= len(self.beats):
            self.findings.mismatches += 1
            self.findings.note(f"{self.name} gave beat {beat} = {now:#x} in cycle {cycle}, but none is due")
        elif now != self.beats[beat]:
            self.findings.mismatches += 1
            due = self.beats[beat]
            text = f"{self.name} beat {beat} is {now:#x}, not {due:#x}, in cycle {cycle}"
            self.findings.note(text, (self.name, beat))


def streams(dut: Any, vectors: Vectors, findings: Findings, seed: int | None) -> list[Source | Sink]:
    """One source or sink per stream, each with stalls of its own; `seed` None: nobody stalls."""
    made: list[Source | Sink] = []
    for n, (name, direction) in enumerate(vectors.directions.items()):
        stalls = Stalls(None if seed is None else random.Random(seed * 1000 + n))
        kind = Source if direction == "in" else Sink
        made.append(kind(name=name, dut=dut, beats=vectors.beats[name], stalls=stalls, findings=findings))
    return made


async def reset(dut: Any, cycles: int = 2) -> None:
    """Holds `rst` for `cycles` rising edges; the streams keep what they drive, nothing may come of it."""
    dut.rst.value = 1
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


async def start(dut: Any, vectors: Vectors) -> None:
    """Starts the clock, drives every input to a known level and resets."""
    Clock(dut.clk, 10, "ns").start()
    for name, direction in vectors.directions.items():
        getattr(dut, f"{name}__{'valid' if direction == 'in' else 'ready'}").value = 0
        if direction == "in":
            getattr(dut, f"{name}__payload").value = 0
    await reset(dut)


async def transfer(
    dut: Any, vectors: Vectors, findings: Findings, seed: int | None, stop: int | None = None
) -> dict[str, list[int]]:
    """Moves all beats and returns the cycle of each; gives up after `patience` cycles without a handshake.

    `stop`: leaves in that cycle, for a reset.
    """
    ends, cycle, last_move, moved = streams(dut, vectors, findings, seed), 0, 0, 0
    while cycle != stop:
        for end in ends:
            end.drive()
        await ReadOnly()
        for end in ends:
            end.sample(cycle)
        await RisingEdge(dut.clk)
        cycle += 1
        total = sum(len(end.moved) for end in ends)
        if total != moved:
            moved, last_move = total, cycle
        done = all(end.done for end in ends)
        if done and cycle - last_move >= QUIET_CYCLES:
            break
        if not done and cycle - last_move > vectors.patience:
            counts = ", ".join(f"{end.name} moved {len(end.moved)} of {len(end.beats)} beats" for end in ends)
            findings.hang = f"no handshake for {vectors.patience} cycles: {counts}"
            findings.note(findings.hang)
            break
    findings.cycles += cycle
    return {end.name: end.moved for end in ends}


def compare_cycles(vectors: Vectors, moved: dict[str, list[int]], findings: Findings) -> None:
    """Compares the cycle of every handshake, counted from the first one."""
    first = min((cycles[0] for cycles in moved.values() if cycles), default=0)
    for name, cycles in moved.items():
        for beat, (cycle, due) in enumerate(zip(cycles, vectors.cycles[name], strict=False)):
            if cycle - first != due:
                findings.cycle_mismatches += 1
                place = (name, beat) if vectors.directions[name] == "out" else None
                findings.note(f"{name} beat {beat} moved in cycle {cycle - first}, not {due}", place)
        missing = len(vectors.cycles[name]) - len(cycles)
        findings.cycle_mismatches += max(missing, 0)


def conclude(test: str, findings: Findings) -> None:
    """Adds the findings to `findings.json`; raises when there are any."""
    path = Path(str(cocotb.plusargs["vectors"])).with_name("findings.json")
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {test: asdict(findings)}, indent=1))
    if not findings.clean:
        raise AssertionError(findings.first)


@cocotb.test()  # type: ignore[untyped-decorator]
async def bits_with_stalls(dut: Any) -> None:
    """Every beat is the model's, and the handshake's rules hold, under random stalls on every stream."""
    vectors, findings = Vectors.read(), Findings()
    await start(dut, vectors)
    await transfer(dut, vectors, findings, vectors.seed)
    conclude("bits_with_stalls", findings)


@cocotb.test()  # type: ignore[untyped-decorator]
async def bits_and_cycles_without_stalls(dut: Any) -> None:
    """Every beat is the model's and moves in the model's cycle when nobody stalls."""
    vectors, findings = Vectors.read(), Findings()
    await start(dut, vectors)
    compare_cycles(vectors, await transfer(dut, vectors, findings, None), findings)
    conclude("bits_and_cycles_without_stalls", findings)


@cocotb.test()  # type: ignore[untyped-decorator]
async def bits_and_cycles_after_reset(dut: Any) -> None:
    """A reset in any phase of a row leaves nothing behind: the next rows' bits and cycles are the model's."""
    vectors, few, findings = Vectors.read(), Vectors.read("few_"), Findings()
    await start(dut, vectors)
    for stop in vectors.resets:
        await transfer(dut, vectors, findings, None, stop)
        await reset(dut)
        compare_cycles(few, await transfer(dut, few, findings, None), findings)
        await reset(dut)
    conclude("bits_and_cycles_after_reset", findings)

"""Timing of several pieces of work that take turns, so that what slows the machine for a while slows them all."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """What the repetitions of one piece of work took, in seconds."""

    seconds: tuple[float, ...]

    def row(self) -> dict[str, Any]:
        """Fields of a timed row: the median and both ends."""
        return {
            "seconds": statistics.median(self.seconds),
            "repetitions": len(self.seconds),
            "fastest": min(self.seconds),
            "slowest": max(self.seconds),
        }


def elapsed(work: Work) -> float:
    """Seconds that `work` takes once."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def take_turns(
    works: Mapping[str, Work], repetitions: int, advance: Callable[[int], None] = lambda _: None
) -> dict[str, Timing]:
    """Times `works` one after the other, `repetitions` times over, after one round that does not count.

    `advance` is called after every piece of work.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(repetitions + 1):
        for name, work in works.items():
            seconds = elapsed(work)
            if number:
                found[name].append(seconds)
            advance(1)
    return {name: Timing(tuple(seconds)) for name, seconds in found.items()}

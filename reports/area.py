"""Area rows of results: units synthesised for every target, some at a time, failures told apart from zeros."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from golden.errors import InvariantError
from reports.progress import bar, console
from reports.results import UnitArea
from reports.synthesis import Area, Job, SynthesisError, Target, synthesize_all
from sim.unit import Unit

TARGETS: tuple[Target, ...] = ("ecp5", "xcup")
"""Targets of the results' area table: an open one with a clock rate, and one to compare with other work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaPoint:
    """One unit at one parameter set."""

    unit: str
    label: str
    spec: Unit


def measure_points(
    points: Sequence[AreaPoint], cache: Path, parallel: int, targets: Sequence[Target] = TARGETS
) -> list[UnitArea]:
    """Rows for every point on every FPGA target; a point that a tool fails on is named on the terminal and left out."""
    pairs = [
        (point, Job(unit=point.unit, spec=point.spec, target=target))
        for point in points
        for target in targets
    ]
    jobs = list(dict.fromkeys(job for _, job in pairs))
    areas = {}
    with bar("synthesis, place and route", len(jobs)) as advance:
        for job, found in synthesize_all(jobs, cache, parallel, advance):
            if isinstance(found, SynthesisError):
                console.print(f"[red]{escape(str(found))}[/red]", highlight=False)
            else:
                areas[job] = found
    return [_row(point, areas[job]) for point, job in pairs if job in areas]


def _whole(amount: float | None) -> int | None:
    """`amount` as the integer that it is; only block RAMs come in halves."""
    if amount is None:
        return None
    if amount != int(amount):
        raise InvariantError(f"a count of cells is {amount}")
    return int(amount)


def _row(point: AreaPoint, area: Area) -> UnitArea:
    return UnitArea(
        unit=point.unit,
        spec=point.label,
        target=area.target,
        luts=_whole(area.luts),
        ffs=_whole(area.flip_flops),
        dsps=_whole(area.dsps),
        brams=area.block_rams,
        carries=_whole(area.carries),
        fmax_mhz=area.fmax_mhz,
        tools=area.versions,
        flags=area.flags,
    )

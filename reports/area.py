"""Area rows of results: units synthesised for every target, some at a time, failures told apart from zeros."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from golden.errors import InvariantError
from reports.progress import console, track
from reports.results import UnitArea
from reports.synthesis import Area, SynthesisError, Target, synthesize
from sim.unit import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaPoint:
    """One unit at one parameter set."""

    unit: str
    label: str
    spec: Unit


def measure_points(points: Sequence[AreaPoint], cache: Path, parallel: int) -> list[UnitArea]:
    """Rows for every point on every target; a point that a tool fails on is named on the terminal and left out."""
    jobs = [(point, target) for point in points for target in get_args(Target)]
    with ThreadPoolExecutor(parallel) as pool:
        found = pool.map(lambda job: _measured(job[0], job[1], cache), jobs)
        rows = list(track("synthesis, place and route", found, len(jobs)))
    return [row for row in rows if row is not None]


def _measured(point: AreaPoint, target: Target, cache: Path) -> UnitArea | None:
    try:
        return _row(point, synthesize(point.unit, point.spec, target, cache))
    except SynthesisError as error:
        console.print(f"[red]{point.unit}, {point.label} on {target}[/red]: {error}", highlight=False)
        return None


def _whole(amount: float) -> int:
    """`amount` as the integer that it is; only block RAMs come in halves."""
    if amount != int(amount):
        raise InvariantError(f"a count of cells is {amount}")
    return int(amount)


def _row(point: AreaPoint, area: Area) -> UnitArea:
    versions = {tool: text.partition(": ") for tool, text in area.tools.items()}
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
        tools=", ".join(f"{tool} {version}" for tool, (version, _, _) in versions.items()),
        flags="; ".join(f"{tool} {flags}" for tool, (_, _, flags) in versions.items()),
    )

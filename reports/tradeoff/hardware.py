"""From what programs need to what accelerators cost: each different parameter set synthesised once, then multiplied."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.markup import escape

from reports.progress import bar, console
from reports.registry import entry
from reports.synthesis import Area, Job, SynthesisError, Target, synthesize_all
from reports.tradeoff.comparison import Comparison, ComparisonJob, compare_all
from reports.tradeoff.needs import Need, fit
from reports.tradeoff.points import SweptPoint
from reports.tradeoff.rows import DesignPart
from reports.tradeoff.status import Status, statuses
from reports.verification_rows import UnitVerification
from sim.accelerator import Accelerator
from sim.unit import Unit


class Wanted(Protocol):
    """What of a request decides the areas."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """Families to synthesise for."""

    @property
    def liberty(self) -> Path | None:
        """Cells of target asic."""

    @property
    def cache(self) -> Path:
        """Folder of synthesis results."""

    @property
    def processes(self) -> int:
        """Tools at a time."""

    @property
    def verify(self) -> bool:
        """Whether the RTL of what is synthesised is compared with its model."""

    @property
    def verification(self) -> tuple[UnitVerification, ...]:
        """Comparisons made before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """Every design on every target."""

    parts: Mapping[tuple[str, Target], tuple[DesignPart, ...]]
    """By run and target."""
    failures: tuple[str, ...]
    """One line for every parameter set that a tool failed on."""
    mismatches: tuple[str, ...] = ()
    """One line for every one whose RTL differs from its model."""


def fitted(
    points: Mapping[str, SweptPoint], accelerators: Mapping[str, Accelerator], wanted: Wanted
) -> Fitting:
    """Synthesises what the points need on the accelerators; what fails is said aloud and costs nothing else."""
    needs = {
        design_label(label, name, accelerators): fit(point.needs, accelerator)
        for label, point in points.items()
        for name, accelerator in accelerators.items()
    }
    specs = {(need.unit, need.spec) for fitting in needs.values() for need, _ in fitting}
    found = _synthesised(specs, wanted)
    status = statuses(specs, _compared(specs, wanted) if wanted.verify else {}, wanted.verification)
    mismatches = tuple(dict.fromkeys(one.mismatch for one in status.values() if one.mismatch))
    for text in mismatches:
        console.print(f"[red]RTL differs from its model[/red]: {escape(text)}", highlight=False)
    parts = {
        (run, target): tuple(
            _part(run, need, count, target, found[need.unit, need.spec, target], status[need.unit, need.spec])
            for need, count in fitting
        )
        for run, fitting in needs.items()
        for target in wanted.targets
    }
    failed = {
        (unit, str(error)): None for (unit, _, _), error in found.items() if isinstance(error, SynthesisError)
    }
    return Fitting(parts=parts, failures=tuple(text for _, text in failed), mismatches=mismatches)


def design_label(run: str, accelerator: str, accelerators: Mapping[str, Accelerator]) -> str:
    """The run's label, with the accelerator where there are several."""
    return run if len(accelerators) == 1 else f"{run} on {accelerator}"


def _synthesised(
    wanted_specs: set[tuple[str, Unit]], wanted: Wanted
) -> dict[tuple[str, Unit, Target], Area | SynthesisError]:
    """Area of every parameter set on every target."""
    jobs = [
        Job(unit=unit, spec=spec, target=target, liberty=wanted.liberty if target == "asic" else None)
        for target in wanted.targets
        for unit, spec in _ordered(wanted_specs)
    ]
    found: dict[tuple[str, Unit, Target], Area | SynthesisError] = {}
    told: set[str] = set()  # a full disk fails many with one cause, which takes one line
    with bar("synthesis, place and route", len(jobs)) as advance:
        for job, area in synthesize_all(jobs, wanted.cache, wanted.processes, advance):
            found[job.unit, job.spec, job.target] = area
            if isinstance(area, SynthesisError) and str(area) not in told:
                told.add(str(area))
                console.print(f"[red]no area[/red]: {escape(str(area))}", highlight=False)
    return found


def _compared(
    specs: set[tuple[str, Unit]], wanted: Wanted
) -> dict[tuple[str, Unit], Comparison | SynthesisError]:
    """RTL of every parameter set against its model."""
    jobs = [ComparisonJob(unit=unit, spec=spec) for unit, spec in _ordered(specs)]
    found: dict[tuple[str, Unit], Comparison | SynthesisError] = {}
    told: set[str] = set()
    with bar("RTL against its model", len(jobs)) as advance:
        for job, comparison in compare_all(jobs, wanted.cache, wanted.processes, advance):
            found[job.unit, job.spec] = comparison
            if isinstance(comparison, SynthesisError) and str(comparison) not in told:
                told.add(str(comparison))
                console.print(f"[red]not compared[/red]: {escape(str(comparison))}", highlight=False)
    return found


def _ordered(specs: set[tuple[str, Unit]]) -> list[tuple[str, Unit]]:
    return sorted(specs, key=lambda one: (one[0], repr(one[1])))


def _part(
    run: str, need: Need, count: int, target: Target, area: Area | SynthesisError, status: Status
) -> DesignPart:
    common: dict[str, Any] = {
        "run": run,
        "unit": need.unit,
        "edge": need.edge,
        "spec": entry(need.unit).report.label(need.spec),
        "specs": need.specs,
        "copies": count,
        "operations": need.operations,
        "target": target,
        "verified": status.verified,
        "verified_unit": status.verified_unit,
        "mismatch": status.mismatch,
    }
    if isinstance(area, SynthesisError):
        return DesignPart(**common, failure=str(area))
    return DesignPart(
        **common,
        luts=area.luts,
        ffs=area.flip_flops,
        dsps=area.dsps,
        brams=area.block_rams,
        carries=area.carries,
        area_um2=area.area_um2,
        nand2=area.nand2,
        fmax_mhz=area.fmax_mhz,
        tools=area.versions,
        flags=area.flags,
    )

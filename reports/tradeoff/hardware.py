"""From what programs need to what accelerators cost: each different parameter set synthesised once, then multiplied."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.markup import escape

from reports.progress import bar, console
from reports.registry import entry
from reports.synthesis import Area, Job, SynthesisError, Target, synthesize_all
from reports.tradeoff.needs import Need, fit
from reports.tradeoff.points import SweptPoint
from reports.tradeoff.rows import DesignPart
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """Every design on every target."""

    parts: Mapping[tuple[str, Target], tuple[DesignPart, ...]]
    """By run and target."""
    failures: tuple[str, ...]
    """One line for every parameter set that a tool failed on."""


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
    parts = {
        (run, target): tuple(
            _part(run, need, count, target, found[need.unit, need.spec, target]) for need, count in fitting
        )
        for run, fitting in needs.items()
        for target in wanted.targets
    }
    failed = {
        (unit, str(error)): None for (unit, _, _), error in found.items() if isinstance(error, SynthesisError)
    }
    return Fitting(parts=parts, failures=tuple(text for _, text in failed))


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
        for unit, spec in sorted(wanted_specs, key=lambda one: (one[0], repr(one[1])))
    ]
    found: dict[tuple[str, Unit, Target], Area | SynthesisError] = {}
    with bar("synthesis, place and route", len(jobs)) as advance:
        for job, area in synthesize_all(jobs, wanted.cache, wanted.processes, advance):
            found[job.unit, job.spec, job.target] = area
            if isinstance(area, SynthesisError):
                console.print(f"[red]no area[/red]: {escape(str(area))}", highlight=False)
    return found


def _part(run: str, need: Need, count: int, target: Target, area: Area | SynthesisError) -> DesignPart:
    common: dict[str, Any] = {
        "run": run,
        "unit": need.unit,
        "edge": need.edge,
        "spec": entry(need.unit).report.label(need.spec),
        "specs": need.specs,
        "copies": count,
        "operations": need.operations,
        "target": target,
    }
    if isinstance(area, SynthesisError):
        return DesignPart(**common, failure=str(area))
    versions = {tool: text.partition(": ") for tool, text in area.tools.items()}
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
        tools=", ".join(f"{tool} {version}" for tool, (version, _, _) in versions.items()),
        flags="; ".join(f"{tool} {flags}" for tool, (_, _, flags) in versions.items()),
    )

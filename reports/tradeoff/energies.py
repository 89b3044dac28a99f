"""Relative energy of a design's multiply-accumulators and attention units on real inputs of its own program."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.markup import escape

from reports.energy import Energy, EnergyJob, energies
from reports.progress import bar, console
from reports.synthesis import SynthesisError
from reports.tables import LayerCycles
from reports.tradeoff.hardware import Fitting
from reports.tradeoff.rows import DesignPart
from reports.tradeoff.stimuli import Stimulus
from sim.accelerator import Accelerator, is_edge

Kind = tuple[str, bool]
"""Unit, and whether outside the blocks."""


def with_energies(
    fitting: Fitting,
    stimuli: Mapping[str, tuple[Stimulus, ...]],
    liberty: Path,
    cache: Path,
    processes: int,
) -> Fitting:
    """The fitting with an energy per operation on the parts of target asic; `stimuli` by design.

    What cannot be measured is said aloud, has no energy, and costs nothing else.
    """
    # Designs that differ in their accelerator alone share their stimuli, hence one measurement.
    jobs = {
        id(one): EnergyJob(unit=one.unit, spec=one.spec, inputs=one.inputs, liberty=liberty)
        for found in stimuli.values()
        for one in found
    }
    known: dict[int, Energy | SynthesisError] = {}
    names = {id(job): name for name, job in jobs.items()}
    with bar("energy on real inputs", len(jobs)) as advance:
        for job, energy in energies(list(jobs.values()), cache, processes, advance):
            known[names[id(job)]] = energy
    failed = dict.fromkeys(str(found) for found in known.values() if isinstance(found, SynthesisError))
    for text in failed:
        console.print(f"[red]no energy[/red]: {escape(text)}", highlight=False)
    parts = {
        (run, target): tuple(
            part.model_copy(update={"energy": _energy(part, stimuli.get(run, ()), known)})
            if target == "asic"
            else part
            for part in found
        )
        for (run, target), found in fitting.parts.items()
    }
    return replace(fitting, parts=parts, failures=(*fitting.failures, *failed))


def _energy(
    part: DesignPart, stimuli: Sequence[Stimulus], known: Mapping[int, Energy | SynthesisError]
) -> float | None:
    """pJ per operation; a part that serves both is measured in the blocks."""
    own = sorted((one for one in stimuli if one.unit == part.unit), key=lambda one: one.edge != part.edge)
    found = known.get(id(own[0])) if own else None
    if not isinstance(found, Energy) or part.failure is not None:
        return None
    return found.pj_per_operation / next(iter(own[0].spec.inputs.values())).lanes


def operations_of(
    parts: Sequence[DesignPart], rows: Sequence[LayerCycles], accelerator: Accelerator
) -> list[int]:
    """Operations of an image that run on each of `parts`, by the cycles' rows of the design."""
    return [
        sum(
            row.operations or 0
            for row in rows
            if row.unit == part.unit and part.edge == (is_edge(row.layer) and row.unit in accelerator.edge)
        )
        for part in parts
    ]

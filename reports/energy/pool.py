"""Energies of many units: some at a time, each as it ends."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reports.energy.estimate import Energy, energy
from reports.synthesis.area import SynthesisError
from reports.synthesis.pool import each_in_process
from reports.synthesis.tools import TIMEOUT_S
from sim.unit import Beats, Unit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnergyJob:
    """One unit with one parameter set on one set of inputs; equal only to itself, as arrays have no one equality."""

    unit: str
    spec: Unit
    inputs: Mapping[str, Beats]
    liberty: Path
    timeout: float = TIMEOUT_S
    """Longest run of one of its tools, in seconds."""

    @property
    def title(self) -> str:
        """What is measured."""
        return f"energy of {self.unit}"


def energies(
    jobs: Sequence[EnergyJob], cache: Path, processes: int, progress: Callable[[int], None] | None = None
) -> Iterator[tuple[EnergyJob, Energy | SynthesisError]]:
    """Each job with its energy, or with the error that it failed with, as `synthesize_all` does for areas."""
    return each_in_process(jobs, partial(_energy, cache=cache), processes, progress)


def _energy(job: EnergyJob, cache: Path) -> Energy:
    return energy(job.unit, job.spec, job.inputs, job.liberty, cache, job.timeout)

"""Accuracy, cycles and needed hardware of one datapath: a point of the sweep, kept on disk until something changes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from reports.accuracy_point import FOLDER, Cell, Plan, Point, measured
from reports.checkpoint import key_of
from reports.evaluation import Run
from reports.results import LayerCycles
from reports.row import Amount
from reports.tables import slug
from reports.tradeoff.needs import Need, needs_of
from reports.tradeoff.stimuli import Stimulus, load_stimuli, save_stimuli, stimuli_of
from reports.tradeoff.storage import weight_kib
from reports.workload import Workload
from sim.accelerator import Accelerator
from sim.schedule import schedule


class SweptPoint(Point):
    """A point of the accuracy table, and what its program needs of hardware."""

    needs: tuple[Need, ...]
    cycles: dict[str, tuple[LayerCycles, ...]]
    """Accelerator -> cycles of every operation."""
    weight_kib: Amount | None = None
    """Storage of the weights; None in a point of before."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """How points are measured and where they are kept."""

    plan: Plan
    accelerators: Mapping[str, Accelerator]
    """By name; the plan's own is the first."""
    stimuli: bool = False
    """Whether real inputs are kept beside each point, for energies."""

    def key(self, workload: Workload, cell: Cell) -> str:
        """Everything that decides a point."""
        needs = (files("reports") / "tradeoff" / "needs.py").read_text(encoding="utf-8")
        return key_of(self.plan.key(workload, cell), needs, *map(str, self.accelerators.items()))

    def load(self, label: str, key: str) -> SweptPoint | None:
        """The finished point, if it is there and nothing that decides it has changed."""
        return self.plan.load(label, key, SweptPoint)

    def measure(self, workload: Workload, cell: Cell, key: str) -> SweptPoint:
        """Calibrates, lowers and runs all images, and keeps the point.

        Raises:
            UserError: an accelerator lacks a unit that the program runs.
        """
        began, evaluation = time.monotonic(), self.plan.evaluation(workload.with_scheme(cell.scheme))
        run = evaluation.run(cell.bits)
        point = SweptPoint(
            **dict(measured(evaluation, key, time.monotonic() - began)),
            needs=needs_of(run.program),
            weight_kib=weight_kib(run.program),
            cycles={
                name: tuple(
                    LayerCycles(
                        run=cell.bits.label,
                        layer=entry.operation,
                        unit=entry.unit,
                        cycles=entry.cycles,
                        utilisation=float(entry.utilisation),
                        operations=entry.work,
                    )
                    for entry in schedule(run.program, accelerator)
                )
                for name, accelerator in self.accelerators.items()
            },
        )
        self.plan.save(cell.bits.label, point)
        if self.stimuli:
            self._keep(cell, key, run)
        return point

    def stimuli_of(self, workload: Workload, cell: Cell, key: str) -> tuple[Stimulus, ...]:
        """Real inputs of a finished point's units: those kept, else the model is calibrated and lowered again."""
        kept = load_stimuli(self._file(cell), key)
        if kept is not None:
            return kept
        return self._keep(
            cell, key, self.plan.evaluation(workload.with_scheme(cell.scheme)).lowered(cell.bits)
        )

    def _keep(self, cell: Cell, key: str, run: Run) -> tuple[Stimulus, ...]:
        found = stimuli_of(run.program, run.tensors)
        save_stimuli(self._file(cell), key, found)
        return found

    def _file(self, cell: Cell) -> Path:
        return self.plan.out / FOLDER / f"{slug(cell.bits.label)}-stimuli.json"

"""How often accumulators overflowed: the row of the results, and what is said of a whole run."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from pydantic import model_validator

from reports.row import Count, Label, Positive, Row


class Overflow(Row):
    """How many outputs of one operation had a sum that did not fit the accumulator, on the checked images."""

    run: Label
    operation: Label
    """`blocks.0.mlp.fc1_acc`; rows are in the order of execution."""
    unit: Label
    """Registry name of the unit."""
    outputs: Positive
    """Counted; counting none is not a result."""
    overflowed: Count

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.overflowed > self.outputs:
            raise ValueError(f"{self.operation}: {self.overflowed} of {self.outputs} outputs overflowed")
        return self

    @property
    def percent(self) -> float:
        """Share of the outputs that overflowed."""
        return 100 * self.overflowed / self.outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class OverflowRun:
    """Operations of one run whose accumulators may overflow."""

    run: str
    rows: tuple[Overflow, ...]
    """Largest share first; equal ones in the order of execution."""

    @property
    def outputs(self) -> int:
        """Of all operations."""
        return sum(row.outputs for row in self.rows)

    @property
    def overflowed(self) -> int:
        """Of them, how many overflowed."""
        return sum(row.overflowed for row in self.rows)

    @property
    def percent(self) -> float:
        """Share of the outputs that overflowed."""
        return 100 * self.overflowed / self.outputs


def overflow_runs(overflows: Iterable[Overflow]) -> tuple[OverflowRun, ...]:
    """Rows by run, in order of first appearance."""
    rows: dict[str, list[Overflow]] = defaultdict(list)
    for row in overflows:
        rows[row.run].append(row)
    return tuple(
        OverflowRun(run=run, rows=tuple(sorted(of, key=lambda row: -row.percent))) for run, of in rows.items()
    )

"""The rows of verification: RTL of a unit against its model, and the faults planted in its sources."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import model_validator

from reports.row import Count, Label, Row, Seconds

ProofState = Literal["proven", "refuted", "open"]
"""Open: neither proven nor refuted, such as out of time."""


class UnitVerification(Row):
    """RTL of one unit against its simulator model."""

    unit: Label
    spec: Label
    simulator: Label
    """Name and version."""
    rows: Count | None = None
    beats: Count
    """Output vectors compared, in the simulator and in the compiled library."""
    volume: Count | None = None
    """Input vectors of the compiled library; None when it did not run."""
    exhaustive: bool | None = None
    """Whether those are all there are."""
    mismatches: Count | None = None
    """None when the run did not get as far as comparing."""
    cycle_mismatches: Count | None = None
    protocol_errors: Count | None = None
    proof: ProofState | None = None
    """None when none was tried, or the unit has no specification."""
    proof_method: Label | None = None
    seconds: Seconds
    passed: bool
    seed: Count | None = None
    failure: Label | None = None
    """The first failure in a line, with its vector."""
    waveform: Label | None = None
    """File, relative to the results, with the first failure."""
    design: Label | None = None
    """Short name of the parameters, as the unit's sweep and its areas have it; those of a program's operations, too."""
    hardware: Label | None = None
    """SHA-256 of the Verilog that was verified, whose header lists all parameters: equal ones are the same design."""
    sources: Label | None = None
    """SHA-256 of the Python that unit, model and reference are made of (`reports.verification_sources`)."""
    date: Label | None = None
    """Day of the run, as 2026-07-28, UTC."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        counts = (self.mismatches, self.cycle_mismatches, self.protocol_errors)
        if self.passed and (self.beats == 0 or counts != (0, 0, 0)):
            raise ValueError(
                f"{self.unit} cannot have passed with {self.beats} beats compared and "
                f"{counts} mismatches, cycle mismatches and protocol errors"
            )
        if self.passed and self.proof == "refuted":
            raise ValueError(f"{self.unit} cannot have passed with a proof that refutes it")
        return self


class Mutants(Row):
    """Faults planted in one source file, and what became of them."""

    file: Label
    """`rtl/units/softmax.py`."""
    faults: Count
    """There are; more than planted where a sample was asked for."""
    planted: Count
    killed: Count
    equivalent: Count
    """Of the same netlist, or proven to do the same."""
    survivors: tuple[Label, ...]
    """`file:line  change` of each that nothing found."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.killed + self.equivalent + len(self.survivors) != self.planted:
            raise ValueError(f"{self.file}: the verdicts of {self.planted} mutants do not add up")
        return self


def killed_of(mutants: Iterable[Mutants], unit: str) -> str | None:
    """Such as `118 of 121`: killed mutants of the unit's own files, of those that are not equivalent.

    None where none was planted.
    """
    own = [row for row in mutants if row.file.endswith(f"/units/{unit}.py")]
    killed = sum(row.killed for row in own)
    return f"{killed} of {sum(row.planted - row.equivalent for row in own)}" if own else None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTotal:
    """All specs of one unit together; a count that one spec does not know is unknown."""

    unit: str
    specs: int
    vectors: int
    volume: int | None
    mismatches: int | None
    cycle_mismatches: int | None
    proofs: str | None
    """`3 of 3 proven`, of the specs for which a proof was tried; None where there was none."""
    passed: bool


def totals_of(rows: Sequence[UnitVerification]) -> list[UnitTotal]:
    """One total per unit, in order of first appearance."""
    units: dict[str, list[UnitVerification]] = {}
    for row in rows:
        units.setdefault(row.unit, []).append(row)
    return [_total(unit, of_unit) for unit, of_unit in units.items()]


def _total(unit: str, rows: Sequence[UnitVerification]) -> UnitTotal:
    tried = [row.proof for row in rows if row.proof is not None]
    return UnitTotal(
        unit=unit,
        specs=len(rows),
        vectors=sum(row.beats for row in rows),
        volume=_sum(row.volume for row in rows),
        mismatches=_sum(row.mismatches for row in rows),
        cycle_mismatches=_sum(row.cycle_mismatches for row in rows),
        proofs=f"{tried.count('proven')} of {len(tried)} proven" if tried else None,
        passed=all(row.passed for row in rows),
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    found = list(counts)
    known = [count for count in found if count is not None]
    return sum(known) if len(known) == len(found) else None

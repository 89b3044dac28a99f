"""How far the RTL of a design's units was compared with their models: here, or by `vitrtl verify` before."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from reports.registry import entry
from reports.synthesis import SynthesisError
from reports.tradeoff.comparison import Comparison
from reports.verification_rows import UnitVerification
from rtl.cosim.runner import TOP
from rtl.verilog import verilog
from sim.unit import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Of one unit with one parameter set; the fields of `DesignPart` of the same names."""

    verified: int | None = None
    verified_unit: int | None = None
    mismatch: str | None = None


def statuses(
    specs: Iterable[tuple[str, Unit]],
    compared: Mapping[tuple[str, Unit], Comparison | SynthesisError],
    rows: Sequence[UnitVerification],
) -> dict[tuple[str, Unit], Status]:
    """Status of each unit and parameter set, by what was compared here and by `rows`.

    A row speaks for a parameter set when its Verilog is the same; one that does not say what its Verilog was, when its
    label is. Any failure of the unit is a failure of all its sets: what they share is wrong.
    """
    return {(unit, spec): _status(unit, spec, compared.get((unit, spec)), rows) for unit, spec in specs}


def _status(
    unit: str, spec: Unit, here: Comparison | SynthesisError | None, rows: Sequence[UnitVerification]
) -> Status:
    own = [row for row in rows if row.unit == unit]
    failed = [f"{row.unit} {row.spec}: {row.failure or 'failed'}" for row in own if not row.passed]
    known = here if isinstance(here, Comparison) else None
    if known is not None and known.failure:
        failed.insert(0, f"{unit} {entry(unit).report.label(spec)}: {known.failure}")
    if failed:
        return Status(mismatch=failed[0])
    label = entry(unit).report.label(spec)
    same = [row for row in own if (row.design or row.spec) == label and _is(row, unit, spec)]
    vectors = sum(row.beats for row in same) + (known.vectors if known else 0)
    return Status(
        verified=vectors if same or known else None,
        verified_unit=sum(row.beats for row in own) if own else None,
    )


def _is(row: UnitVerification, unit: str, spec: Unit) -> bool:
    return row.hardware is None or row.hardware == _hardware(unit, spec)


@cache
def _hardware(unit: str, spec: Unit) -> str:
    """SHA-256 of the Verilog as `vitrtl verify` writes it."""
    return hashlib.sha256(verilog(entry(unit).component(spec), TOP).encode()).hexdigest()

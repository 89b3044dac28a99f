"""What the page says beyond the tables: totals, shares and verdicts, derived from `Results` for people to read."""

import re
from collections import defaultdict
from dataclasses import dataclass

from reports.results import (
    FLOAT,
    Accuracy,
    Exactness,
    LayerCycles,
    Level,
    Overflow,
    Results,
    UnitArea,
    UnitVerification,
)

LEVELS: dict[Level, str] = {
    "float": "float",
    "fakequant": "fake-quant",
    "fakequant_hardware": "fake-quant, hardware zero",
    "integer": "integer",
}
"""Levels and what they are called on the page, in the order of the line."""

SHORT_LEVELS: dict[Level, str] = LEVELS | {"fakequant_hardware": "hardware zero"}
"""The same where room is short."""

_BLOCK = re.compile(r"^(?:layers\.(\d+)\.)?blocks\.(\d+)\.(.+)$")


def split_block(name: str) -> tuple[str | None, str]:
    """Block index and the name inside the block; no index for what lies outside the encoder blocks.

    >>> split_block("blocks.3.attn.qkv"), split_block("layers.1.blocks.0.mlp.fc1"), split_block("head")
    (('3', 'attn.qkv'), ('1.0', 'mlp.fc1'), (None, 'head'))
    """
    match = _BLOCK.match(name)
    if match is None:
        return None, name
    stage, block, inside = match.groups()
    return (block if stage is None else f"{stage}.{block}"), inside


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleShare:
    """Cycles of one kind of work, summed over one image."""

    name: str
    unit: str
    cycles: int
    share: float
    """Of the image's cycles, 0 to 1."""
    count: int
    """Operations summed here."""
    utilisation: float | None
    """Mean over the cycles; None unless every operation states its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleGroup:
    """Runs that take the same cycles in every layer, told once."""

    runs: tuple[str, ...]
    total: int
    rows: tuple[LayerCycles, ...]
    units: tuple[CycleShare, ...]
    """By unit, most cycles first."""
    layers: tuple[CycleShare, ...]
    """By layer within a block, summed over the blocks, in the order of execution."""


def cycle_groups(results: Results) -> tuple[CycleGroup, ...]:
    """Cycle tables of the runs, equal ones merged, in order of first appearance."""
    by_run: dict[str, list[LayerCycles]] = defaultdict(list)
    for row in results.tables.cycles:
        by_run[row.run].append(row)
    merged: dict[tuple[tuple[str, str, int], ...], list[str]] = defaultdict(list)
    for run, rows in by_run.items():
        merged[tuple((r.layer, r.unit, r.cycles) for r in rows)].append(run)
    return tuple(_group(tuple(runs), tuple(by_run[runs[0]])) for runs in merged.values())


def _group(runs: tuple[str, ...], rows: tuple[LayerCycles, ...]) -> CycleGroup:
    by_unit: dict[str, list[LayerCycles]] = defaultdict(list)
    by_layer: dict[tuple[str, str], list[LayerCycles]] = defaultdict(list)
    for row in rows:
        by_unit[row.unit].append(row)
        by_layer[split_block(row.layer)[1], row.unit].append(row)
    total = sum(row.cycles for row in rows)
    units = [_share(unit, unit, of, total) for unit, of in by_unit.items()]
    return CycleGroup(
        runs=runs,
        total=total,
        rows=rows,
        units=tuple(sorted(units, key=lambda share: -share.cycles)),
        layers=tuple(_share(name, unit, of, total) for (name, unit), of in by_layer.items()),
    )


def _share(name: str, unit: str, rows: list[LayerCycles], total: int) -> CycleShare:
    cycles = sum(row.cycles for row in rows)
    busy = [row.utilisation * row.cycles for row in rows if row.utilisation is not None]
    return CycleShare(
        name=name,
        unit=unit,
        cycles=cycles,
        share=cycles / total if total else 0.0,
        count=len(rows),
        utilisation=sum(busy) / cycles if cycles and len(busy) == len(rows) else None,
    )


def units_in_order(results: Results) -> tuple[str, ...]:
    """Units named anywhere, in order of first appearance: the index gives a unit its colour on the whole page."""
    tables = results.tables
    rows: tuple[LayerCycles | Overflow | UnitVerification | UnitArea, ...] = (
        *tables.cycles,
        *tables.overflows,
        *tables.verification,
        *tables.area,
    )
    return tuple(dict.fromkeys(row.unit for row in rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaGroup:
    """Area rows of one target made with the same tools and flags."""

    target: str
    tools: str
    flags: str
    rows: tuple[UnitArea, ...]

    def total(self, resource: str) -> int | None:
        """Sum of `resource` (`luts`, `ffs`, `dsps`, `brams`) over one of each unit.

        None where a row does not know it, or a unit comes in several specs, whose sum would mean nothing.
        """
        counts: list[int | None] = [getattr(row, resource) for row in self.rows]
        if len({row.unit for row in self.rows}) < len(self.rows):
            return None
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    @property
    def slowest(self) -> UnitArea | None:
        """Row with the lowest Fmax, if any row has one."""
        timed = [row for row in self.rows if row.fmax_mhz is not None]
        return min(timed, key=lambda row: row.fmax_mhz or 0.0, default=None)

    @property
    def largest(self) -> UnitArea | None:
        """Row with the most LUTs, if any row states them."""
        return max((r for r in self.rows if r.luts is not None), key=lambda row: row.luts or 0, default=None)


def area_groups(results: Results) -> tuple[AreaGroup, ...]:
    """Area rows by target, tools and flags, in order of first appearance."""
    groups: dict[tuple[str, str, str], list[UnitArea]] = defaultdict(list)
    for row in results.tables.area:
        groups[row.target, row.tools, row.flags].append(row)
    return tuple(
        AreaGroup(target=target, tools=tools, flags=flags, rows=tuple(rows))
        for (target, tools, flags), rows in groups.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How many of a command's checks hold."""

    checks: int
    failed: int


def verdict(results: Results) -> Verdict:
    """Every verified unit spec and every exactness comparison is one check."""
    checks: tuple[UnitVerification | Exactness, ...] = (
        *results.tables.verification,
        *results.tables.exactness,
    )
    failed = sum(
        not check.passed if isinstance(check, UnitVerification) else check.differing > 0 for check in checks
    )
    return Verdict(checks=len(checks), failed=failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementGrid:
    """Agreement with one column per pair of levels."""

    pairs: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[float | None, ...]], ...]
    """Run, images, and percent for each of `pairs`."""


def agreement_grid(results: Results) -> AgreementGrid:
    """Agreement rows by run and number of images, pairs side by side."""
    percents = {(row.run, row.n, row.pair): row.percent for row in results.tables.agreement}
    pairs = tuple(dict.fromkeys(pair for _, _, pair in percents))
    return AgreementGrid(
        pairs=pairs,
        rows=tuple(
            (run, n, tuple(percents.get((run, n, pair)) for pair in pairs))
            for run, n in dict.fromkeys((run, n) for run, n, _ in percents)
        ),
    )


def accuracy_of(results: Results, run: str, level: str) -> Accuracy | None:
    """The row of `run` at `level`, if it was measured."""
    return next((row for row in results.tables.accuracy if (row.run, row.level) == (run, level)), None)


def levels_present(results: Results) -> tuple[Level, ...]:
    """Quantised levels that some run has an accuracy for, in the order of the line."""
    present = {row.level for row in results.tables.accuracy}
    return tuple(level for level in LEVELS if level in present and level != FLOAT)

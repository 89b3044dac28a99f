"""What every command ends with: results.json, report.html and a summary on the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from golden.images import LabelledImages
from reports.checkpoint import discard
from reports.choice import Bits
from reports.overflow_table import overflow_runs
from reports.page import write_page
from reports.progress import console
from reports.results import Config, Results, Tables, write
from reports.tool_versions import tool_versions
from reports.verification import UnitVerification as Finding
from reports.verification_rows import Mutants, UnitTotal, killed_of, totals_of
from reports.workload import Workload
from sim.accelerator import Accelerator

WORST_SHOWN = 10
"""Operations whose overflows the terminal names; the report names all."""


def report_failures(findings: Sequence[Finding]) -> None:
    """Names what failed first in every unit that failed."""
    for finding in findings:
        if finding.first_failure:
            console.print(f"[red]{finding.label}[/red]: {finding.first_failure}", highlight=False)


def results_of(
    command: str, workload: Workload, tables: Tables, accelerator: Accelerator, *bits: Bits, **more: str | int
) -> Results:
    """Results with tool versions and configuration filled in, `more` with the latter."""
    images: LabelledImages = workload.images
    config = Config.model_validate(
        workload.provenance
        | {
            "model": workload.name,
            "scheme": workload.scheme.name,
            "data": images.describe(),
            "clock_mhz": float(accelerator.clock_mhz),
            "bits": ", ".join(b.label for b in bits),
            "images_sha256": images.digest(),
            "calibration_images": len(workload.calibration),
        }
        | more
    )
    return Results(command=command, config=config, tools=tool_versions(), tables=tables)


def publish(results: Results, out: Path, more: Mapping[str, str] | None = None) -> None:
    """Writes results.json and report.html, which links to the pages `more`, into `out` and prints what matters most."""
    write(results, out)
    page = write_page(results, out / "report.html", more)
    discard(out)
    _print_accuracy(results)
    _print_checks(results)
    _print_overflows(results)
    _print_cost(results)
    console.print(f"report: {page}", highlight=False)


def _print_accuracy(results: Results) -> None:
    if not results.tables.accuracy:
        return
    table = Table(
        "run", "level", "top-1 %", "95 % interval", "images", title="Accuracy", title_justify="left"
    )
    for row in results.tables.accuracy:
        table.add_row(row.run, row.level, f"{row.top1:.1f}", f"{row.low:.1f} to {row.high:.1f}", str(row.n))
    _stdout(table)


def _print_checks(results: Results) -> None:
    tables = results.tables
    if tables.exactness:
        table = Table(
            "run", "integers compared", "differ", title="golden = sim, every tensor", title_justify="left"
        )
        for row in tables.exactness:
            table.add_row(row.run, f"{row.integers:,}", str(row.differing))
        _stdout(table)
    if tables.verification:
        _print_verification(totals_of(tables.verification), tables.mutants)
    if tables.mutants:
        _print_mutants(tables.mutants)


def _print_verification(totals: Sequence[UnitTotal], mutants: Sequence[Mutants]) -> None:
    """One line per unit; no column for what was tried for none."""
    counts: dict[str, list[int | None]] = {
        "specs": [total.specs for total in totals],
        "vectors": [total.vectors for total in totals],
        "library": [total.volume for total in totals],
        "bits ≠": [total.mismatches for total in totals],
        "cycles ≠": [total.cycle_mismatches for total in totals],
    }
    counted = {name: column for name, column in counts.items() if any(n is not None for n in column)}
    found = {
        "proof": [total.proofs for total in totals],
        "mutants killed": [killed_of(mutants, total.unit) for total in totals],
    }
    shown = {name: cells for name, cells in found.items() if any(cells)}
    table = Table(title="RTL = sim, bits and cycles", title_justify="left")
    table.add_column("unit", no_wrap=True)
    for name in counted:
        table.add_column(name, justify="right", no_wrap=True)
    for name in shown:
        table.add_column(name)
    table.add_column("", no_wrap=True, min_width=len("pass"))
    for n, total in enumerate(totals):
        cells = [column[n] or "unknown" for column in shown.values()]
        numbers = [_known(column[n]) for column in counted.values()]
        table.add_row(total.unit, *numbers, *cells, "pass" if total.passed else "[red]FAIL[/red]")
    _stdout(table)


def _print_mutants(rows: Sequence[Mutants]) -> None:
    table = Table("file", "planted", "killed", "equivalent", "survivors", title="Planted faults")
    for row in rows:
        counts = (row.planted, row.killed, row.equivalent, len(row.survivors))
        table.add_row(row.file, *(f"{count:,}" for count in counts))
    _stdout(table)
    for row in rows:
        for survivor in row.survivors:
            console.print(f"[red]survived[/red] {survivor}", highlight=False)


def _print_overflows(results: Results) -> None:
    if not results.tables.overflows:
        return
    columns = ("run", "operation", "outputs", "overflowed", "%")
    table = Table(*columns, title="Accumulators that overflowed, checked images", title_justify="left")
    for of in overflow_runs(results.tables.overflows):
        for row in of.rows[:WORST_SHOWN]:
            if row.overflowed:
                counts = (f"{row.outputs:,}", f"{row.overflowed:,}", f"{row.percent:.3f}")
                table.add_row(row.run, row.operation, *counts)
        name = f"all {len(of.rows)} that may"
        table.add_row(of.run, name, f"{of.outputs:,}", f"{of.overflowed:,}", f"{of.percent:.3f}")
    _stdout(table)


def _print_cost(results: Results) -> None:
    cycles = results.tables.cycles
    if cycles:
        table = Table("run", "cycles per image", title="Cycles", title_justify="left")
        for run in dict.fromkeys(row.run for row in cycles):
            table.add_row(run, f"{sum(row.cycles for row in cycles if row.run == run):,}")
        _stdout(table)
    if results.tables.area:
        columns = ("unit", "parameters", "target", "LUT", "FF", "DSP", "BRAM", "Fmax MHz")
        table = Table(*columns, title="Area", title_justify="left")
        for area in results.tables.area:
            counts = [_known(n) for n in (area.luts, area.ffs, area.dsps, area.brams)]
            fmax = "" if area.fmax_mhz is None else f"{area.fmax_mhz:.1f}"
            table.add_row(area.unit, area.spec, area.target, *counts, fmax)
        _stdout(table)


def _known(number: float | None) -> str:
    if number is None:
        return "unknown"
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,}"


def _stdout(table: Table) -> None:
    from rich.console import Console

    Console().print(table)

"""`vitrtl verify`, and what every command ends with: results.json, report.html and a summary on the terminal."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from rich.table import Table

from golden.errors import UserError
from golden.images import LabelledImages
from reports.checkpoint import discard
from reports.choice import Bits, Choice
from reports.evaluation import Evaluation
from reports.overflow_table import overflow_runs
from reports.page import write_page
from reports.program_check import checks_of, run_checks, sweep_checks, table_row
from reports.progress import console
from reports.registry import unit_names
from reports.results import Config, Results, Tables, write
from reports.tool_versions import tool_versions
from reports.verification import UnitVerification as Finding
from reports.verification import write_junit
from reports.workload import Workload, load_workload
from rtl.cosim.runner import find_simulator
from sim.accelerator import Accelerator

VERIFIED_IMAGES = 4
"""Images whose tensors drive the RTL in `verify`: 4 images of DeiT-Tiny give 28,368 rows of scores to choose from."""

WORST_SHOWN = 10
"""Operations whose overflows the terminal names; the report names all."""


def run_verify(choice: Choice, bits: Bits, units: tuple[str, ...], out: Path, rows: int) -> bool:
    """RTL against the simulator: units at their sweep and on the model's real tensors; True when all agreed."""
    find_simulator()
    known = unit_names()
    for unit in units:
        if unit not in known:
            near = get_close_matches(unit, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"there is no unit {unit!r}; units: {', '.join(known)}{hint}")
    workload = load_workload(choice)
    evaluation = Evaluation(
        workload=workload,
        accelerator=Accelerator.load(),
        batch_size=VERIFIED_IMAGES,
        checked_images=VERIFIED_IMAGES,
        out=out,
    )
    run = evaluation.lowered(bits)
    chosen = units or tuple(sorted({operation.unit for operation in run.program.operations} & set(known)))
    checks = [check for unit in chosen for check in sweep_checks(unit)]
    checks += checks_of(run.program, run.tensors, chosen, rows, bits.label)
    findings = run_checks(checks, out / "rtl", choice.seed)
    report_failures(findings)
    write_junit(out / "verify.xml", findings)
    tables = evaluation.tables().model_copy(update={"verification": tuple(table_row(f) for f in findings)})
    publish(results_of("verify", workload, tables, evaluation.accelerator, bits), out)
    return all(finding.passed for finding in findings)


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


def publish(results: Results, out: Path) -> None:
    """Writes results.json and report.html into `out` and prints what matters most."""
    write(results, out)
    page = write_page(results, out / "report.html")
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
        columns = ("unit", "parameters", "codes", "differ", "cycles differ", "")
        table = Table(*columns, title="RTL = sim, bits and cycles", title_justify="left")
        for check in tables.verification:
            state = "pass" if check.passed else "[red]FAIL[/red]"
            counts = (f"{check.beats:,}", _known(check.mismatches), _known(check.cycle_mismatches))
            table.add_row(check.unit, check.spec, *counts, state)
        _stdout(table)


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
    return "unknown" if number is None else f"{number:,g}"


def _stdout(table: Table) -> None:
    from rich.console import Console

    Console().print(table)

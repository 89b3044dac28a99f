"""`vitrtl simulate` and `vitrtl verify`: from checked options to results.json and report.html."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from golden.errors import UserError
from golden.images import LabelledImages
from reports.choice import Bits, Choice
from reports.evaluation import Evaluation
from reports.page import write_page
from reports.program_check import checks_of, run_check, table_row
from reports.progress import console, track
from reports.results import Config, Results, Tables, UnitVerification, write
from reports.tool_versions import tool_versions
from reports.verification import UnitVerification as Finding
from reports.workload import Workload, load_workload
from rtl.cosim.runner import find_simulator
from sim.accelerator import Accelerator

VERIFIED_IMAGES = 4
"""Images whose tensors drive the RTL in `verify`: 4 images of DeiT-Tiny give 28,368 rows of scores to choose from."""


def run_simulate(
    choice: Choice, bits: Bits, out: Path, accelerator_file: Path | None, batch_size: int, check_images: int
) -> None:
    """Evaluates one model at one pair of widths."""
    accelerator = Accelerator.load(accelerator_file)
    workload = load_workload(choice)
    evaluation = Evaluation(
        workload=workload,
        accelerator=accelerator,
        batch_size=batch_size,
        checked_images=check_images,
        out=out,
    )
    evaluation.float_baseline()
    evaluation.run(bits)
    results = results_of("simulate", workload, evaluation.tables(), accelerator, bits)
    publish(results, out)


def run_verify(choice: Choice, bits: Bits, units: tuple[str, ...], out: Path, rows: int) -> bool:
    """RTL of the program's units against the simulator; True when everything agreed."""
    find_simulator()
    workload = load_workload(choice)
    known = verifiable_units()
    for unit in units:
        if unit not in known:
            raise UserError(f"no unit {unit!r} can be verified here; there are: {', '.join(known)}")
    evaluation = Evaluation(
        workload=workload,
        accelerator=Accelerator.load(),
        batch_size=VERIFIED_IMAGES,
        checked_images=VERIFIED_IMAGES,
        out=out,
    )
    run = evaluation.lowered(bits)
    checks = list(checks_of(run.program, run.tensors, units or known, rows, bits.label))
    findings = [
        run_check(check, out / "rtl", choice.seed) for check in track("RTL = sim", checks, len(checks))
    ]
    report_failures(findings)
    tables = evaluation.tables().model_copy(update={"verification": tuple(table_row(f) for f in findings)})
    publish(results_of("verify", workload, tables, evaluation.accelerator, bits), out)
    return all(finding.passed for finding in findings)


def report_failures(findings: Sequence[Finding]) -> None:
    """Names what failed first in every unit that failed."""
    for finding in findings:
        if finding.first_failure:
            console.print(f"[red]{finding.label}[/red]: {finding.first_failure}", highlight=False)


def verifiable_units() -> tuple[str, ...]:
    """Units whose RTL takes one stream of real data, in the registry's order."""
    return ("softmax",)


def results_of(
    command: str, workload: Workload, tables: Tables, accelerator: Accelerator, *bits: Bits
) -> Results:
    """Results with configuration and tool versions filled in."""
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
    )
    return Results(command=command, config=config, tools=tool_versions(), tables=tables)


def publish(results: Results, out: Path) -> None:
    """Writes results.json and report.html into `out` and prints what matters most."""
    write(results, out)
    page = write_page(results, out / "report.html")
    _print_accuracy(results)
    _print_checks(results)
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
    lines: list[Sequence[str]] = [
        (f"{row.run} golden = sim", f"{row.differing} of {row.integers:,} integers differ")
        for row in tables.exactness
    ]
    lines += [(f"{row.unit}, {row.spec}", _verdict(row)) for row in tables.verification]
    lines += [
        (f"{run} cycles per image", f"{sum(r.cycles for r in tables.cycles if r.run == run):,}")
        for run in dict.fromkeys(row.run for row in tables.cycles)
    ]
    if lines:
        table = Table("check", "found", title="Exactness and cycles", title_justify="left")
        for line in lines:
            table.add_row(*line)
        _stdout(table)


def _verdict(row: UnitVerification) -> str:
    state = "passed" if row.passed else "FAILED"
    return f"{state}: {row.mismatches} of {row.beats:,} codes, {row.cycle_mismatches} handshake cycles differ"


def _stdout(table: Table) -> None:
    from rich.console import Console

    Console().print(table)

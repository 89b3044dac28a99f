"""What a sweep leaves behind: results.json, report.html, designs.csv, tradeoff.md, and a table on the terminal."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reports.checkpoint import discard
from reports.progress import console
from reports.results import Results, write
from reports.tradeoff.answers import COSTS, amount, pareto, targets_of
from reports.tradeoff.markdown import markdown
from reports.tradeoff.page import write_page
from reports.tradeoff.rows import RESOURCES
from reports.whole_file import write_text


def publish(results: Results, failures: Mapping[str, str], out: Path) -> None:
    """Writes every file, each beside first and then renamed; `failures` are points without figures, by run."""
    write(results, out)
    page = write_page(results, failures, out / "report.html")
    for name, text in (("designs.csv", table_text(results)), ("tradeoff.md", markdown(results, failures))):
        write_text(out / name, text)
    discard(out)
    for target in targets_of(results):
        Console().print(terminal_table(results, target))
    console.print(escape(f"report: {page}, summary: {out / 'tradeoff.md'}"), highlight=False)


def table_text(results: Results) -> str:
    """One line of CSV for every design and target; an unknown figure is an empty cell."""
    areas = {(row.run, row.target): row for row in results.tables.areas}
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(
        ["run", "scheme", "weight_bits", "act_bits", "accelerator", "images", "top1_percent", "low_percent",
         "high_percent", "fakequant_top1_percent", "cycles_per_image", "target", *RESOURCES, "fmax_mhz", "pareto"]
    )  # fmt: skip
    for target in targets_of(results):
        best = set(pareto(results, target))
        for d in results.tables.designs:
            area = areas[d.run, target]
            known = [getattr(area, name) for name in (*RESOURCES, "fmax_mhz")]
            out.writerow(
                [d.run, d.scheme, d.weight_bits, d.act_bits, d.accelerator, d.n, d.top1, d.low, d.high,
                 d.fakequant_top1, d.cycles, target, *("" if x is None else x for x in known), int(d.run in best)]
            )  # fmt: skip
    return text.getvalue()


def terminal_table(results: Results, target: str) -> Table:
    """Designs on one target, those that no other beats marked."""
    best = set(pareto(results, target))
    areas = {row.run: row for row in results.tables.areas if row.target == target}
    title = f"{target}: * no other design is both cheaper in {COSTS[target][1]} and more accurate"
    table = Table("", "design", "top-1 %", "95 % interval", "cycles", "area", "Fmax MHz", title=title,
                  title_justify="left")  # fmt: skip
    for design in results.tables.designs:
        area = areas[design.run]
        table.add_row(
            "*" if design.run in best else "",
            design.run,
            f"{design.top1:.1f}",
            f"{design.low:.1f} to {design.high:.1f}",
            f"{design.cycles:,}",
            "unknown: " + ", ".join(area.missing) if area.missing else amount(results, design.run, target),
            "" if area.fmax_mhz is None else f"{area.fmax_mhz:.0f} ({area.slowest})",
        )
    return table

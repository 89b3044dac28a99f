"""report.html: results as one self-contained page that opens offline, light or dark, on a desk or a phone."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golden.errors import InvariantError
from reports import plots
from reports.bench_page import kernel_pairs, sim_speeds, speed_figures
from reports.emphasis import emphasise
from reports.glossary import GLOSSARY
from reports.overflow_table import overflow_runs
from reports.results import FLOAT, SCHEMA, Results, SiteFidelity
from reports.run_grid import run_grid
from reports.summary import (
    LEVELS,
    SHORT_LEVELS,
    AreaGroup,
    accuracy_of,
    agreement_grid,
    area_groups,
    cycle_groups,
    levels_present,
    units_in_order,
    verdict,
)
from reports.tradeoff.answers import COSTS, bit_steps, softmax_rows
from reports.verification_rows import killed_of
from reports.whole_file import write_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_SECTIONS = (
    ("accuracy", "Accuracy"),
    ("agreement", "Agreement"),
    ("fidelity", "Fidelity per layer"),
    ("exactness", "Exactness"),
    ("overflows", "Overflows"),
    ("cycles", "Cycles"),
    ("verification", "RTL verification"),
    ("mutants", "Planted faults"),
    ("area", "Area and Fmax"),
    ("speed", "Software speed"),
    ("kernels", "Kernels beside a library"),
    ("profile", "Time by unit"),
)
"""Table -> heading of its section, in the order of the page."""

_MANY = 4
"""Runs whose plots stand below each other; of more, one is shown at a time."""


def write_page(results: Results, path: Path, more: Mapping[str, str] | None = None) -> Path:
    """Writes the page of `results` to `path`, beside first and then renamed, and returns `path`.

    `more` are pages that it links to: their address from here, and what to call them.

    Raises UserError where the file cannot be written.
    """
    return write_text(path, render(results, more))


def render(results: Results, more: Mapping[str, str] | None = None) -> str:
    """The page as HTML: every label escaped, plotly.js inside it once where there is a plot."""
    # Only plotly.js itself is Markup. Plots take pseudo-HTML, so plots.py escapes its labels; tojson, which the page
    # uses for the figures, leaves no "</script>" in them.
    context = _context(results)
    plotly = plotly_script() if context["figures"] else ""
    return environment().get_template("page.html.j2").render(**context, plotly=plotly, more=more or {})


def environment() -> "Environment":
    """Templates of the pages, everything escaped, an unknown name an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["emphasise"] = emphasise
    # What a trade-off's page asks of its results for every target.
    made.globals |= {"softmax_rows": softmax_rows, "bit_steps": bit_steps, "costs": COSTS}
    return made


def plotly_script() -> "Markup":
    """plotly.js, to stand inside a page as it is."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    if "</script" in script:
        raise InvariantError("plotly.js holds </script and cannot stand inside a page")
    return Markup(script)


def _context(results: Results) -> dict[str, Any]:
    """Everything the templates read."""
    tables, config = results.tables, results.config
    groups, units = cycle_groups(results), units_in_order(results)
    sqnr_plots, mismatch_plots, figures = _fidelity_figures(results)
    levels = levels_present(results)
    if levels:
        figures["plot-accuracy"] = plots.accuracy(results)
    figures |= {f"plot-cycles-{place}": plots.cycles(group, units) for place, group in enumerate(groups)}
    figures |= speed_figures(results)
    verification, exactness = tables.verification, tables.exactness
    names = {str(level): name for level, name in SHORT_LEVELS.items()}
    names["fakequant_float64"] = "fake-quant in float64"
    return {
        "results": results,
        "schema": SCHEMA,
        "title": config.model or f"vitrtl {results.command}",
        "subtitle": _subtitle(results),
        "verdict": verdict(results),
        "sections": [
            *(s for s in _SECTIONS if getattr(tables, s[0])),
            ("provenance", "Configuration and tools"),
        ],
        "figures": figures,
        "sqnr_plots": sqnr_plots,
        "mismatch_plots": mismatch_plots,
        "level_names": LEVELS,
        "short_names": SHORT_LEVELS,
        "agreement": agreement_grid(results),
        "levels": levels,
        "accuracy_runs": list(dict.fromkeys(row.run for row in tables.accuracy if row.run != FLOAT)),
        "accuracy_of": accuracy_of,
        "grid": run_grid(results),
        "many": _MANY,
        "baseline": accuracy_of(results, FLOAT, FLOAT),
        "image_counts": sorted({row.n for row in tables.accuracy}),
        "fidelity": [row for rows in _by_run(tables.fidelity).values() for row in rows],
        "vectors": sum(row.beats for row in verification),
        "killed_of": killed_of,
        "failed_units": sum(not row.passed for row in verification),
        "mismatches": _total(row.mismatches for row in verification),
        "cycle_mismatches": _total(row.cycle_mismatches for row in verification),
        "protocol_errors": _total(row.protocol_errors for row in verification),
        "compared": sum(row.integers for row in exactness),
        "differing": sum(row.differing for row in exactness),
        "overflow_runs": overflow_runs(tables.overflows),
        "cycle_groups": groups,
        "cycle_names": [f"{_shortened(group.runs)}: {group.total:,} cycles" for group in groups],
        "area_groups": area_groups(results),
        "kernel_pairs": kernel_pairs(results),
        "sim_speeds": sim_speeds(results),
        "accelerator": config.accelerator,
        "clock": config.clock_mhz,
        "duration": lambda cycles: _duration(cycles, config.clock_mhz or 1.0),
        "unit_colour": lambda unit: plots.unit_colour(unit, units),
        "area_sums": _area_sums,
        "signed": lambda points: f"{points:+.2f}".replace("-", "−"),
        "pair_name": lambda pair: " and ".join(names.get(level, level) for level in pair.split("/")),
        "config": [
            (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for key, value in sorted(config.model_dump(mode="json", exclude_none=True).items())
        ],
        "glossary": [(term, meaning) for term, table, meaning in GLOSSARY if getattr(tables, table)],
    }


def _subtitle(results: Results) -> list[str]:
    config = results.config
    parts = [f"scheme {config.scheme}" if config.scheme else None, config.data, config.accelerator,
             f"{config.clock_mhz:g} MHz" if config.clock_mhz else None]  # fmt: skip
    return [part for part in parts if part]


def _by_run(rows: Iterable[SiteFidelity]) -> dict[str, list[SiteFidelity]]:
    """Rows by run, each run's in the order of the model."""
    runs: dict[str, list[SiteFidelity]] = defaultdict(list)
    for row in rows:
        runs[row.run].append(row)
    return {run: sorted(of, key=lambda row: row.layer) for run, of in runs.items()}


def _fidelity_figures(
    results: Results,
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], dict[str, Any]]:
    """(run, figure name) of the SQNR plots and of the code plots, and the figures.

    Runs share their axes; the codes that differ, whose shares lie far apart, only where all stand below each other.
    """
    rows = results.tables.fidelity
    span = plots.sqnr_span(rows)
    runs = _by_run(rows)
    sqnr, codes, figures = [], [], {}
    for place, (run, of) in enumerate(runs.items()):
        if span and any((row.sqnr_fakequant_db, row.sqnr_integer_db) != (None, None) for row in of):
            sqnr.append((run, f"plot-sqnr-{place}"))
            figures[f"plot-sqnr-{place}"] = plots.sqnr(of, span)
        if any(row.code_mismatch_fraction is not None for row in of):
            codes.append((run, f"plot-codes-{place}"))
            figures[f"plot-codes-{place}"] = plots.mismatches(of, _top(of if len(runs) > _MANY else rows))
    return sqnr, codes, figures


def _top(rows: Iterable[SiteFidelity]) -> float:
    """End of the axis for the share of codes that differ."""
    return 1.15 * max((row.code_mismatch_fraction or 0.0 for row in rows), default=0.0) or 0.01


def _total(counts: Iterable[int | None]) -> int | None:
    """Sum, or None where one part is unknown."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _duration(cycles: int, clock_mhz: float) -> str:
    """Time in the unit that reads best.

    >>> _duration(1_250_000, 200.0), _duration(90, 200.0)
    ('6.25 ms', '0.45 µs')
    """
    microseconds = cycles / clock_mhz
    for size, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"


def _shortened(runs: tuple[str, ...]) -> str:
    """The first runs of a group, and how many more there are.

    >>> _shortened(("a", "b")), _shortened(("a", "b", "c", "d"))
    ('a, b', 'a and 3 more')
    """
    return ", ".join(runs) if len(runs) <= 2 else f"{runs[0]} and {len(runs) - 1} more"


def _area_sums(group: AreaGroup) -> list[tuple[int | None, str]]:
    """Sums over one of each unit with their labels; none where no resource has a sum."""
    labels = (("luts", "LUT"), ("ffs", "FF"), ("dsps", "DSP"), ("brams", "BRAM"))
    sums = [(group.total(name), label) for name, label in labels]
    return sums if any(total is not None for total, _ in sums) else []

"""report.html of a sweep: answers, an explorer of all designs, each design in detail, a table, tools; one file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.page import environment, plotly_script
from reports.results import FLOAT, Results
from reports.tradeoff.answers import COSTS, answers, pareto, targets_of
from reports.tradeoff.markdown import troubles
from reports.tradeoff.rows import RESOURCES, UNITS, Design
from reports.whole_file import write_text

INT8 = ("uniform", 8, 8)
"""Scheme and widths of the baseline that most hardware has today."""
NAMES = {
    "luts": "LUT", "ffs": "flip-flops", "dsps": "DSP", "brams": "block RAM", "carries": "carry cells",
    "area_um2": "area", "nand2": "NAND2 equivalents",
}  # fmt: skip
"""Resources as axes and columns name them."""


def write_page(results: Results, failures: Mapping[str, str], path: Path) -> Path:
    """Writes the page, beside first and then renamed; `failures` are points without figures, by run."""
    return write_text(path, render(results, failures))


def render(results: Results, failures: Mapping[str, str]) -> str:
    """The page as HTML: every label escaped, plotly.js and all figures inside it, nothing fetched."""
    config = results.config
    return (
        environment()
        .get_template("tradeoff.html.j2")
        .render(
            results=results,
            title=config.model or "Trade-off",
            subtitle=[part for part in (config.data, config.accelerator) if part],
            answers=answers(results),
            failures=failures,
            missing=dict.fromkeys(troubles(results)),
            targets=targets_of(results),
            columns=[
                name
                for name in RESOURCES
                if any(getattr(area, name) is not None for area in results.tables.areas)
            ],
            names=NAMES,
            tools=dict.fromkeys(
                (part.target, part.tools, part.flags) for part in results.tables.parts if part.tools
            ),
            config=[
                (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
                for key, value in sorted(config.model_dump(mode="json", exclude_none=True).items())
            ],
            sweep=document(results),
            plotly=plotly_script(),
        )
    )


def document(results: Results) -> dict[str, Any]:
    """What the page's script draws from."""
    tables = results.tables
    baseline = next((row for row in tables.accuracy if row.run == FLOAT), None)
    return {
        "float": None if baseline is None else baseline.model_dump(include={"top1", "low", "high", "n"}),
        "targets": [
            {
                "name": target,
                "cost": COSTS[target][0],
                "front": pareto(results, target),
                "resources": [
                    {"key": name, "name": NAMES[name], "unit": UNITS.get(name, "")}
                    for name in RESOURCES
                    if any(getattr(row, name) is not None for row in tables.areas if row.target == target)
                ],
            }
            for target in targets_of(results)
        ],
        "schemes": list(dict.fromkeys(design.scheme for design in tables.designs)),
        "designs": [_design(results, design) for design in tables.designs],
    }


def _design(results: Results, design: Design) -> dict[str, Any]:
    tables, run = results.tables, design.run
    # On several accelerators one run of the simulator serves them all.
    measured = run.removesuffix(f" on {design.accelerator}")
    areas = [row.model_dump(exclude_none=True) for row in tables.areas if row.run == run]
    parts = [row.model_dump(exclude_none=True) for row in tables.parts if row.run == run]
    return design.model_dump() | {
        "widths": f"W{design.weight_bits}/A{design.act_bits}",
        "int8": (design.scheme, design.weight_bits, design.act_bits) == INT8,
        "areas": {area["target"]: area for area in areas},
        "parts": {
            target: [part for part in parts if part["target"] == target] for target in targets_of(results)
        },
        "layers": [
            {"layer": row.layer, "unit": row.unit, "cycles": row.cycles}
            for row in tables.cycles
            if row.run == run
        ],
        "sites": [
            {"site": row.site, "fakequant": row.sqnr_fakequant_db, "integer": row.sqnr_integer_db}
            for row in tables.fidelity
            if row.run == measured
        ],
    }

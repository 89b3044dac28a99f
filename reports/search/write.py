"""What a search leaves behind besides a sweep's files: search.md, and the scheme file of every configuration run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.accuracy_point import Cell
from reports.search.scheme_file import scheme_text
from reports.search.verdict import Candidate, dominated, rank_correlation, verdict
from reports.tradeoff.markdown import table
from reports.whole_file import write_text

SCHEMES = "schemes"
"""Folder of the scheme files, below the output's."""


def write_schemes(cells: Sequence[Cell], out: Path) -> None:
    """One TOML file a configuration, and none of an earlier run's."""
    folder = out / SCHEMES
    folder.mkdir(exist_ok=True)
    names = {f"{cell.scheme.name}.toml" for cell in cells}
    for stale in folder.glob("mixed-*.toml"):
        if stale.name not in names:
            stale.unlink()
    for cell in cells:
        bits = cell.bits
        widths = f"--weight-bits {bits.weight} --act-bits {bits.act}"
        command = f"vitrtl simulate --scheme {cell.scheme.name}.toml {widths}, with the model and data of the search"
        write_text(folder / f"{cell.scheme.name}.toml", scheme_text(cell.scheme, command))


def markdown(found: Sequence[Candidate], unit: str, study: Mapping[str, str]) -> str:
    """The summary: verdict, what else is dominated, how well proxy and area model rank, every point."""
    beaten = dominated(found)
    parts = ["# Search", verdict(found, unit)]
    if beaten:
        lines = [f"- {run}: by {', '.join(winners)}" for run, winners in beaten.items()]
        parts.append("Uniform-width points that a mixed configuration dominates:\n\n" + "\n".join(lines))
    parts += ["\n".join(f"- {line}" for line in ranks(found)), _table(found, unit)]
    parts.append("\n".join(f"- {name}: {value}" for name, value in study.items()))
    return "\n\n".join(part for part in parts if part) + "\n"


def ranks(found: Sequence[Candidate]) -> list[str]:
    """How well the proxies rank the points that the simulator ran, and the area model those synthesised."""
    top1 = [each.top1 for each in found]
    pairs = {
        "SQNR of the logits with integer top-1": ([each.estimate.logits_db for each in found], top1),
        "mean SQNR of all sites with integer top-1": ([each.estimate.sites_db for each in found], top1),
        "agreement with float with integer top-1": ([each.estimate.agreement for each in found], top1),
        "area model with synthesis": ([each.predicted for each in found], [each.area for each in found]),
    }
    return [
        f"rank correlation of {name}: {'unknown' if (r := rank_correlation(*of)) is None else f'{r:.2f}'}"
        f" (n = {len(found)})"
        for name, of in pairs.items()
    ]


def _table(found: Sequence[Candidate], unit: str) -> str:
    columns = (
        "configuration",
        "integer top-1, %",
        unit,
        "DSP",
        "weights, KiB",
        "cycles",
        "logits, dB",
        "sites, dB",
    )
    rows = [
        (
            f"**{each.run}**" if each.mixed else each.run,
            f"{each.top1:.2f}",
            f"{each.area:,.0f}",
            f"{each.dsps:,.0f}",
            f"{each.estimate.weight_kib:.1f}",
            f"{each.estimate.cycles:,}",
            f"{each.estimate.logits_db:.1f}",
            f"{each.estimate.sites_db:.1f}",
        )
        for each in sorted(found, key=lambda each: (-each.top1, each.area))
    ]
    return "Bold: mixed.\n\n" + table(columns, rows)

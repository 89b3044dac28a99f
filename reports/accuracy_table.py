"""accuracy.md and the table on the terminal: every figure of the points side by side, with intervals and sources."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from rich.table import Table

from reports.accuracy_point import COMPUTING
from reports.accuracy_published import Figure
from reports.accuracy_survey import BASELINE, Survey
from reports.choice import Bits
from reports.summary import SHORT_LEVELS
from reports.tables import Accuracy, Level

_KINDS = {
    "own": "",
    "secondary": "secondary: ",
    "derived": "derived: ",
    "rerun": "run again elsewhere: ",
}
_LEVELS: tuple[Level, ...] = ("fakequant", "fakequant_hardware", "integer")
_COMPARED: tuple[Level, ...] = ("fakequant", "integer")
"""Levels with a margin over the baseline scheme."""
_LEGEND = """\
*fake-quant* rounds values in float, with the papers' hidden zero in log formats; *hardware zero* gives zero a code of
its own (the same function where a scheme has no log format); *integer* is the datapath itself, run by the simulator.
*agreement* is the share of images for which integer and hardware-zero fake-quant predict the same class; *float64* is
the share for which the latter, in float64, predicts what it predicts in float32 (first images): rounding alone flips a
few codes, and a network of few bits makes other predictions of them, so two faithful datapaths share about so many.
*codes that differ* compares the integer datapath with fake quantisation from identical input codes, at the site where
most differ; *largest distance* is the largest at any site, in codes."""


def terminal_table(survey: Survey) -> Table:
    """Figures without their intervals, for a terminal's width."""
    base = survey.baseline
    title = f"Top-1 in percent, {base.n} images; float {_interval(base)}"
    columns = ("scheme", "W/A", "fake", "hw zero", "integer", "agree %", "differ %", "farthest")
    table = Table(*columns, title=title, title_justify="left")
    for bits in survey.grid:
        if bits.label in survey.failures:
            table.add_row(bits.prefix, _widths(bits), "[red]FAILED[/red]")
            continue
        figures = [f"{survey.accuracy(bits.label, level).top1:.1f}" for level in _LEVELS]
        table.add_row(
            bits.prefix,
            _widths(bits),
            *figures,
            f"{survey.agreement(bits.label):.1f}",
            *_codes(survey, bits)[::2],
        )
    return table


def markdown(survey: Survey) -> str:
    """The text of accuracy.md."""
    notes, tools = _notes(survey), survey.results.tools
    parts = [
        f"# Accuracy of {survey.results.config.model}",
        _setting(survey),
        f"```sh\n{survey.command}\n```",
        _LEGEND,
        _accuracy(survey, notes),
        *_failed(survey),
        *_footnotes(notes),
        *_margins(survey),
        f"Versions: {', '.join(f'{name} {tools[name]}' for name in COMPUTING if name in tools)}.",
    ]
    return "\n\n".join(parts) + "\n"


def _setting(survey: Survey) -> str:
    base, rows = survey.baseline, survey.results.tables.exactness
    compared, differing = sum(row.integers for row in rows), sum(row.differing for row in rows)
    return (
        f"Top-1 in percent on {survey.images}, in parentheses the 95 % Wilson interval of n = {base.n}; "
        f"float32: {_interval(base)}.\n"
        "Differences within the intervals are not differences. Simulator against int64 reference, every tensor of the\n"
        f"first images: {compared:,} integers compared, {differing:,} differ. Measured by"
    )


def _accuracy(survey: Survey, notes: Mapping[str, Figure]) -> str:
    rows = [
        [
            f"`{bits.prefix}`",
            _widths(bits),
            *(_interval(survey.accuracy(bits.label, level)) for level in _LEVELS),
            f"{survey.agreement(bits.label):.1f}",
            _float64(survey, bits),
            "{} ({})".format(*_codes(survey, bits)),
            _codes(survey, bits)[2],
            "; ".join(_cited(figure, notes) for figure in survey.quoted(bits)),
        ]
        for bits in survey.measured
    ]
    header = ("scheme", "W/A", *(SHORT_LEVELS[level] for level in _LEVELS), "agreement, %", "float64, %",
              "codes that differ, % (site)", "largest distance", "published, fake-quant")  # fmt: skip
    return _table(header, rows)


def _margins(survey: Survey) -> list[str]:
    rows = []
    for bits in survey.measured:
        for level in _COMPARED:
            found = survey.margin(bits, level)
            if found is None:
                continue
            points = f"{found.points:+.1f}".replace("-", "−")
            counts = (str(found.only_first), str(found.only_second))
            rows.append(
                [f"`{bits.prefix}`", _widths(bits), SHORT_LEVELS[level], points, *counts, _p(found.p)]
            )
    if not rows:
        return []
    text = (
        f"Points over `{BASELINE}` at the same width, image by image: how many only one of the two gets right, and\n"
        "the two-sided p-value of McNemar's exact test, how often equally good networks would differ that much. It is\n"
        "not corrected for the number of rows."
    )
    header = ("scheme", "W/A", "level", "points", "only it right", f"only `{BASELINE}` right", "p")
    return [text, _table(header, rows)]


def _failed(survey: Survey) -> list[str]:
    if not survey.failures:
        return []
    return ["Not measured:\n\n" + "\n".join(f"- {label}: {why}" for label, why in survey.failures.items())]


def _notes(survey: Survey) -> dict[str, Figure]:
    """Citation -> the first figure with it, in the order of the table: the footnotes."""
    notes: dict[str, Figure] = {}
    for figure in (figure for bits in survey.measured for figure in survey.quoted(bits)):
        notes.setdefault(figure.source.cite, figure)
    return notes


def _cited(figure: Figure, notes: Mapping[str, Figure]) -> str:
    note = f", {figure.note}" if figure.note else ""
    return f"{figure.top1}{note} [{list(notes).index(figure.source.cite) + 1}]"


def _footnotes(notes: Mapping[str, Figure]) -> list[str]:
    lines = [
        f"- [{number}] {_KINDS[figure.source.kind]}{cite}; {figure.source.images:,} images"
        + (f", float32 {figure.float32}" if figure.float32 is not None else "")
        for number, (cite, figure) in enumerate(notes.items(), 1)
    ]
    return ["\n".join(lines)] if lines else []


def _codes(survey: Survey, bits: Bits) -> tuple[str, str, str]:
    """Percent of codes that differ at the worst site, that site, and the largest distance at any."""
    sites = survey.sites(bits.label)
    if not sites:
        return "unknown", "no site compared", "unknown"
    percent = 100 * (sites[0].code_mismatch_fraction or 0.0)
    return f"{percent:.2f}", sites[0].site, str(max(site.code_mismatch_max or 0 for site in sites))


def _float64(survey: Survey, bits: Bits) -> str:
    row = survey.float64_agreement(bits.label)
    return "" if row is None else f"{row.percent:.1f} (n = {row.n})"


def _interval(row: Accuracy) -> str:
    return f"{row.top1:.1f} ({row.low:.1f} to {row.high:.1f})"


def _widths(bits: Bits) -> str:
    return f"{bits.weight}/{bits.act}"


def _p(p: Fraction) -> str:
    if p < Fraction(1, 10_000):
        return "< 0.0001"
    return f"{float(p):.2g}" if p < Fraction(1, 10) else f"{float(p):.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

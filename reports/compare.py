"""`vitrtl compare`: two results.json, metric by metric, what got better and what got worse."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from golden.errors import UserError
from reports.metrics import Metric
from reports.results import Results, read

Verdict = Literal["better", "worse", "changed", "within the interval", "same", "new", "gone"]
ORDER: tuple[Verdict, ...] = ("worse", "better", "changed", "within the interval", "gone", "new")
"""In which changes are told; what is the same is only counted."""
COLOURS = {"worse": "red", "better": "green"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One metric in two results."""

    name: str
    before: Metric | None
    after: Metric | None
    verdict: Verdict

    @property
    def difference(self) -> float | None:
        """After less before, in the metric's unit; None where one is missing."""
        return None if self.before is None or self.after is None else self.after.value - self.before.value


def run_compare(before: Path, after: Path) -> bool:
    """Prints what changed from `before` to `after`; True unless something got worse.

    Raises:
        UserError: a file is no results.json, or the two have no metric in common.
    """
    first, second = read(results_file(before)), read(results_file(after))
    found = changes(first.metrics, second.metrics)
    if not any(change.before and change.after for change in found):
        raise UserError(f"{before} ({first.command}) and {after} ({second.command}) have no metric in common")
    out = Console()
    for key, one, other in differing(first, second):
        out.print(f"not the same {escape(key)}: {escape(one)}, then {escape(other)}", highlight=False)
    out.print(table(found))
    counts = {verdict: sum(change.verdict == verdict for change in found) for verdict in (*ORDER, "same")}
    out.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count), highlight=False)
    return not counts["worse"]


def results_file(path: Path) -> Path:
    """`path`, or the results.json in it where it is a folder."""
    return path / "results.json" if path.is_dir() else path


def changes(before: Mapping[str, Metric], after: Mapping[str, Metric]) -> list[Change]:
    """Every metric of either, the worse ones first."""
    found = [
        Change(name=name, before=one, after=other, verdict=verdict(one, other))
        for name in dict.fromkeys((*before, *after))
        for one, other in [(before.get(name), after.get(name))]
    ]
    order = [*ORDER, "same"]
    return sorted(found, key=lambda change: order.index(change.verdict))


def verdict(before: Metric | None, after: Metric | None) -> Verdict:
    """What the change of one metric means, by its direction.

    An accuracy has changed for certain only where neither 95 % interval holds the other's figure.

    >>> small = Metric(value=9, unit="LUT", higher_is_better=False)
    >>> verdict(Metric(value=10, unit="LUT", higher_is_better=False), small)
    'better'
    """
    if before is None:
        return "new"
    if after is None:
        return "gone"
    if before.value == after.value:
        return "same"
    if before.higher_is_better is None or before.higher_is_better != after.higher_is_better:
        return "changed"
    if _holds(before, after.value) or _holds(after, before.value):
        return "within the interval"
    return "better" if (after.value > before.value) == before.higher_is_better else "worse"


def _holds(metric: Metric, value: float) -> bool:
    return metric.low is not None and metric.high is not None and metric.low <= value <= metric.high


def differing(before: Results, after: Results) -> list[tuple[str, str, str]]:
    """Model, data and the like, and tools, in which the two runs differ."""
    one = {**before.config.model_dump(exclude_none=True), **before.tools}
    other = {**after.config.model_dump(exclude_none=True), **after.tools}
    return [
        (key, str(one.get(key, "none")), str(other.get(key, "none")))
        for key in dict.fromkeys((*one, *other))
        if one.get(key) != other.get(key)
    ]


def table(found: list[Change]) -> Table:
    """All that changed."""
    shown = Table("", Column("metric", overflow="fold"), "before", "after", "difference", "unit", "better is")
    for change in found:
        if change.verdict == "same":
            continue
        known = change.after or change.before
        better = {True: "higher", False: "lower", None: ""}[known.higher_is_better if known else None]
        colour = COLOURS.get(change.verdict)
        label = f"[{colour}]{change.verdict}[/{colour}]" if colour else change.verdict
        shown.add_row(
            label, escape(change.name), _figure(change.before), _figure(change.after),
            "" if change.difference is None else f"{change.difference:+,.6g}", known.unit if known else "", better,
        )  # fmt: skip
    return shown


def _figure(metric: Metric | None) -> str:
    return "–" if metric is None else f"{metric.value:,.6g}"

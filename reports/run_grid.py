"""Runs that are schemes × widths, as a table of one number each: what a long list of runs is read as."""

import re
from dataclasses import dataclass

from reports.results import FLOAT, Accuracy, Results
from reports.summary import accuracy_of

LEAST = 6
"""Runs from which a grid is read faster than a list."""
_RUN = re.compile(r"(?P<scheme>.+) (?P<widths>W\d+/A\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGrid:
    """Integer accuracy by scheme and widths."""

    widths: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Accuracy | None, ...]], ...]
    """Scheme, and its accuracy at each of `widths`; None where the sweep has no such run."""


def split_run(run: str) -> tuple[str, str] | None:
    """Scheme and widths of a run that is named by both.

    >>> split_run("repq W4/A4"), split_run("W4/A4")
    (('repq', 'W4/A4'), None)
    """
    match = _RUN.fullmatch(run)
    return None if match is None else (match["scheme"], match["widths"])


def run_grid(results: Results) -> RunGrid | None:
    """The grid, or None where the runs are few, or not all are named by scheme and widths."""
    runs = list(dict.fromkeys(row.run for row in results.tables.accuracy if row.run != FLOAT))
    named = [parts for run in runs if (parts := split_run(run)) is not None]
    if len(runs) < LEAST or len(named) < len(runs):
        return None
    widths = tuple(dict.fromkeys(width for _, width in named))
    return RunGrid(
        widths=widths,
        rows=tuple(
            (scheme, tuple(accuracy_of(results, f"{scheme} {width}", "integer") for width in widths))
            for scheme in dict.fromkeys(scheme for scheme, _ in named)
        ),
    )

"""`vitrtl demo`."""

from pathlib import Path

import typer

from reports.choice import writable
from reports.cli.options import Out, Seed


def demo(out: Out = Path("out/demo"), seed: Seed = 0) -> None:
    """The whole line on the digits model that ships: W4/A4, W6/A6, W8/A8 to verified RTL, area, a report, a sweep."""
    writable(out)
    from reports.demo import run_demo

    if not run_demo(out, seed):
        raise typer.Exit(1)

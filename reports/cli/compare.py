"""`vitrtl compare`."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    before: Annotated[Path, typer.Argument(help="results.json, or the folder that holds it")],
    after: Annotated[Path, typer.Argument(help="results.json, or the folder that holds it")],
) -> None:
    """What got better and what got worse between two results; exit code 1 when anything got worse."""
    from reports.compare import run_compare

    if not run_compare(before, after):
        raise typer.Exit(1)

"""`vitrtl merge`."""

from pathlib import Path
from typing import Annotated

import typer

from golden.errors import UserError
from reports.choice import writable
from reports.cli.options import Out


def merge(
    folders: Annotated[
        list[Path], typer.Argument(help="--out folders of every vitrtl simulate --shards K/N")
    ],
    out: Out = Path("out/merged"),
) -> None:
    """Results and report of the whole run, from those of all its shards."""
    if out.absolute() in {folder.absolute() for folder in folders}:
        raise UserError(f"--out {out} is one of the shards; give another directory")
    writable(out)
    from reports.merge import run_merge

    run_merge(folders, out)

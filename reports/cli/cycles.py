"""`vitrtl cycles`."""

from pathlib import Path
from typing import Annotated

import typer

from golden.errors import UserError
from reports.choice import Bits, writable
from reports.cli.options import AcceleratorFile, ActBits, SchemeName, WeightBits

MOST_OUTLIERS = 64
"""Longest list that the unit has."""
Named = Annotated[str, typer.Option(help="timm model whose sizes are known, or vitrtl_digits")]
Folder = Annotated[Path, typer.Option(help="folder for results.json, report.html and cycles.csv")]
Capacity = Annotated[
    int | None,
    typer.Option(help="outliers that a list holds (scheme adfq), which calibration would find: 1 to 64"),
]


def cycles(
    model: Named = "deit_base_patch16_224",
    scheme: SchemeName = "repq",
    weight_bits: WeightBits = 8,
    act_bits: ActBits = 8,
    accelerator: AcceleratorFile = None,
    outlier_capacity: Capacity = None,
    out: Folder = Path("out/cycles"),
) -> None:
    """Cycles of a model on an accelerator, per layer and in total, from its sizes alone: no weights, no images."""
    bits = Bits(weight=weight_bits, act=act_bits)
    if outlier_capacity is not None and outlier_capacity not in range(1, MOST_OUTLIERS + 1):
        raise UserError(f"--outlier-capacity must be from 1 to {MOST_OUTLIERS}, not {outlier_capacity}")
    writable(out)
    from reports.cycles import Request, run_cycles

    run_cycles(
        Request(
            model=model,
            scheme=scheme,
            bits=bits,
            out=out,
            accelerator=accelerator,
            outlier_capacity=outlier_capacity,
        )
    )

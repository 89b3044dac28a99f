"""`vitrtl verify`."""

from pathlib import Path
from typing import Annotated

import typer

from reports.choice import Bits, Choice, at_least_one, writable
from reports.cli.options import (
    ActBits,
    Calib,
    ClassMap,
    Images,
    Model,
    Out,
    Rows,
    SchemeName,
    Seed,
    WeightBits,
    Weights,
)


def verify(
    units: Annotated[
        list[str] | None, typer.Argument(help="units to verify; default: all that the program uses")
    ] = None,
    model: Model = "vitrtl_digits",
    weights: Weights = None,
    images: Images = None,
    calib: Calib = None,
    class_map: ClassMap = None,
    scheme: SchemeName = "repq",
    weight_bits: WeightBits = 8,
    act_bits: ActBits = 8,
    out: Out = Path("out/verify"),
    seed: Seed = 0,
    rows: Rows = 64,
) -> None:
    """RTL against the simulator, every bit and every cycle, on directed stimuli and the model's real tensors."""
    bits = Bits(weight=weight_bits, act=act_bits)
    at_least_one(rows=rows)
    writable(out)
    choice = Choice(
        model=model,
        weights=weights,
        images=images,
        calib=calib,
        class_map=class_map,
        scheme=scheme,
        seed=seed,
    )
    from reports.commands import run_verify

    if not run_verify(choice, bits, tuple(units or ()), out, rows):
        raise typer.Exit(1)

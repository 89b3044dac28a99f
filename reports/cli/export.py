"""`vitrtl export`."""

from pathlib import Path
from typing import Annotated

import typer

from reports.choice import Bits, Choice, at_least_one
from reports.cli.options import (
    ActBits,
    Calib,
    ClassMap,
    Images,
    Model,
    SchemeName,
    Seed,
    WeightBits,
    Weights,
)


def export(
    units: Annotated[
        list[str] | None, typer.Argument(help="units to export; default: all that the program uses")
    ] = None,
    model: Model = "vitrtl_digits",
    weights: Weights = None,
    images: Images = None,
    calib: Calib = None,
    class_map: ClassMap = None,
    scheme: SchemeName = "repq",
    weight_bits: WeightBits = 8,
    act_bits: ActBits = 8,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="every point of the units' own sweeps, in place of a program's")
    ] = False,
    axi: Annotated[bool, typer.Option("--axi", help="with AXI4-Stream ports")] = False,
    rows: Annotated[
        int, typer.Option(help="real rows among the vectors of a unit, besides directed ones")
    ] = 4,
    out: Annotated[Path, typer.Option(help="folder to make; an earlier export is replaced")] = Path(
        "out/export"
    ),
    seed: Seed = 0,
) -> None:
    """Plain Verilog of units with tables, vectors, a testbench that needs no Python, and FuseSoC cores."""
    bits = Bits(weight=weight_bits, act=act_bits)
    at_least_one(rows=rows)
    choice = Choice(
        model=model,
        weights=weights,
        images=images,
        calib=calib,
        class_map=class_map,
        scheme=scheme,
        seed=seed,
    )
    from reports.export.command import Request, run_export

    run_export(
        Request(choice=choice, bits=bits, units=tuple(units or ()), out=out, sweep=sweep, axi=axi, rows=rows)
    )

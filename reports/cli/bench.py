"""`vitrtl bench`."""

from pathlib import Path
from typing import Annotated

import typer

from reports.choice import Choice, at_least_one, widths, writable
from reports.cli.options import BatchSize, Calib, ClassMap, Images, Model, SchemeName, Seed, Weights


def bench(
    model: Model = "vitrtl_digits",
    weights: Weights = None,
    images: Images = None,
    calib: Calib = None,
    class_map: ClassMap = None,
    scheme: SchemeName = "repq",
    bits: Annotated[
        list[int] | None,
        typer.Option(help="bits of weights and activations, any number of times; default: 4, 8"),
    ] = None,
    repetitions: Annotated[int, typer.Option(help="timed rounds, of which the median counts")] = 7,
    batch_size: BatchSize = 16,
    threads: Annotated[
        int | None, typer.Option(help="cores to use, the same for all; default: all there are")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="also time every unit, on one thread")] = False,
    out: Annotated[Path, typer.Option(help="folder for bench.md, results.json and report.html")] = Path(
        "out/bench"
    ),
    seed: Seed = 0,
) -> None:
    """Images per second of sim beside the float and the fake-quantised model; its kernels beside apytypes."""
    grid = widths(bits or (4, 8))
    at_least_one(repetitions=repetitions, batch_size=batch_size, threads=1 if threads is None else threads)
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
    from reports.bench_machine import confined

    with confined(threads) as cores:
        from reports.bench import Request, run_bench

        run_bench(
            Request(
                choice=choice,
                widths=grid,
                out=out,
                repetitions=repetitions,
                batch_size=batch_size,
                threads=cores,
                profile=profile,
            )
        )

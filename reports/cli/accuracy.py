"""`vitrtl accuracy`."""

from pathlib import Path
from typing import Annotated

import typer

from reports.choice import DEFAULT_WIDTHS, Choice, at_least_one, widths, writable
from reports.cli.options import BatchSize, Calib, CheckImages, ClassMap, Images, Limit, Model, Seed, Weights


def accuracy(
    model: Model = "vitrtl_digits",
    weights: Weights = None,
    images: Images = None,
    calib: Calib = None,
    class_map: ClassMap = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(help="shipped scheme or a .toml file, any number of times; default: those of papers"),
    ] = None,
    bits: Annotated[
        list[int] | None,
        typer.Option(help="bits of weights and activations, any number of times; default: 8, 6, 4, 3"),
    ] = None,
    limit: Limit = None,
    out: Annotated[
        Path, typer.Option(help="folder for accuracy.md, results.json, report.html and finished points")
    ] = Path("out/accuracy"),
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    check_images: CheckImages = 2,
    float64_images: Annotated[
        int, typer.Option(help="first images that fake-quant also sees in float64; 0: none")
    ] = 100,
) -> None:
    """Table of schemes and widths on the same images; a killed or extended run measures only what is missing."""
    grid = widths(bits or DEFAULT_WIDTHS)
    at_least_one(batch_size=batch_size, check_images=check_images)
    writable(out)
    choice = Choice(
        model=model,
        weights=weights,
        images=images,
        calib=calib,
        class_map=class_map,
        limit=limit,
        seed=seed,
    )
    from reports.accuracy import Request, run_accuracy

    request = Request(
        choice=choice,
        schemes=tuple(dict.fromkeys(scheme or ())),
        widths=grid,
        out=out,
        batch_size=batch_size,
        checked_images=check_images,
        float64_images=max(float64_images, 0),
    )
    if not run_accuracy(request):
        raise typer.Exit(1)

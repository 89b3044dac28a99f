"""`vitrtl tradeoff`."""

from pathlib import Path
from typing import Annotated

import typer

from reports.choice import Choice, at_least_one, writable
from reports.cli.options import BatchSize, Calib, CheckImages, ClassMap, Images, Limit, Model, Seed, Weights


def tradeoff(
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
        list[str] | None,
        typer.Option(help="4, or 4/8 for weights/activations, any number of times; default: 8, 6, 4, 3"),
    ] = None,
    accelerator: Annotated[
        list[Path] | None,
        typer.Option(help="accelerator description (.toml), any number of times; default: the shipped one"),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="ecp5, ice40, xc7, xcup or asic, any number of times; default: ecp5, xcup"),
    ] = None,
    liberty: Annotated[
        Path | None, typer.Option(help="Liberty file of the standard cells of target asic; energies, too")
    ] = None,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="compare the RTL of what is synthesised with its model; default: where Verilator and g++ are",
            show_default=False,
        ),
    ] = None,
    verification: Annotated[
        list[Path] | None,
        typer.Option(help="results.json of vitrtl verify, any number of times: what it compared counts, too"),
    ] = None,
    limit: Limit = None,
    out: Annotated[
        Path,
        typer.Option(
            help="folder for results.json, report.html, designs.csv, tradeoff.md and finished points"
        ),
    ] = Path("out/tradeoff"),
    cache: Annotated[
        Path | None, typer.Option(help="folder of synthesis results; default: vitrtl's in the user's cache")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="tools at a time; default: as many as there are cores")
    ] = None,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    check_images: CheckImages = 2,
) -> None:
    """Accuracy, cycles and area of schemes × widths × accelerators, on one page; what is measured is never lost."""
    at_least_one(batch_size=batch_size, check_images=check_images, jobs=1 if jobs is None else jobs)
    from reports.tradeoff.request import (
        parse_targets,
        parse_verification,
        parse_verify,
        parse_widths,
        request_of,
    )

    request = request_of(
        Choice(
            model=model,
            weights=weights,
            images=images,
            calib=calib,
            class_map=class_map,
            limit=limit,
            seed=seed,
        ),
        schemes=tuple(dict.fromkeys(scheme or ())),
        widths=parse_widths(bits or ("8", "6", "4", "3")),
        accelerators=tuple(accelerator or ()),
        targets=parse_targets(tuple(target or ()), liberty),
        liberty=liberty,
        cache=cache,
        processes=jobs,
        out=out,
        batch_size=batch_size,
        checked_images=check_images,
        verify=parse_verify(verify),
        verification=parse_verification(tuple(verification or ())),
    )
    writable(out)
    from reports.tradeoff.sweep import run_tradeoff

    if not run_tradeoff(request):
        raise typer.Exit(1)

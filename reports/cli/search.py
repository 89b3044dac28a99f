"""`vitrtl search`."""

from pathlib import Path
from typing import Annotated

import typer

from reports.choice import Choice, at_least_one, writable
from reports.cli.options import (
    AcceleratorFile,
    BatchSize,
    Calib,
    CheckImages,
    ClassMap,
    Images,
    Limit,
    Model,
    Seed,
    Weights,
)


def search(
    model: Model = "vitrtl_digits",
    weights: Weights = None,
    images: Images = None,
    calib: Calib = None,
    class_map: ClassMap = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(
            help="scheme that lends its formats, any number of times; the first one's calibration is used; "
            "default: repq, dopq, ptq4vit, uniform_percentile"
        ),
    ] = None,
    range_: Annotated[
        str, typer.Option("--range", help="narrowest and widest width of weights and activations")
    ] = "3-8",
    per: Annotated[str, typer.Option(help="what shares a width: kind (of layer), block or layer")] = "kind",
    uniform: Annotated[
        list[str] | None,
        typer.Option(
            help="uniform point to beat: 4, or 4/8 for weights/activations, any number of times; "
            "default: every width of --range"
        ),
    ] = None,
    minimise: Annotated[
        list[str] | None,
        typer.Option(help="area, weight_kib or cycles, any number of times; default: area, weight_kib"),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(help="largest cost: area=50000, weight_kib=40 or cycles=20000, any number of times"),
    ] = None,
    trials: Annotated[
        int, typer.Option(help="configurations tried by proxy, those of earlier runs included")
    ] = 150,
    survivors: Annotated[int, typer.Option(help="configurations that the exact simulator runs")] = 10,
    proxy_images: Annotated[int, typer.Option(help="calibration images that the proxy sees")] = 64,
    storage: Annotated[
        str | None,
        typer.Option(help="database of the trials, such as postgresql://...; default: search.db in --out"),
    ] = None,
    accelerator: AcceleratorFile = None,
    target: Annotated[
        str | None, typer.Option(help="ecp5, ice40, xc7, xcup or asic, whose area counts; default: ice40")
    ] = None,
    liberty: Annotated[
        Path | None, typer.Option(help="Liberty file of the standard cells of target asic")
    ] = None,
    limit: Limit = None,
    out: Annotated[
        Path, typer.Option(help="folder for search.md, the schemes found, and all that tradeoff writes")
    ] = Path("out/search"),
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
    """Mixed widths and formats that beat uniform ones; goes on where it was, and several processes may share it."""
    from reports.search.request import (
        Request,
        check_installed,
        parse_budget,
        parse_objectives,
        parse_per,
        parse_range,
        target_of,
    )
    from reports.tradeoff.request import parse_widths, request_of

    at_least_one(
        trials=trials, survivors=survivors, proxy_images=proxy_images, batch_size=batch_size,
        check_images=check_images, jobs=1 if jobs is None else jobs,
    )  # fmt: skip
    check_installed()
    low, high = parse_range(range_)
    choice = Choice(
        model=model,
        weights=weights,
        images=images,
        calib=calib,
        class_map=class_map,
        limit=limit,
        seed=seed,
    )
    request = Request(
        sweep=request_of(
            choice,
            schemes=tuple(dict.fromkeys(scheme or ("repq", "dopq", "ptq4vit", "uniform_percentile"))),
            widths=parse_widths(uniform or [str(bits) for bits in range(low, high + 1)]),
            accelerators=() if accelerator is None else (accelerator,),
            targets=target_of(target, liberty),
            liberty=liberty,
            cache=cache,
            processes=jobs,
            out=out,
            batch_size=batch_size,
            checked_images=check_images,
        ),
        low=low,
        high=high,
        per=parse_per(per),
        objectives=parse_objectives(minimise or ("area", "weight_kib")),
        budget=parse_budget(budget or ()),
        trials=trials,
        survivors=survivors,
        proxy_images=proxy_images,
        storage=storage,
    )
    writable(out)
    from reports.search.run import run_search

    if not run_search(request):
        raise typer.Exit(1)

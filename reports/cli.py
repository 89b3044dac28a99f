"""The command `vitrtl`: options, checks of what the user gave, one line and exit code 2 for a mistake."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from golden.errors import UserError
from reports.choice import DEFAULT_WIDTHS, Bits, Choice, Shard, accumulators, at_least_one, widths, writable
from reports.scheduler import check_scheduler

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a Vision Transformer checkpoint to verified integer hardware.",
)

UsageError = typer.BadParameter.__base__
"""What typer raises for wrong options; it does not export the class."""

Model = Annotated[
    str, typer.Option(help="timm model, or vitrtl_digits, which ships with its weights and images")
]
Weights = Annotated[
    Path | None, typer.Option(help="safetensors or torch file; without it timm's pretrained weights")
]
Images = Annotated[Path | None, typer.Option(help="folder of class folders of images to evaluate")]
Calib = Annotated[Path | None, typer.Option(help="folder of class folders of images to calibrate on")]
ClassMap = Annotated[
    Path | None, typer.Option(help="text file: class folder names in the order of the classes")
]
SchemeName = Annotated[str, typer.Option(help="shipped scheme or a .toml file")]
WeightBits = Annotated[int, typer.Option(help="bits of a weight, 2 to 8")]
ActBits = Annotated[int, typer.Option(help="bits of an activation, 2 to 8")]
Limit = Annotated[int | None, typer.Option(help="evaluate only N images, evenly spread")]
Out = Annotated[Path, typer.Option(help="folder for results.json, report.html and the programs")]
Seed = Annotated[int, typer.Option(help="seed of the calibration draw and of random stimuli")]
BatchSize = Annotated[int, typer.Option(help="images at a time")]
AcceleratorFile = Annotated[
    Path | None, typer.Option(help="accelerator description (.toml); default: the shipped one")
]
CheckImages = Annotated[
    int, typer.Option(help="images whose every tensor is compared with the int64 reference")
]
AccBits = Annotated[
    int | None,
    typer.Option(help="widest accumulator, 8 to 62 bits; default: as wide as its sums are proven to need"),
]
AccOverflow = Annotated[
    str | None, typer.Option(help="what a sum wider than --acc-bits does: wrap or saturate")
]
Rows = Annotated[int, typer.Option(help="real rows per unit and parameter set, besides the directed ones")]


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def demo(out: Out = Path("out/demo"), seed: Seed = 0) -> None:
    """The whole line on the digits model that ships: W4/A4, W6/A6, W8/A8 to verified RTL, area and a report."""
    writable(out)
    from reports.demo import run_demo

    if not run_demo(out, seed):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the command."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except UsageError as error:  # type: ignore[misc]
        _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        print("vitrtl: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    print("vitrtl: error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)

"""`vitrtl bench`: images per second of sim beside the float and the fake-quantised model, and kernels beside a library.

Everything in one run on one machine, on the same cores, taking turns; answers are compared before they are timed.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from golden.errors import UserError
from golden.model import sites_of
from golden.pretrained import load_model
from reports.accuracy import COMMAND_WIDTH, short
from reports.bench_kernels import INSTALL, available, kernels
from reports.bench_machine import Quiet, description, one_thread
from reports.bench_models import Lowered, Runner, float_runner, kernels_made, quantised_runners
from reports.bench_profile import profile
from reports.bench_text import markdown, terminal_tables
from reports.bench_timing import take_turns
from reports.choice import Bits, Choice
from reports.page import write_page
from reports.progress import bar, console
from reports.results import Config, KernelSpeed, Results, Speed, Tables, UnitTime, write
from reports.tool_versions import tool_versions
from reports.whole_file import write_text
from reports.workload import Workload, load_workload
from sim.products import chosen

KERNEL_ROUNDS = 5
"""Repetitions of a kernel for each of a model: a kernel takes milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command's options."""

    choice: Choice
    widths: tuple[int, ...]
    out: Path
    repetitions: int
    batch_size: int
    threads: int
    """Cores that the process is confined to."""
    profile: bool

    def command(self) -> str:
        """The command line, every path reduced to its last two parts, so that none tells whose machine this is."""
        choice = self.choice
        paths = {
            "--weights": choice.weights,
            "--images": choice.images,
            "--calib": choice.calib,
            "--class-map": choice.class_map,
        }
        options = [("--model", choice.model)]
        options += [(name, short(path)) for name, path in paths.items() if path is not None]
        options += [("--scheme", short(Path(choice.scheme)))]
        options += [("--bits", str(bits)) for bits in self.widths]
        options += [("--repetitions", str(self.repetitions)), ("--batch-size", str(self.batch_size))]
        options += [("--threads", str(self.threads))]
        words = [f"{name} {shlex.quote(value)}" for name, value in options]
        lines = ["vitrtl bench"]
        for word in [*words, *(["--profile"] if self.profile else [])]:
            if len(lines[-1]) + len(word) < COMMAND_WIDTH:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return " \\\n    ".join(lines)


def run_bench(request: Request) -> None:
    """Measures, prints, and writes results.json, report.html and bench.md into the request's folder."""
    workload = load_workload(request.choice)
    images = _first_batch(workload, request.batch_size)
    runners, lowered = _prepared(request, workload, images)
    config, quiet = _config(request, workload), Quiet()
    tables = Tables(
        speed=tuple(_speeds(request, runners)),
        kernels=tuple(_kernel_speeds(request)),
        profile=tuple(_profiled(request, lowered)),
        exactness=tuple(each.exactness for each in lowered),
    )
    others = quiet.others_percent()
    config = config.model_copy(update={"others_percent": None if others is None else round(others, 1)})
    results = Results(command="bench", config=config, tools=tool_versions(), tables=tables)
    _publish(results, request)


def _first_batch(workload: Workload, batch_size: int) -> Tensor:
    if len(workload.images) < batch_size:
        raise UserError(
            f"--batch-size {batch_size} is more than there are images: {workload.images.describe()} has "
            f"{len(workload.images)}"
        )
    images, _ = next(iter(workload.images.batches(batch_size)))
    return images


def _prepared(
    request: Request, workload: Workload, images: Tensor
) -> tuple[tuple[Runner, ...], tuple[Lowered, ...]]:
    """Everything that runs the model, after its first batch."""
    choice, scheme = request.choice, workload.scheme
    names = sites_of(workload.model)
    fitted = [site for site, kind in names.activations.items() if scheme.format_at(site, kind)]
    runners = [float_runner(load_model(choice.model, choice.weights), workload, images)]
    lowered = []
    with bar("calibrate, first batches", len(request.widths) * (len(fitted) + len(names.layers))) as advance:
        for width in request.widths:
            bits = Bits(weight=width, act=width)
            pair, program = quantised_runners(workload, bits, images, request.threads, lambda _: advance(1))
            runners += pair
            lowered.append(program)
    return tuple(runners), tuple(lowered)


def _speeds(request: Request, runners: tuple[Runner, ...]) -> Iterator[Speed]:
    works = {f"{runner.run} {runner.implementation}": runner.classify for runner in runners}
    with bar("models, in turns", len(works) * (request.repetitions + 1)) as advance:
        timings = take_turns(works, request.repetitions, advance)
    for runner, timing in zip(runners, timings.values(), strict=True):
        yield Speed(
            run=runner.run,
            implementation=runner.implementation,
            images=request.batch_size,
            threads=request.threads,
            first_seconds=runner.first_seconds,
            **timing.row(),
        )


def _kernel_speeds(request: Request) -> Iterator[KernelSpeed]:
    """Every kernel, compared before any is timed; none without the other library, and a line says so."""
    if not available():
        console.print(INSTALL, markup=False, highlight=False, soft_wrap=True)
        return
    rounds = KERNEL_ROUNDS * request.repetitions
    with one_thread():
        compared = [(kernel, kernel.compare()) for kernel in kernels(request.widths)]
        works = {f"{kernel.name} sim": kernel.sim for kernel, _ in compared}
        works |= {f"{kernel.name} apytypes": kernel.apytypes for kernel, _ in compared}
        # In the order of the names, so that the two of a kernel follow each other.
        with bar("kernels, in turns", len(works) * (rounds + 1)) as advance:
            timings = take_turns(dict(sorted(works.items())), rounds, advance)
    for kernel, integers in compared:
        fixed: dict[str, Any] = {
            "kernel": kernel.name,
            "results": integers,
            "operations": kernel.operations,
            "threads": 1,
        }
        yield KernelSpeed(implementation="sim", **fixed, **timings[f"{kernel.name} sim"].row())
        yield KernelSpeed(implementation="apytypes", **fixed, **timings[f"{kernel.name} apytypes"].row())


def _profiled(request: Request, lowered: tuple[Lowered, ...]) -> Iterator[UnitTime]:
    """Rows of every run's profile, where it was asked for."""
    if not request.profile:
        return
    with one_thread(), bar("profiles, one thread", len(lowered)) as advance:
        for each in lowered:
            yield from profile(each.bits.label, each.program, each.codes, request.repetitions)
            advance(1)


def _config(request: Request, workload: Workload) -> Config:
    """What was asked for, the machine, and how the kernels of the first batches were come by."""
    made, choice = kernels_made(), request.choice
    labels = [Bits(weight=width, act=width).label for width in request.widths]
    where = workload.images.describe() if choice.images is None else f"images of {short(choice.images)}"
    return Config.model_validate(
        {
            "model": workload.name,
            "scheme": workload.scheme.name,
            "data": f"the first {request.batch_size} of {where}",
            "bits": ", ".join(labels),
            "batch_size": request.batch_size,
            "repetitions": request.repetitions,
            "threads": request.threads,
            "products": " and ".join(engine.name for engine in chosen()) or "kernels",
            "kernels_compiled": made.compiled,
            "kernels_from_cache": made.loaded,
            **description(),
            **workload.provenance,
        }
    )


def _publish(results: Results, request: Request) -> None:
    write(results, request.out)
    page = write_page(results, request.out / "report.html")
    text = write_text(request.out / "bench.md", markdown(results, request.command()))
    for table in terminal_tables(results):
        Console().print(table)
    console.print(f"table: {text}, report: {page}", markup=False, highlight=False, soft_wrap=True)

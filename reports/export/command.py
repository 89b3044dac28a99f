"""The command: designs into a folder beside --out, which takes its place when all is written."""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from golden.errors import UserError
from reports.checkpoint import discard
from reports.choice import Bits, Choice, writable
from reports.export.design import Design, program_designs, sweep_designs
from reports.export.folder import write_design
from reports.page import write_page
from reports.progress import console, track
from reports.registry import entry
from reports.results import Config, Results, read, write
from reports.tool_versions import tool_versions

PARALLEL = 2
"""Designs at a time; Yosys is a process of its own."""
IMAGES = 1
"""Images whose tensors give real rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command's options."""

    choice: Choice
    bits: Bits
    units: tuple[str, ...]
    """All when empty."""
    out: Path
    sweep: bool
    """The units' sweeps in place of a program."""
    axi: bool
    rows: int
    """Real rows among a design's vectors."""


def run_export(request: Request) -> None:
    """Writes one folder per design, the program where there is one, results and report: all of it or nothing."""
    for unit in request.units:
        entry(unit)  # before any work
    check_replaceable(request.out)
    with replaced(request.out) as folder:
        if request.sweep:
            designs = sweep_designs(request.units, request.choice.seed)
            results = Results(command="export", tools=tool_versions())
        else:
            designs, results = _of_program(request, folder)
        with ThreadPoolExecutor(PARALLEL) as pool:
            done = pool.map(
                lambda design: write_design(
                    design, folder / design.name, axi=request.axi, seed=request.choice.seed
                ),
                designs,
            )
            list(track("Verilog, vectors, testbenches", done, len(designs)))
        (folder / "README.md").write_text(contents(designs), encoding="utf-8")
        exported = {"axi": request.axi, "exported": [design.name for design in designs]}
        config = results.config.model_dump(exclude_none=True) | exported
        results = results.model_copy(update={"config": Config.model_validate(config)})
        discard(folder)
        write(results, folder)
        write_page(results, folder / "report.html")
    console.print(
        f"{len(designs)} designs in {request.out}; how to use them: README.md in each", highlight=False
    )


def _of_program(request: Request, folder: Path) -> tuple[list[Design], Results]:
    """Lowers the model, saves the program into `folder`; its designs and what the results say of it."""
    from reports.commands import results_of
    from reports.evaluation import Evaluation
    from reports.workload import load_workload
    from sim.accelerator import Accelerator

    workload, accelerator, bits = load_workload(request.choice), Accelerator.load(), request.bits
    evaluation = Evaluation(
        workload=workload, accelerator=accelerator, batch_size=IMAGES, checked_images=IMAGES, out=folder
    )
    run = evaluation.lowered(bits)
    run.program.save(folder / f"program_{bits.slug}.safetensors")
    designs = program_designs(run.program, run.tensors, request.units, request.rows, request.choice.seed)
    more = {"program_sha256": run.program.digest()}
    return designs, results_of("export", workload, evaluation.tables(), accelerator, bits, **more)


def contents(designs: Sequence[Design]) -> str:
    """Table of an export's folders."""
    rows = [
        f"| [{design.name}]({design.name}) | {design.unit} | {', '.join(design.operations)} |\n"
        for design in designs
    ]
    head = "# Units exported by vitrtl\n\n| folder | unit | operations |\n|---|---|---|\n"
    return head + "".join(rows)


def check_replaceable(out: Path) -> None:
    """UserError unless `out` is new, empty, or an earlier export, which a new one replaces."""
    try:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return
        if out.is_dir() and read(out / "results.json").command == "export":
            return
    except (UserError, OSError):
        pass
    raise UserError(f"--out {out} is neither empty nor an earlier export; give a new directory")


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into, which takes its place when all went well, and else is removed.

    A process that is killed leaves `<out>.partial`, which the next one removes, and never a part of `out`.
    """
    out = out.absolute()
    beside, before = (out.with_name(out.name + suffix) for suffix in (".partial", ".replaced"))
    shutil.rmtree(beside, ignore_errors=True)
    writable(beside)
    try:
        yield beside
        if out.exists():
            shutil.rmtree(before, ignore_errors=True)
            out.rename(before)
        beside.rename(out)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)

"""`vitrtl tradeoff`: schemes × widths × accelerators, each with its accuracy, its cycles and its area."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from golden.errors import UserError
from golden.scheme import Scheme, load_scheme
from reports.accuracy import check_labels, float_point, images_said, load_for, shipped_defaults
from reports.accuracy_point import Cell, Plan, Point, gather
from reports.choice import Bits
from reports.commands import results_of
from reports.progress import console
from reports.results import FLOAT, Accuracy, Config, LayerCycles, Results, Tables
from reports.synthesis import SynthesisError
from reports.synthesis.liberty import read_liberty
from reports.tradeoff.energies import operations_of, with_energies
from reports.tradeoff.hardware import Fitting, design_label, fitted
from reports.tradeoff.points import Sweep, SweptPoint
from reports.tradeoff.request import Request
from reports.tradeoff.rows import Design, DesignArea, area_of
from reports.tradeoff.storage import buffers_of
from reports.tradeoff.write import publish
from reports.workload import Workload
from sim.accelerator import Accelerator

SHIPPED = "default"
"""Name of the accelerator description that comes with vitrtl."""


def run_tradeoff(request: Request) -> bool:
    """Measures what is not on disk yet, writes results.json, report.html, designs.csv and tradeoff.md.

    True when every point has all its figures, and golden and sim agree everywhere.
    """
    names = request.schemes or shipped_defaults()
    schemes = [load_scheme(name) for name in names]
    check_labels(names, schemes)
    accelerators = load_accelerators(request.accelerators)
    if request.liberty is not None:
        check_liberty(request.liberty)
    workload = load_for(request.choice, names, schemes)
    sweep = Sweep(
        plan=Plan(
            accelerator=next(iter(accelerators.values())),
            batch_size=request.batch_size,
            checked_images=request.checked_images,
            float64_images=0,
            out=request.out,
        ),
        accelerators=accelerators,
        stimuli=request.liberty is not None,
    )
    cells = [
        Cell(scheme, Bits(weight=weight, act=act, prefix=scheme.name))
        for scheme in schemes
        for weight, act in request.widths
    ]
    baseline = float_point(sweep.plan, workload)
    keys = {cell.bits.label: sweep.key(workload, cell) for cell in cells}
    points, failures = gather(
        cells,
        lambda cell: sweep.load(cell.bits.label, keys[cell.bits.label]),
        lambda cell: sweep.measure(workload, cell, keys[cell.bits.label]),
        request.out,
    )
    fitting = fitted(points, accelerators, request)
    if request.liberty is not None:
        stimuli = {
            design_label(label, name, accelerators): found
            for cell in cells
            if (label := cell.bits.label) in points
            for found in [sweep.stimuli_of(workload, cell, keys[label])]
            for name in accelerators
        }
        fitting = with_energies(fitting, stimuli, request.liberty, request.cache, request.processes)
    results = swept_results(request, workload, [cell for cell in cells if cell.bits.label in points],
                       baseline, points, accelerators, fitting)  # fmt: skip
    publish(results, failures, request.out)
    exact = all(row.differing == 0 for row in results.tables.exactness)
    return exact and not (failures or fitting.failures or fitting.mismatches)


def check_liberty(path: Path) -> None:
    """UserError for a file that is missing or no Liberty file, before anything is measured.

    One without a two-input NAND is said aloud: its areas are in µm² alone.
    """
    try:
        library = read_liberty(path)
    except SynthesisError as error:
        raise UserError(f"--liberty: {error}") from error
    if library.nand2 is None:
        console.print(
            f"{library.name} has no two-input NAND: areas are in µm² alone, and no design has a cost on asic",
            highlight=False,
            markup=False,
        )


def load_accelerators(paths: Sequence[Path]) -> dict[str, Accelerator]:
    """Descriptions by file name; UserError for one that cannot be read, or two of one name."""
    found = {SHIPPED: Accelerator.load()} if not paths else {}
    for path in paths:
        if path.stem in found:
            raise UserError(
                f"--accelerator {path}: another one is named {path.stem!r} as well; rename the file"
            )
        found[path.stem] = Accelerator.load(path)
    return found


def swept_results(
    request: Request,
    workload: Workload,
    cells: Sequence[Cell],
    baseline: Point,
    points: Mapping[str, SweptPoint],
    accelerators: Mapping[str, Accelerator],
    fitting: Fitting,
) -> Results:
    """All rows; those of a run on one accelerator carry the design's label."""
    designs: list[Design] = []
    cycles: list[LayerCycles] = []
    areas: dict[tuple[str, str], DesignArea] = {}
    for cell in cells:
        point = points[cell.bits.label]
        for name, accelerator in accelerators.items():
            run = design_label(cell.bits.label, name, accelerators)
            designs.append(_design(run, cell, name, accelerator, point, workload))
            cycles += [row.model_copy(update={"run": run}) for row in point.cycles[name]]
            for target in request.targets:
                parts = fitting.parts[run, target]
                operations = operations_of(parts, point.cycles[name], accelerator)
                areas[run, target] = area_of(parts, operations, buffers_of(accelerator.memory, target))
    measured = [baseline.tables, *(points[cell.bits.label].tables for cell in cells)]
    tables = Tables(
        **{
            name: tuple(row for table in measured for row in getattr(table, name))
            for name in ("accuracy", "agreement", "fidelity", "exactness", "speed")
        },
        cycles=tuple(cycles),
        designs=tuple(designs),
        parts=tuple(part for parts in fitting.parts.values() for part in parts),
        areas=tuple(areas[key] for key in fitting.parts),
    )
    widths = [Bits(weight=weight, act=act) for weight, act in request.widths]
    results = results_of("tradeoff", workload, tables, next(iter(accelerators.values())), *widths)
    config = results.config.model_dump(exclude_none=True) | {
        "data": images_said(request.choice, workload),
        "scheme": ", ".join(dict.fromkeys(cell.scheme.name for cell in cells)),
        "accelerator": ", ".join(accelerators),
        "targets": ", ".join(request.targets),
        "seed": request.choice.seed,
    }
    return results.model_copy(update={"config": Config.model_validate(config)})


def _design(
    run: str, cell: Cell, name: str, accelerator: Accelerator, point: SweptPoint, workload: Workload
) -> Design:
    integer, fake = (_accuracy(point.tables, level) for level in ("integer", "fakequant"))
    rows: tuple[LayerCycles, ...] = point.cycles[name]
    return Design(
        run=run,
        scheme=cell.scheme.name,
        weight_bits=cell.bits.weight,
        act_bits=cell.bits.act,
        accelerator=name,
        clock_mhz=float(accelerator.clock_mhz),
        top1=integer.top1,
        low=integer.low,
        high=integer.high,
        n=integer.n,
        fakequant_top1=fake.top1,
        cycles=sum(row.cycles for row in rows),
        weight_kib=point.weight_kib,
        exact=all(row.differing == 0 for row in point.tables.exactness),
        config=_config(cell.scheme, cell.bits, name, workload),
    )


def _accuracy(tables: Tables, level: str) -> Accuracy:
    return next(row for row in tables.accuracy if row.level == level and row.run != FLOAT)


def _config(scheme: Scheme, bits: Bits, accelerator: str, workload: Workload) -> dict[str, JsonValue]:
    return {
        "scheme": scheme.model_dump(mode="json", exclude_none=True),
        "weight_bits": bits.weight,
        "act_bits": bits.act,
        "accelerator": accelerator,
        **workload.provenance,
    }

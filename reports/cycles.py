"""`vitrtl cycles`: cycles of a model on an accelerator from its sizes alone, in less than a second.

What the other commands end with would import torch; this one writes the same results.json and report.html without it,
and cycles.csv beside them, which has what the tables of results.json have no column for.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reports.choice import Bits
from reports.outline import outline
from reports.outline.formats import Formats, read_scheme
from reports.outline.sizes import sizes_of
from reports.page import write_page
from reports.results import Config, LayerCycles, Results, Tables, write
from reports.summary import split_block
from reports.tool_versions import tool_versions
from reports.whole_file import write_text
from sim.accelerator import Accelerator
from sim.schedule import OperationCycles, cycles_per_image, schedule

COLUMNS = ("operation", "unit", "cycles", "compute_cycles", "memory_cycles", "bound", "constant_bytes",
           "activation_bytes", "work", "utilisation")  # fmt: skip
"""Of cycles.csv."""


WIDTH = 104
"""Characters of the terminal's table with every column, which a narrower terminal wraps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command's options."""

    model: str
    scheme: str
    bits: Bits
    out: Path
    accelerator: Path | None
    """Description; None: the shipped one."""
    outlier_capacity: int | None
    """Outliers that every list holds; None: not stated."""


def run_cycles(request: Request) -> None:
    """Counts, and writes results.json, report.html and cycles.csv."""
    accelerator, capacity = Accelerator.load(request.accelerator), request.outlier_capacity
    formats = Formats(
        scheme=read_scheme(request.scheme),
        weight_bits=request.bits.weight,
        act_bits=request.bits.act,
        capacity_at=None if capacity is None else lambda _: capacity,
    )
    entries = schedule(outline(sizes_of(request.model), formats), accelerator)
    results = results_of(request, formats.name, accelerator, entries)
    write(results, request.out)
    _write_table(entries, request.out / "cycles.csv")
    page = write_page(results, request.out / "report.html")
    _print(request, results, accelerator, entries)
    print(f"report: {page}")


def results_of(
    request: Request, scheme: str, accelerator: Accelerator, entries: Sequence[OperationCycles]
) -> Results:
    """The results: one row of cycles per operation; what else there is to say stands in the configuration."""
    rows = tuple(
        LayerCycles(
            run=request.bits.label,
            layer=entry.operation,
            unit=entry.unit,
            cycles=entry.cycles,
            utilisation=float(entry.utilisation),
            operations=entry.work,
        )
        for entry in entries
    )
    config = {
        "model": request.model,
        "scheme": scheme,
        "bits": request.bits.label,
        "accelerator": None if request.accelerator is None else request.accelerator.name,
        "clock_mhz": float(accelerator.clock_mhz),
        "weights": "none: cycles follow from sizes and formats",
        "outlier_capacity": request.outlier_capacity,
    } | _memory_config(accelerator, entries)
    return Results(
        command="cycles",
        config=Config.model_validate(config),
        tools=tool_versions(),
        tables=Tables(cycles=rows),
    )


def _memory_config(accelerator: Accelerator, entries: Sequence[OperationCycles]) -> dict[str, object]:
    if accelerator.memory is None:
        return {"memory": "not modelled: every operand is there when its unit wants it"}
    traffic = [entry.traffic for entry in entries if entry.traffic is not None]
    return {
        "memory": asdict(accelerator.memory),
        "constant_bytes": sum(of.constants for of in traffic),
        "activation_bytes": sum(of.activations for of in traffic),
        "compute_cycles": sum(entry.compute_cycles for entry in entries),
        "memory_cycles": sum(entry.memory_cycles or 0 for entry in entries),
        "memory_bound_operations": sum(entry.bound == "memory" for entry in entries),
    }


def _write_table(entries: Sequence[OperationCycles], path: Path) -> None:
    """One line per operation; what is not modelled is left empty."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for entry in entries:
        row = {name: getattr(entry, name) for name in COLUMNS if hasattr(entry, name)}
        row["utilisation"] = f"{float(entry.utilisation):.6f}"
        if entry.traffic is not None:
            row |= {
                "constant_bytes": entry.traffic.constants,
                "activation_bytes": entry.traffic.activations,
            }
        table.writerow(row)
    write_text(path, text.getvalue())


def _print(
    request: Request, results: Results, accelerator: Accelerator, entries: Sequence[OperationCycles]
) -> None:
    """Cycles per layer, summed over the blocks, and the total."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    total, modelled = cycles_per_image(entries), accelerator.memory is not None
    title = f"{request.model}, {results.config.scheme} {request.bits.label}: cycles per image"
    table = Table("layer", "unit", title=title, title_justify="left", box=box.SIMPLE)
    for heading in ("cycles", "%", "of peak, %", *(("of memory", "bytes") if modelled else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for (layer, unit), of in _by_layer(entries).items():
        cycles = cycles_per_image(of)
        peak = sum(entry.utilisation * entry.cycles for entry in of) / cycles
        name = layer if len(of) == 1 else f"{layer} × {len(of)}"
        row = (f"{cycles:,}", f"{100 * cycles / total:.1f}", f"{100 * float(peak):.1f}")
        table.add_row(name, unit, *row, *(_memory_cells(of) if modelled else ()))
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
    print(f"{total:,} cycles, {total / accelerator.clock_mhz / 1000:.3f} ms at {accelerator.clock_mhz} MHz")
    if not modelled:
        print("memory is not modelled: the accelerator's description has no [memory]")
        return
    told = _memory_config(accelerator, entries)
    print(
        f"{told['compute_cycles']:,} cycles of computing, {told['memory_cycles']:,} of memory: "
        f"{told['constant_bytes']:,} bytes of constants, {told['activation_bytes']:,} of activations; "
        f"{told['memory_bound_operations']} of {len(entries)} operations take longer to load than to compute"
    )


def _by_layer(entries: Sequence[OperationCycles]) -> dict[tuple[str, str], list[OperationCycles]]:
    """(layer without its block, unit) -> its operations."""
    layers: dict[tuple[str, str], list[OperationCycles]] = {}
    for entry in entries:
        layers.setdefault((split_block(entry.operation)[1], entry.unit), []).append(entry)
    return layers


def _memory_cells(entries: Sequence[OperationCycles]) -> tuple[str, str]:
    traffic = sum(entry.traffic.total for entry in entries if entry.traffic is not None)
    return f"{sum(entry.memory_cycles or 0 for entry in entries):,}", f"{traffic:,}"

"""bench.md and the tables on the terminal: medians, their spread, ratios, and what exactly was compared."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from reports.bench_kernels import HEADS, INSTALL, TOKENS
from reports.bench_page import IMPLEMENTATIONS, KernelPair, kernel_pairs
from reports.bench_tables import KernelSpeed, Speed, UnitTime
from reports.results import FLOAT, Results

COMPUTING = ("vitrtl", "torch", "timm", "numpy", "numba", "apytypes", "python")
"""Tools that a timing depends on."""
LONGEST = 10
"""Rows of a profile before the rest is summed."""
_MODELS = """\
Medians of {repetitions} repetitions that took turns (float, then fake-quant and sim of each width, and again), in
parentheses the slowest and the fastest; one batch of {batch} images that are in memory, {threads}. *float32* is timm's
own module, eager, under `torch.inference_mode`; *fake-quant* is the float model with every tensor rounded, as papers
measure it; *sim* computes the integers that the RTL computes, checks every tensor against its format, and starts from
the same float images. *first batch* is from the calibrated model (float32: the loaded one) to the first classes: sim
lowers the model and gets its kernels, of which numba compiled {compiled} and took {loaded} from its cache in this run;
matrix products by {products}, the fastest exact way here, chosen at the start.
Calibration, which fake-quant and sim share, is not in it. Every tensor of sim on the first image equals the int64
reference's."""
_KERNELS = f"""\
One thread each, at DeiT-Tiny's sizes: the product of fc1, [197, 192] × [192, 768], weights less a zero point per
channel; the same with the requantisation after it (a multiplier and an offset per channel, shift, saturate); the
softmax of a block, {HEADS} × {TOKENS} rows of {TOKENS} scores, to log√2 codes. The integers of both were equal, every
one, before timing. apytypes gets its operands ready made and no conversion is timed; sim checks the ranges of its own.
In the softmax apytypes computes row maximum, differences, interpolated powers of two and their sum, the subtraction of
logarithms, rounding and saturation; it has no operation for the look-ups in the tables, for a shift by an element of a
tensor and for the log2 of the sums. Their results it is given, and only sim's time has them in it."""


def terminal_tables(results: Results) -> Iterator[Table]:
    """The tables, for a terminal's width."""
    models = Table("run", "", "images/s", "(range)", "/ float", "/ fake", "first, s",
                   title=f"Images per second, {_threads(results)}", title_justify="left")  # fmt: skip
    for row in results.tables.speed:
        models.add_row(row.run, *_model_cells(results, row))
    yield models
    if pairs := kernel_pairs(results):
        compared = Table("kernel", "sim, ms", "apytypes, ms", "times faster",
                         title="Kernels, one thread, equal integers", title_justify="left")  # fmt: skip
        for pair in pairs:
            compared.add_row(pair.sim.kernel, *_kernel_cells(pair))
        yield compared
    for run in dict.fromkeys(row.run for row in results.tables.profile):
        times = Table("unit", "layer", "operations", "ms/image", "share, %",
                      title=f"sim, {run}, one thread", title_justify="left")  # fmt: skip
        for cells in _profile_cells([row for row in results.tables.profile if row.run == run]):
            times.add_row(*cells)
        yield times


def markdown(results: Results, command: str) -> str:
    """The text of bench.md."""
    tools = results.tools
    parts = [
        f"# Speed of sim on {results.config.model}",
        f"{_machine(results)}Measured by",
        f"```sh\n{command}\n```",
        *_models(results),
        *_kernels(results),
        *_profiles(results),
        f"Versions: {', '.join(f'{name} {tools[name]}' for name in COMPUTING if name in tools)}.",
    ]
    return "\n\n".join(parts) + "\n"


def _machine(results: Results) -> str:
    told = results.config.model_dump()
    cores = "one core" if told["machine_cores"] == 1 else f"{told['machine_cores']} cores"
    return (
        f"On {told['machine_cpu']}, {cores}, {told['machine_memory_gib']:g} GiB, "
        f"{told['machine_vectors']}, {told['machine_os']}; {told['data']}, scheme `{told['scheme']}`.\n{_others(told)}"
    )


def _others(told: Mapping[str, Any]) -> str:
    percent = told.get("others_percent")
    return "" if percent is None else f"Other processes took {percent:g} % of all cores' time meanwhile.\n"


def _threads(results: Results) -> str:
    threads = results.config.model_dump()["threads"]
    return "one thread" if threads == 1 else f"{threads} threads each"


def _models(results: Results) -> list[str]:
    told = results.config.model_dump()
    legend = _MODELS.format(
        repetitions=told["repetitions"],
        batch=told["batch_size"],
        threads=_threads(results),
        products=told["products"],
        compiled=told["kernels_compiled"],
        loaded=told["kernels_from_cache"],
    )
    header = ("W/A", "implementation", "images/s", "(slowest to fastest)", "against float32",
              "against fake-quant", "first batch, s")  # fmt: skip
    rows = [
        ("" if row.run == FLOAT else row.run, *_model_cells(results, row)) for row in results.tables.speed
    ]
    return ["## Whole model", legend, _table(header, rows, words=2)]


def _model_cells(results: Results, row: Speed) -> tuple[str, ...]:
    rates = {(r.run, r.implementation): r.images / r.seconds for r in results.tables.speed}
    own = row.images / row.seconds
    against = (rates.get((FLOAT, "float")), rates.get((row.run, "fakequant")))
    ratios = ("" if other is None or other == own else f"{own / other:.2f}" for other in against)
    ends = "" if row.slowest is None or row.fastest is None else (
        f"({row.images / row.slowest:.1f} to {row.images / row.fastest:.1f})"
    )  # fmt: skip
    first = "" if row.first_seconds is None else f"{row.first_seconds:.2f}"
    return (IMPLEMENTATIONS[row.implementation], f"{own:.1f}", ends, *ratios, first)


def _kernels(results: Results) -> list[str]:
    pairs = kernel_pairs(results)
    if not pairs:
        return ["## Kernels beside apytypes", INSTALL + "."]
    header = ("kernel", "sim, ms", "apytypes, ms", "times faster")
    rows = [(pair.sim.kernel, *_kernel_cells(pair)) for pair in pairs]
    return ["## Kernels beside apytypes", _KERNELS, _table(header, rows, words=1)]


def _kernel_cells(pair: KernelPair) -> tuple[str, str, str]:
    ratio = "" if pair.ratio is None else f"{pair.ratio:.1f}"
    return _milliseconds(pair.sim), "" if pair.other is None else _milliseconds(pair.other), ratio


def _milliseconds(row: KernelSpeed) -> str:
    middle = f"{1000 * row.seconds:.3f}"
    if row.fastest is None or row.slowest is None:
        return middle
    return f"{middle} ({1000 * row.fastest:.3f} to {1000 * row.slowest:.3f})"


def _profiles(results: Results) -> list[str]:
    rows = results.tables.profile
    if not rows:
        return []
    parts = ["## Where sim's time goes", "Milliseconds per image on one thread, summed over the blocks."]
    for run in dict.fromkeys(row.run for row in rows):
        cells = _profile_cells([row for row in rows if row.run == run])
        parts.append(
            _table((f"unit ({run})", "layer", "operations", "ms per image", "share, %"), cells, words=2)
        )
    return parts


def _profile_cells(rows: Sequence[UnitTime]) -> list[tuple[str, ...]]:
    """The longest, the sum of the others, and the sum of all."""
    total = sum(row.milliseconds for row in rows)

    def cells(unit: str, layer: str, of: Sequence[UnitTime]) -> tuple[str, ...]:
        own = sum(row.milliseconds for row in of)
        return unit, layer, str(sum(row.count for row in of)), f"{own:.3f}", f"{100 * own / total:.1f}"

    found = [cells(row.unit, row.layer, [row]) for row in rows[:LONGEST]]
    if rest := rows[LONGEST:]:
        found.append(cells("others", f"{len(rest)} kinds", rest))
    return [*found, cells("all", "", rows)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """A Markdown table whose first `words` columns are text and whose others are figures."""
    rule = ["---"] * words + ["---:"] * (len(header) - words)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))

"""The sweep as Markdown for a pull request: answers, the designs no other beats, everything else, tools."""

from collections.abc import Iterator, Mapping, Sequence

from reports.results import FLOAT, Results
from reports.tradeoff.answers import COSTS, amount, answers, bit_steps, pareto, softmax_rows, targets_of
from reports.tradeoff.rows import Buffer


def markdown(results: Results, failures: Mapping[str, str]) -> str:
    """The whole summary; `failures` are points without figures, by run."""
    parts = [_heading(results), *_answers(results)]
    for target in targets_of(results):
        parts += [_designs(results, target), _softmax(results, target), _bits(results, target)]
        parts.append(_beside(results, target))
    parts += [_verified(results), _failures(results, failures), _tools(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(results: Results) -> str:
    config = results.config
    baseline = next((row for row in results.tables.accuracy if row.run == FLOAT), None)
    told = f"{config.model}, {config.data}."
    if baseline is not None:
        told += f" Float: {baseline.top1:.1f} % [{baseline.low:.1f}, {baseline.high:.1f}], n = {baseline.n}."
    return f"# Trade-off\n\n{told} Intervals: 95 %, Wilson. Integers: bit for bit what the hardware computes."


def _answers(results: Results) -> list[str]:
    return [f"**{question}.** " + " ".join(texts) for question, texts in answers(results).items()]


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table, its cells escaped; the first column to the left, figures to the right."""
    if not rows:
        return ""
    lines = [columns, ("---", *["---:"] * (len(columns) - 1)), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _designs(results: Results, target: str) -> str:
    best = set(pareto(results, target))
    areas = {row.run: row for row in results.tables.areas if row.target == target}
    rows = [
        (
            f"**{d.run}**" if d.run in best else d.run,
            f"{d.top1:.1f} [{d.low:.1f}, {d.high:.1f}]",
            f"{d.fakequant_top1:.1f}",
            f"{d.cycles:,}",
            "unknown" if areas[d.run].missing else amount(results, d.run, target),
            "" if areas[d.run].fmax_mhz is None else f"{areas[d.run].fmax_mhz:.0f}",
        )
        for d in sorted(results.tables.designs, key=lambda d: -d.top1)
    ]
    columns = ("design", "integer top-1, %", "fake-quant, %", "cycles", "area", "Fmax, MHz")
    return f"## {target}\n\nBold: no other design is both cheaper and more accurate.\n\n" + table(
        columns, rows
    )


def _softmax(results: Results, target: str) -> str:
    unit = COSTS[target][1]
    rows = [
        (
            row.kind,
            row.run,
            f"{row.units:,.0f}",
            "" if row.element is None else f"{row.element:,.0f}",
            "" if row.clock_mhz is None else f"{row.clock_mhz:.0f}",
            f"{row.top1:.1f}",
        )
        for row in sorted(softmax_rows(results, target), key=lambda row: (row.kind, -row.top1))
    ]
    columns = (
        "attention codes",
        "design",
        f"row unit, {unit}",
        f"multiplier, {unit}",
        "Fmax, MHz",
        "top-1, %",
    )
    return table(columns, rows)


def _bits(results: Results, target: str) -> str:
    rows = [
        (
            step.scheme if step.accelerator == "default" else f"{step.scheme} on {step.accelerator}",
            f"{step.narrow} to {step.wide}",
            f"{step.gain:+.1f}",
            f"{100 * step.cost:+.1f}",
            f"{100 * step.cycles:+.1f}",
        )
        for step in bit_steps(results, target)
    ]
    return table(("scheme", "widths", "top-1, points", "area, %", "cycles, %"), rows)


def _failures(results: Results, failures: Mapping[str, str]) -> str:
    lines = [f"- {run}: {text}" for run, text in failures.items()]
    lines += [f"- {text}" for text in dict.fromkeys(troubles(results))]
    return "## Without figures\n\n" + "\n".join(lines) if lines else ""


def troubles(results: Results) -> Iterator[str]:
    """A line for every part without figures, and for every one whose RTL differs from its model."""
    for part in results.tables.parts:
        if part.failure:
            yield f"{part.unit} on {part.target}: {part.failure}"
    for part in results.tables.parts:
        if part.mismatch:
            yield f"RTL differs from its model: {part.mismatch}"


def _beside(results: Results, target: str) -> str:
    """Weights, buffers and energy of each design; nothing where none of them is known."""
    designs = {design.run: design for design in results.tables.designs}
    areas = [area for area in results.tables.areas if area.target == target]
    if target != targets_of(results)[0] and not any(area.energy or area.buffers for area in areas):
        return ""  # weights are the same on every target
    rows = [
        (
            area.run,
            "" if (weights := designs[area.run].weight_kib) is None else f"{weights:,.1f}",
            "not modelled" if area.buffers is None else ", ".join(map(_buffer, area.buffers)),
            "" if area.energy is None else f"{area.energy / 1000:,.0f} ({', '.join(area.energy_parts)})",
        )
        for area in areas
    ]
    columns = ("design", "weights, KiB", "buffers, in no sum", "relative energy of an image, nJ (of)")
    known = any(area.energy for area in areas)
    return table(columns if known else columns[:3], [row if known else row[:3] for row in rows])


def _buffer(buffer: Buffer) -> str:
    blocks = "" if buffer.block_rams is None else f" (at least {buffer.block_rams} block RAMs)"
    return f"{buffer.name} {buffer.kbit:,.0f} kbit{blocks}"


def _verified(results: Results) -> str:
    """Of how many parts the RTL was compared with its model; nothing where of none."""
    parts = {(part.run, part.unit, part.edge): part for part in results.tables.parts}.values()
    known = sum(part.verified is not None for part in parts)
    return (
        f"RTL equals its model in every vector compared, for {known} of {len(parts)} parts." if known else ""
    )


def _tools(results: Results) -> str:
    used = dict.fromkeys(part.tools for part in results.tables.parts if part.tools)
    return "\n".join(["Tools:", *(f"- {text}" for text in used)]) if used else ""

"""What a sweep answers, in sentences with its own numbers: the cheapest datapath, the softmax, one more bit."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from reports.results import FLOAT, Results
from reports.tradeoff.pareto import cheapest, front
from reports.tradeoff.rows import Design, DesignPart

WITHIN = 1.0
"""Points of accuracy that the cheapest datapath may lose."""
USABLE = 10.0
"""Points below the float model from which on a network is broken, and what its parts cost no longer matters."""
COSTS = {
    "asic": ("nand2", "NAND2"),
    "xcup": ("luts", "LUT"),
    "xc7": ("luts", "LUT"),
    "ecp5": ("luts", "LUT4"),
    "ice40": ("luts", "LUT4"),
}
"""The resource that stands for cost on a target, with its unit; DSPs are named beside it."""
SOFTMAX_KINDS = {
    "softmax": "logarithm (log2, log√2)",
    "threshold_encoder": "tangent codes",
    "two_scale_encoder": "two-scale codes",
    "requantizer": "uniform codes",
}
"""Unit that makes the attention's codes -> their form; the first that is among a design's units decides."""
SOFTMAX_STEPS = ("attn.softmax", "attn.probabilities")
"""Operations from scores to codes."""


class Costed(NamedTuple):
    """A design with its cost on one target."""

    design: Design
    cost: float


def targets_of(results: Results) -> tuple[str, ...]:
    """Targets in the order of the request."""
    return tuple(dict.fromkeys(row.target for row in results.tables.areas))


def costed(results: Results, target: str) -> dict[str, Costed]:
    """Designs whose cost on `target` is known, by run."""
    resource, _ = COSTS[target]
    costs = {row.run: getattr(row, resource) for row in results.tables.areas if row.target == target}
    return {
        design.run: Costed(design, costs[design.run])
        for design in results.tables.designs
        if costs.get(design.run) is not None
    }


def pareto(results: Results, target: str) -> tuple[str, ...]:
    """Runs that no other one beats in both cost on `target` and accuracy of the integers."""
    return front({run: (of.cost, of.design.top1) for run, of in costed(results, target).items()})


def cheapest_answer(results: Results, target: str) -> str | None:
    """The cheapest datapath within a point of the best fake-quant accuracy; None without areas."""
    known = costed(results, target)
    if not known:
        return None
    best = max(results.tables.designs, key=lambda design: design.fakequant_top1)
    least = best.fakequant_top1 - WITHIN
    run = cheapest({name: (of.cost, of.design.top1) for name, of in known.items()}, least)
    goal = (
        f"within {WITHIN:g} point of the best fake-quant accuracy ({best.fakequant_top1:.1f} %, {best.run})"
    )
    if run is None:
        return f"On {target} no datapath of this sweep stays {goal}."
    design, cost = known[run]
    dearest = max(known.values(), key=lambda of: of.cost)
    return (
        f"On {target} the cheapest datapath {goal} is {run}: {design.top1:.1f} % "
        f"[{design.low:.1f}, {design.high:.1f}], {amount(results, run, target)}, {design.cycles:,} cycles an image; "
        f"{100 * (1 - cost / dearest.cost):.0f} % less than the dearest, {dearest.design.run}."
    )


def amount(results: Results, run: str, target: str) -> str:
    """`41,200 LUT4, 64 DSP` of one design."""
    area = next(row for row in results.tables.areas if (row.run, row.target) == (run, target))
    resource, unit = COSTS[target]
    main = getattr(area, resource)
    text = "unknown" if main is None else f"{main:,.0f} {unit}"
    return text + (f", {area.dsps:,.0f} DSP" if area.dsps else "")


class SoftmaxRow(NamedTuple):
    """One form of attention codes at one width: what makes the codes of a row, and what multiplies by them."""

    kind: str
    run: str
    units: float
    """Cost of one row unit with its encoder."""
    element: float | None
    """Cost of one multiply-accumulator that takes the codes."""
    clock_mhz: float | None
    """Of the slowest of them."""
    top1: float


def softmax_rows(results: Results, target: str) -> Iterator[SoftmaxRow]:
    """One row for every design whose softmax units have all their figures."""
    resource, _ = COSTS[target]
    for design in results.tables.designs:
        parts = [p for p in results.tables.parts if (p.run, p.target) == (design.run, target) and not p.edge]
        making = [p for p in parts if any(name.startswith(SOFTMAX_STEPS) for name in p.operations)]
        taking = [
            p for p in parts if any(name.startswith("attn.mix") for name in p.operations) and "mac" in p.unit
        ]
        kind = _kind(making)
        costs = [getattr(part, resource) for part in making]
        if kind is None or None in costs:
            continue
        clocks = [part.fmax_mhz for part in making if part.fmax_mhz is not None]
        yield SoftmaxRow(
            kind=kind,
            run=design.run,
            units=sum(costs),
            element=getattr(taking[0], resource) if taking else None,
            clock_mhz=min(clocks) if len(clocks) == len(making) else None,
            top1=design.top1,
        )


def _kind(making: list[DesignPart]) -> str | None:
    units = {part.unit for part in making}
    return next((kind for unit, kind in SOFTMAX_KINDS.items() if unit in units), None)


class BitStep(NamedTuple):
    """What one scheme gains and pays from one width to the next."""

    scheme: str
    accelerator: str
    narrow: str
    wide: str
    bits: int
    """Between them, of activations."""
    gain: float
    """Points of accuracy."""
    cost: float
    """Share of the narrower one's area that comes on top."""
    cycles: float
    """Share of its cycles."""


def bit_steps(results: Results, target: str) -> Iterator[BitStep]:
    """Neighbouring widths of each scheme on each accelerator, the narrowest first."""
    known = costed(results, target)
    series: dict[tuple[str, str], list[Costed]] = {}
    for of in known.values():
        series.setdefault((of.design.scheme, of.design.accelerator), []).append(of)
    for (scheme, accelerator), found in series.items():
        ordered = sorted(found, key=lambda of: (of.design.act_bits, of.design.weight_bits))
        for narrow, wide in pairwise(ordered):
            if narrow.cost and wide.design.act_bits > narrow.design.act_bits:
                yield BitStep(
                    scheme=scheme,
                    accelerator=accelerator,
                    narrow=_widths(narrow.design),
                    wide=_widths(wide.design),
                    bits=wide.design.act_bits - narrow.design.act_bits,
                    gain=wide.design.top1 - narrow.design.top1,
                    cost=wide.cost / narrow.cost - 1,
                    cycles=wide.design.cycles / narrow.design.cycles - 1,
                )


def _widths(design: Design) -> str:
    return f"W{design.weight_bits}/A{design.act_bits}"


def softmax_answer(results: Results, target: str) -> str | None:
    """One sentence that compares the forms of attention codes at the narrowest width of use; None without.

    Of the widths that most forms share, the narrowest at which the best of them is usable, or else the most accurate.
    """
    rows = list(softmax_rows(results, target))
    runs = {design.run: design for design in results.tables.designs}
    by_width: dict[str, dict[str, SoftmaxRow]] = {}
    for row in rows:
        # Of several schemes with one form the most accurate speaks for it.
        kinds = by_width.setdefault(_widths(runs[row.run]), {})
        if row.kind not in kinds or row.top1 > kinds[row.kind].top1:
            kinds[row.kind] = row
    if not by_width:
        return None
    most = max(map(len, by_width.values()))
    shared = {widths: kinds for widths, kinds in by_width.items() if len(kinds) == most}
    best = {widths: max(row.top1 for row in kinds.values()) for widths, kinds in shared.items()}
    usable = [widths for widths in shared if best[widths] >= _float_top1(results) - USABLE]
    widths = min(usable, key=_activation_bits) if usable else max(shared, key=lambda widths: best[widths])
    kinds = shared[widths]
    _, unit = COSTS[target]
    told = [
        f"{kind} {row.units:,.0f} {unit} a row unit"
        + (f" and {row.element:,.0f} a multiplier" if row.element is not None else "")
        + f" for {row.top1:.1f} % ({row.run})"
        for kind, row in sorted(kinds.items(), key=lambda item: item[1].units)
    ]
    return f"On {target} at {widths}: " + "; ".join(told) + "."


def _float_top1(results: Results) -> float:
    return next(row.top1 for row in results.tables.accuracy if row.run == FLOAT)


def _activation_bits(widths: str) -> int:
    return int(widths.rpartition("/A")[2])


def bits_answer(results: Results, target: str) -> str | None:
    """One sentence on the step that buys most accuracy per area, and the one that buys least; None without steps."""
    steps = [step for step in bit_steps(results, target) if step.cost > 0]
    if not steps:
        return None
    worth = max(steps, key=lambda step: step.gain / step.cost)
    least = min(steps, key=lambda step: step.gain / step.cost)
    told = [
        f"{step.scheme} {step.narrow} to {step.wide} {step.gain:+.1f} points for {100 * step.cost:+.0f} % area"
        for step in (worth, least)
    ]
    return f"On {target} more bits buy most in {told[0]}, and least in {told[1]}."


def answers(results: Results) -> Mapping[str, tuple[str, ...]]:
    """Question -> its answers, one for every target that has one."""
    asked = {
        "The cheapest datapath": cheapest_answer,
        "Softmax: logarithm, tangent, two-scale or uniform": softmax_answer,
        "One more bit": bits_answer,
    }
    found = {
        question: tuple(text for target in targets_of(results) if (text := answer(results, target)))
        for question, answer in asked.items()
    }
    return {question: texts for question, texts in found.items() if texts}

"""What a search has found, in its own numbers: which mixed configuration dominates which uniform-width point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import correlation

from reports.results import Results
from reports.search.proxy import Estimate
from reports.tradeoff.answers import COSTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A configuration with everything measured: integer accuracy, synthesised area, weights, cycles."""

    run: str
    mixed: bool
    top1: float
    """Of the integers, in percent."""
    area: float
    """Of the accelerator, in the target's main resource."""
    dsps: float
    """0 on a target without."""
    estimate: Estimate
    predicted: float
    """The area by the area model."""

    @property
    def costs(self) -> tuple[float, ...]:
        """What dominance compares."""
        return self.area, self.dsps, self.estimate.weight_kib, self.estimate.cycles

    def dominates(self, other: "Candidate") -> bool:
        """No worse in accuracy, area, DSPs, weight memory and cycles, and better in one of them."""
        ours, theirs = (-self.top1, *self.costs), (-other.top1, *other.costs)
        return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def candidates(
    results: Results, estimates: Mapping[str, Estimate], predicted: Mapping[str, float], mixed: Sequence[str]
) -> tuple[Candidate, ...]:
    """Every design whose area is known."""
    areas = {row.run: row for row in results.tables.areas}
    found = []
    for design in results.tables.designs:
        area = areas[design.run]
        main = getattr(area, COSTS[area.target][0])
        if main is not None:
            found.append(
                Candidate(
                    run=design.run,
                    mixed=design.run in mixed,
                    top1=design.top1,
                    area=main,
                    dsps=area.dsps or 0,
                    estimate=estimates[design.run],
                    predicted=predicted[design.run],
                )
            )
    return tuple(found)


def best_uniform(found: Sequence[Candidate]) -> Candidate | None:
    """The uniform-width point of the highest integer accuracy, of equals the smallest in area, then in weights."""
    uniform = [each for each in found if not each.mixed]
    return min(uniform, key=lambda each: (-each.top1, *each.costs, each.run), default=None)


def verdict(found: Sequence[Candidate], unit: str) -> str:
    """Whether a mixed configuration dominates the best uniform-width point, in one sentence."""
    best = best_uniform(found)
    if best is None:
        return "No uniform-width point has all its figures, so nothing can be compared with one."
    winners = [each for each in found if each.mixed and each.dominates(best)]
    told = f"the best uniform-width point, {best.run} ({_figures(best, unit)})"
    if not winners:
        return f"No mixed configuration of this search dominates {told}."
    # Of several the one that saves most of area and weights together.
    winner = min(
        winners, key=lambda w: (w.area / best.area * w.estimate.weight_kib / best.estimate.weight_kib, w.run)
    )
    return (
        f"{winner.run} dominates {told}: {_figures(winner, unit)}; "
        f"{_less(winner.area, best.area)} {unit} and {_less(winner.estimate.weight_kib, best.estimate.weight_kib)} "
        f"weight memory for {winner.top1 - best.top1:+.2f} points."
    )


def dominated(found: Sequence[Candidate]) -> dict[str, tuple[str, ...]]:
    """Uniform-width point -> the mixed configurations that dominate it, for those that any does."""
    pairs = {
        each.run: tuple(other.run for other in found if other.mixed and other.dominates(each))
        for each in found
        if not each.mixed
    }
    return {run: winners for run, winners in pairs.items() if winners}


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's, equal values sharing their mean rank; None below three points or where one side never varies.

    >>> round(rank_correlation([1, 2, 3, 4], [10, 20, 20, 90]), 3)
    0.949
    """
    if len(one) < 3 or len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return correlation(_ranks(one), _ranks(other))


def _ranks(values: Sequence[float]) -> list[float]:
    """Place of each in ascending order, from 0; equal ones share the mean of their places."""
    below = [sum(other < value for other in values) for value in values]
    return [b + (values.count(value) - 1) / 2 for b, value in zip(below, values, strict=True)]


def _figures(of: Candidate, unit: str) -> str:
    dsps = f", {of.dsps:,.0f} DSP" if of.dsps else ""
    estimate = of.estimate
    return (
        f"{of.top1:.2f} %, {of.area:,.0f} {unit}{dsps}, {estimate.weight_kib:.1f} KiB of weights, "
        f"{estimate.cycles:,} cycles"
    )


def _less(ours: float, theirs: float) -> str:
    return f"{100 * (1 - ours / theirs):.1f} % less"

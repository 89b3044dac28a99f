"""Which designs no other one beats."""

from collections.abc import Iterable, Mapping


def front(points: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Names of the points (cost, gain) that none dominates, the cheapest first; of equals all.

    A point dominates another when it is no worse in both and better in one.

    >>> front({"a": (10, 70), "b": (20, 72), "c": (30, 71), "d": (20, 69)})
    ('a', 'b')
    """
    best: list[str] = []
    for name, (cost, gain) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1], item[0])):
        last = points[best[-1]] if best else None
        if last is None or gain > last[1] or (cost, gain) == last:
            best.append(name)
    return tuple(best)


def cheapest(points: Mapping[str, tuple[float, float]], least: float) -> str | None:
    """The point of the least cost among those that gain `least`; of equal costs the one that gains more."""
    enough: Iterable[str] = (name for name, (_, gain) in points.items() if gain >= least)
    return min(enough, key=lambda name: (points[name][0], -points[name][1], name), default=None)

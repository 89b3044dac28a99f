"""Which configurations the exact simulator is worth: challengers of the best uniform point, and the proxy's front."""

from collections.abc import Sequence

from reports.search.found import Found


def survivors(
    found: Sequence[Found], objectives: Sequence[str], rival: dict[str, float], count: int
) -> tuple[Found, ...]:
    """At most `count` of `found`, in the order of their trials.

    Half of them are challengers: no costlier than `rival` in anything and cheaper in something, minimised or not,
    the best by proxy first. The others are spread evenly over the proxy's Pareto front, from the best to the cheapest.
    """
    challengers = [
        each
        for each in found
        if all(each.cost(name) <= cost for name, cost in rival.items())
        and any(each.cost(name) < cost for name, cost in rival.items())
    ]
    chosen = sorted(challengers, key=lambda each: (-each.estimate.logits_db, each.number))[: (count + 1) // 2]
    rest = [each for each in front(found, objectives) if each not in chosen]
    left = count - len(chosen)
    chosen += spread(rest, left)
    return tuple(sorted(chosen, key=lambda each: each.number))


def front(found: Sequence[Found], objectives: Sequence[str]) -> tuple[Found, ...]:
    """Those that no other one beats in quality and every objective together, the best by proxy first."""
    best = [
        each
        for each in found
        if not any(_beats(other, each, objectives) for other in found if other is not each)
    ]
    return tuple(sorted(best, key=lambda each: (-each.estimate.logits_db, each.number)))


def spread(ordered: Sequence[Found], count: int) -> list[Found]:
    """`count` of `ordered` at even distances, the first and the last among them; all where there are no more.

    >>> spread("abcdefg", 3), spread("abcdefg", 1), spread("ab", 3)
    (['a', 'd', 'g'], ['a'], ['a', 'b'])
    """
    if count >= len(ordered):
        return list(ordered)
    last = max(count - 1, 1)
    return [ordered[place * (len(ordered) - 1) // last] for place in range(count)]


def _beats(one: Found, other: Found, objectives: Sequence[str]) -> bool:
    """No worse in anything, better in something."""
    ours = (-one.estimate.logits_db, *(one.cost(name) for name in objectives))
    theirs = (-other.estimate.logits_db, *(other.cost(name) for name in objectives))
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))

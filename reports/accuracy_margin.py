"""Two networks on the same images: how many points apart, and could chance alone do that (McNemar's exact test)?"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


def mcnemar(only_first: int, only_second: int) -> Fraction:
    """Exact two-sided p-value that two classifiers are equally good.

    `only_first` and `only_second` count the images that one gets right and the other wrong. Images that both
    get right or wrong say nothing. Among the n others each is as likely to favour either, so p is twice the
    binomial tail up to the smaller count, at most 1 (McNemar, Psychometrika 12, 1947; the exact form).

    >>> mcnemar(0, 5), mcnemar(1, 5), mcnemar(3, 3), mcnemar(0, 0)
    (Fraction(1, 16), Fraction(7, 32), Fraction(1, 1), Fraction(1, 1))
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts must not be negative, not {only_first} and {only_second}")
    n = only_first + only_second
    ways, tail = 1, 0
    for k in range(min(only_first, only_second) + 1):
        tail += ways
        ways = ways * (n - k) // (k + 1)  # C(n, k + 1) from C(n, k), exact
    return min(Fraction(1), Fraction(2 * tail, 1 << n))


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """One network against another, image by image."""

    only_first: int
    """Images that only the first gets right."""
    only_second: int
    n: int

    @property
    def points(self) -> float:
        """Top-1 of the first minus that of the second, in percentage points."""
        return 100 * (self.only_first - self.only_second) / self.n

    @property
    def p(self) -> Fraction:
        """Two-sided McNemar p-value."""
        return mcnemar(self.only_first, self.only_second)


def margin(first: Sequence[int], second: Sequence[int], labels: Sequence[int]) -> Margin:
    """Margin of the predictions `first` over `second`, classes of the same images in the same order."""
    pairs = [(a == label, b == label) for a, b, label in zip(first, second, labels, strict=True)]
    return Margin(
        only_first=sum(a and not b for a, b in pairs),
        only_second=sum(b and not a for a, b in pairs),
        n=len(pairs),
    )

"""Configurations by the exact simulator, kept on disk as a sweep's points are."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from reports.accuracy_point import Cell, gather
from reports.checkpoint import key_of
from reports.search.proxy import Estimate, Proxy
from reports.tradeoff.points import Sweep, SweptPoint


class SearchedPoint(SweptPoint):
    """A point of a sweep with what the proxy says of it."""

    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exact:
    """How configurations are measured."""

    sweep: Sweep
    proxy: Proxy

    def points(self, cells: Sequence[Cell]) -> tuple[dict[str, SearchedPoint], dict[str, str]]:
        """Points by label, from disk where they are there, and by label what broke."""
        return gather(cells, self._load, self._measure, self.sweep.plan.out)

    def key(self, cell: Cell) -> str:
        """Everything that decides a point."""
        proxy = (files("reports") / "search" / "proxy.py").read_text(encoding="utf-8")
        return key_of(self.sweep.key(self.proxy.workload, cell), len(self.proxy.images), proxy)

    def _load(self, cell: Cell) -> SearchedPoint | None:
        return self.sweep.plan.load(cell.bits.label, self.key(cell), SearchedPoint)

    def _measure(self, cell: Cell) -> SearchedPoint:
        workload = self.proxy.workload
        # The sweep keeps its own point under its own key; only the one below counts as finished here.
        swept = self.sweep.measure(workload, cell, self.sweep.key(workload, cell))
        estimate = self.proxy.estimate(*self.proxy.lowered(cell.scheme, cell.bits))
        point = SearchedPoint(**dict(swept) | {"key": self.key(cell), "estimate": estimate})
        self.sweep.plan.save(cell.bits.label, point)
        return point

"""Everything that `vitrtl accuracy` measured, as its table asks for it."""

from collections.abc import Mapping
from dataclasses import dataclass

from reports.accuracy_margin import Margin, margin
from reports.accuracy_point import Point
from reports.accuracy_published import Figure, Published
from reports.choice import Bits
from reports.results import FLOAT, Results
from reports.summary import accuracy_of
from reports.tables import FLOAT64_PAIR, Accuracy, Agreement, Level, SiteFidelity

BASELINE = "uniform"
"""Scheme that the others' margins are taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything that was measured, in the order of the table."""

    results: Results
    images: str
    """What the images are, without this machine's folders."""
    command: str
    """The command line that measures it."""
    grid: tuple[Bits, ...]
    """Every scheme at every width; the prefix is the scheme's name."""
    points: Mapping[str, Point]
    """Label -> what it gave; the float model under `float`."""
    labels: tuple[int, ...]
    """Right class of every image."""
    failures: Mapping[str, str]
    """Label -> what broke, in one line."""
    published: Published

    @property
    def measured(self) -> tuple[Bits, ...]:
        """The grid without what failed."""
        return tuple(bits for bits in self.grid if bits.label in self.points)

    @property
    def baseline(self) -> Accuracy:
        """The float model."""
        return self.accuracy(FLOAT, "float")

    def accuracy(self, label: str, level: Level) -> Accuracy:
        """Top-1 of a measured point."""
        row = accuracy_of(self.results, label, level)
        if row is None:
            raise KeyError(f"{label} has no accuracy at level {level}")
        return row

    def agreement(self, label: str) -> float:
        """Percent of images for which integer and hardware-zero fake-quant agree."""
        rows = self.results.tables.agreement
        return next(r.percent for r in rows if (r.run, r.pair) == (label, "integer/fakequant_hardware"))

    def float64_agreement(self, label: str) -> Agreement | None:
        """How often hardware-zero fake-quant agrees with itself in float64; None where that was not asked for."""
        rows = self.results.tables.agreement
        return next((row for row in rows if (row.run, row.pair) == (label, FLOAT64_PAIR)), None)

    def sites(self, label: str) -> list[SiteFidelity]:
        """Sites whose codes were compared, the one with most differing codes first."""
        rows = [
            r for r in self.results.tables.fidelity if r.run == label and r.code_mismatch_fraction is not None
        ]
        return sorted(rows, key=lambda row: -(row.code_mismatch_fraction or 0.0))

    def quoted(self, bits: Bits) -> tuple[Figure, ...]:
        """What others publish of this model, scheme and width."""
        return self.published.figures(str(self.results.config.model), bits.prefix, bits.weight, bits.act)

    def margin(self, bits: Bits, level: Level) -> Margin | None:
        """Of a point over the baseline scheme at the same width; None where that one was not measured."""
        other = self.points.get(f"{BASELINE} {bits.widths}")
        if other is None or bits.prefix == BASELINE:
            return None
        return margin(self.points[bits.label].predictions[level], other.predictions[level], self.labels)

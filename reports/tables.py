"""The rows of a result: one frozen model per table, validated when made. An unknown is None and never 0."""

import re
from collections.abc import Hashable, Iterable
from statistics import NormalDist
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from reports.bench_tables import KernelSpeed, Speed, UnitTime
from reports.overflow_table import Overflow
from reports.row import Amount, Count, Fraction, Label, Megahertz, Percent, Positive, Row
from reports.tradeoff.rows import Design, DesignArea, DesignPart
from reports.verification_rows import Mutants, UnitVerification

FLOAT = "float"
"""Level and run label of the unquantised model: one baseline for all runs."""

Level = Literal["float", "fakequant", "fakequant_hardware", "integer"]


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of `correct` out of `n`, in percent.

    >>> [round(end, 2) for end in wilson(50, 100)], wilson(0, 10)[0], wilson(10, 10)[1]
    ([40.38, 59.62], 0.0, 100.0)
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if not 0 <= correct <= n:
        raise ValueError(f"correct must be in [0, {n}], not {correct}")
    z = NormalDist().inv_cdf(0.975)
    p = correct / n
    centre = p + z * z / (2 * n)
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    # At the ends the exact bound is 0 or 1; only rounding would put it elsewhere.
    low = 0.0 if correct == 0 else (centre - half) / (1 + z * z / n)
    high = 1.0 if correct == n else (centre + half) / (1 + z * z / n)
    return 100 * low, 100 * high


class Accuracy(Row):
    """Top-1 of one run at one level."""

    run: Label
    """`W4/A4`; `float` for the float baseline."""
    level: Level
    top1: Percent
    n: Positive
    """Images."""
    low: Percent
    """Lower end of the 95 % Wilson interval, in percent."""
    high: Percent
    logits_sha256: str | None = None
    """Of the integer level: over the SHA-256 of each image's logits, in order; equal where every logit is."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low <= self.top1 <= self.high:
            raise ValueError(f"top1 must lie in [low, high], not {self.low} <= {self.top1} <= {self.high}")
        if (self.level == FLOAT) != (self.run == FLOAT):
            raise ValueError(
                f"run {FLOAT!r} and level {FLOAT!r} go together, not run {self.run!r}, level {self.level!r}"
            )
        return self

    @classmethod
    def of(cls, *, run: str, level: Level, correct: int, n: int, logits: str | None = None) -> "Accuracy":
        """Row of `correct` right predictions among `n` images, with the digest of their logits."""
        low, high = wilson(correct, n)
        return cls(
            run=run, level=level, top1=100 * correct / n, n=n, low=low, high=high, logits_sha256=logits
        )


FLOAT64_PAIR = "fakequant_float64/fakequant_hardware"
"""The fake-quantised model with hardware zero in float64 against float32."""


class Agreement(Row):
    """How often two levels predict the same class."""

    run: Label
    pair: Annotated[str, Field(pattern=r"^[a-z0-9_]+/[a-z0-9_]+$")]
    """`integer/fakequant`."""
    percent: Percent
    n: Positive
    """Images."""


class SiteFidelity(Row):
    """How close one layer's output is to the float model, and the integer codes to the fake-quant ones."""

    run: Label
    layer: Count
    """Position in the model, which orders the rows."""
    site: Label
    """`blocks.0.attn.softmax`."""
    sqnr_fakequant_db: float | None = None
    """Signal to quantisation noise against float, in dB."""
    sqnr_integer_db: float | None = None
    code_mismatch_fraction: Fraction | None = None
    """Integer against fake-quant output codes, from identical input codes."""
    code_mismatch_max: Count | None = None
    """Largest absolute difference of two such codes."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        fraction, largest = self.code_mismatch_fraction, self.code_mismatch_max
        if fraction is not None and largest is not None and (fraction > 0) != (largest > 0):
            raise ValueError(f"{self.site}: {fraction} of the codes differ, but by at most {largest}")
        return self


class LayerCycles(Row):
    """Cycles of one layer for one image."""

    run: Label
    layer: Label
    """`blocks.0.attn.qkv`; rows are in the order of execution."""
    unit: Label
    """Registry name of the unit."""
    cycles: Count
    utilisation: Fraction | None = None
    """Share of the unit's peak operations that did work."""
    operations: Count | None = None
    """Elementary operations of the unit (multiply-accumulates of an array, elements of a vector unit)."""


class Exactness(Row):
    """The int64 reference against the simulator, integer for integer."""

    run: Label
    tensors: Positive
    integers: Positive
    """Compared; comparing none is not a result."""
    differing: Count


class UnitArea(Row):
    """What one unit costs on one target."""

    unit: Label
    spec: Label
    target: Label
    """`ecp5`."""
    luts: Count | None = None
    ffs: Count | None = None
    dsps: Count | None = None
    brams: Amount | None = None
    carries: Count | None = None
    fmax_mhz: Megahertz | None = None
    """After place and route."""
    tools: Label
    """Names and versions; figures move with them."""
    flags: Label
    """Options that shaped the result."""


def _unique(table: str, keys: Iterable[Hashable]) -> None:
    seen: set[Hashable] = set()
    for key in keys:
        if key in seen:
            raise ValueError(f"table {table} has two rows for {key}")
        seen.add(key)


class Tables(Row):
    """Everything measured; a table that a command does not fill stays empty."""

    accuracy: tuple[Accuracy, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    fidelity: tuple[SiteFidelity, ...] = ()
    exactness: tuple[Exactness, ...] = ()
    overflows: tuple[Overflow, ...] = ()
    cycles: tuple[LayerCycles, ...] = ()
    verification: tuple[UnitVerification, ...] = ()
    mutants: tuple[Mutants, ...] = ()
    area: tuple[UnitArea, ...] = ()
    speed: tuple[Speed, ...] = ()
    kernels: tuple[KernelSpeed, ...] = ()
    profile: tuple[UnitTime, ...] = ()
    designs: tuple[Design, ...] = ()
    parts: tuple[DesignPart, ...] = ()
    areas: tuple[DesignArea, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        _unique("accuracy", ((r.run, r.level) for r in self.accuracy))
        _unique("agreement", ((r.run, r.pair) for r in self.agreement))
        _unique("fidelity", ((r.run, r.site) for r in self.fidelity))
        _unique("cycles", ((r.run, r.layer, r.unit) for r in self.cycles))
        _unique("exactness", (r.run for r in self.exactness))
        _unique("overflows", ((r.run, r.operation) for r in self.overflows))
        _unique("verification", ((r.unit, r.spec, r.simulator) for r in self.verification))
        _unique("mutants", (r.file for r in self.mutants))
        _unique("area", ((r.unit, r.spec, r.target) for r in self.area))
        _unique("speed", ((r.run, r.implementation) for r in self.speed))
        _unique("kernels", ((r.kernel, r.implementation) for r in self.kernels))
        _unique("profile", ((r.run, r.layer, r.unit) for r in self.profile))
        _unique("designs", (r.run for r in self.designs))
        _unique("parts", ((r.run, r.unit, r.edge, r.target) for r in self.parts))
        _unique("areas", ((r.run, r.target) for r in self.areas))
        return self

    @property
    def runs(self) -> tuple[str, ...]:
        """Labels of the quantised runs, in order of first appearance."""
        labels = (
            *(row.run for row in self.accuracy),
            *(row.run for row in self.agreement),
            *(row.run for row in self.fidelity),
            *(row.run for row in self.exactness),
            *(row.run for row in self.overflows),
            *(row.run for row in self.cycles),
            *(row.run for row in self.speed),
        )
        return tuple(dict.fromkeys(label for label in labels if label != FLOAT))


def slug(label: str) -> str:
    """Lower case letters, digits and single underscores, for metric names.

    >>> slug("s24 to u4, 16 lanes")
    's24_to_u4_16_lanes'
    """
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")

"""Metrics by name, derived from the tables and from nothing else, so no figure is kept twice."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from reports.row import Count, Percent, Row
from reports.tables import FLOAT, Tables, slug
from reports.tradeoff.rows import RESOURCES, UNITS

Named = tuple[str, "Metric"]


class Metric(Row):
    """One figure."""

    value: int | float
    unit: str
    higher_is_better: bool | None
    """None: neither."""
    n: Count | None = None
    """Images behind it."""
    low: Percent | None = None
    """Lower end of the 95 % interval."""
    high: Percent | None = None


def derive(tables: Tables, clock_mhz: float | None) -> dict[str, Metric]:
    """All metrics of `tables`, by name; a run or a spec is in the name only where there are several.

    An unknown figure has no metric. Raises ValueError where two rows would share a name.
    """
    named: dict[str, Metric] = {}
    for part in (_accuracy(tables), _fidelity(tables), _cycles(tables, clock_mhz), _exactness(tables),
                 _overflows(tables), _verification(tables), _mutants(tables), _area(tables), _speed(tables),
                 _kernels(tables), _profile(tables), _designs(tables)):  # fmt: skip
        for name, metric in part:
            if name in named:
                raise ValueError(
                    f"two rows give metric {name}; their labels must differ in letters or digits"
                )
            named[name] = metric
    return named


def _suffix(tables: Tables, run: str) -> str:
    """`__w4a4` when there are several runs."""
    return "" if run == FLOAT or len(tables.runs) == 1 else "__" + slug(run).replace("_", "")


def _accuracy(tables: Tables) -> Iterator[Named]:
    for row in tables.accuracy:
        yield (
            f"accuracy__{row.level}__top1{_suffix(tables, row.run)}",
            Metric(value=row.top1, unit="%", higher_is_better=True, n=row.n, low=row.low, high=row.high),
        )
    images = {row.n for row in tables.accuracy}
    if len(images) == 1:
        yield "images__count", Metric(value=images.pop(), unit="images", higher_is_better=None)
    for pair in tables.agreement:
        yield (
            f"agreement__{slug(pair.pair)}{_suffix(tables, pair.run)}",
            Metric(value=pair.percent, unit="%", higher_is_better=True, n=pair.n),
        )


def _known(values: Iterable[float | int | None]) -> list[float | int]:
    return [value for value in values if value is not None]


def _fidelity(tables: Tables) -> Iterator[Named]:
    for run in dict.fromkeys(row.run for row in tables.fidelity):
        rows, end = [row for row in tables.fidelity if row.run == run], _suffix(tables, run)
        for level, sqnr in (
            ("fakequant", _known(r.sqnr_fakequant_db for r in rows)),
            ("integer", _known(r.sqnr_integer_db for r in rows)),
        ):
            if sqnr:
                yield (
                    f"fidelity__{level}__worst_sqnr{end}",
                    Metric(value=min(sqnr), unit="dB", higher_is_better=True),
                )
        if fractions := _known(r.code_mismatch_fraction for r in rows):
            yield (
                f"fidelity__codes__worst_mismatch_fraction{end}",
                Metric(value=max(fractions), unit="1", higher_is_better=False),
            )
        if largest := _known(r.code_mismatch_max for r in rows):
            yield (
                f"fidelity__codes__largest_difference{end}",
                Metric(value=max(largest), unit="codes", higher_is_better=False),
            )


def _cycles(tables: Tables, clock_mhz: float | None) -> Iterator[Named]:
    totals: dict[str, int] = defaultdict(int)
    for row in tables.cycles:
        totals[row.run] += row.cycles
    for run, cycles in totals.items():
        end = _suffix(tables, run)
        yield f"cycles__per_image{end}", Metric(value=cycles, unit="cycles", higher_is_better=False)
        if clock_mhz is not None:
            # cycles / MHz is microseconds.
            yield (
                f"time__per_image{end}",
                Metric(value=cycles / clock_mhz / 1000, unit="ms", higher_is_better=False),
            )


def _exactness(tables: Tables) -> Iterator[Named]:
    for row in tables.exactness:
        end = _suffix(tables, row.run)
        yield (
            f"exactness__differing{end}",
            Metric(value=row.differing, unit="integers", higher_is_better=False),
        )
        yield f"exactness__compared{end}", Metric(value=row.integers, unit="integers", higher_is_better=True)


def _overflows(tables: Tables) -> Iterator[Named]:
    for run in dict.fromkeys(row.run for row in tables.overflows):
        rows, end = [row for row in tables.overflows if row.run == run], _suffix(tables, run)
        overflowed, outputs = sum(r.overflowed for r in rows), sum(r.outputs for r in rows)
        for name, value, unit in (
            ("outputs", overflowed, "outputs"),
            ("fraction", overflowed / outputs, "1"),
            ("worst_fraction", max(r.overflowed / r.outputs for r in rows), "1"),
            ("operations", sum(r.overflowed > 0 for r in rows), "operations"),
        ):
            yield f"overflow__{name}{end}", Metric(value=value, unit=unit, higher_is_better=False)
        yield f"overflow__counted{end}", Metric(value=outputs, unit="outputs", higher_is_better=True)


def _verification(tables: Tables) -> Iterator[Named]:
    rows = tables.verification
    if not rows:
        return
    failed = sum(not row.passed for row in rows)
    yield "verify__failed", Metric(value=failed, unit="unit specs", higher_is_better=False)
    yield "verify__vectors", Metric(value=sum(r.beats for r in rows), unit="vectors", higher_is_better=True)
    driven = [r.volume for r in rows if r.volume is not None]
    if driven:
        yield "verify__library_vectors", Metric(value=sum(driven), unit="vectors", higher_is_better=True)
    proofs = [r.proof for r in rows if r.proof is not None]
    if proofs:
        yield "verify__proven", Metric(value=proofs.count("proven"), unit="unit specs", higher_is_better=True)
    for name, counts in (
        ("mismatches", [r.mismatches for r in rows]),
        ("cycle_mismatches", [r.cycle_mismatches for r in rows]),
        ("protocol_errors", [r.protocol_errors for r in rows]),
    ):
        known = _known(counts)
        # One unknown count makes the sum unknown.
        if len(known) == len(rows):
            yield (
                f"verify__{name}",
                Metric(value=sum(known), unit=name.replace("_", " "), higher_is_better=False),
            )


def _mutants(tables: Tables) -> Iterator[Named]:
    rows = tables.mutants
    if not rows:
        return
    survivors = sum(len(row.survivors) for row in rows)
    yield "mutants__survivors", Metric(value=survivors, unit="mutants", higher_is_better=False)
    for name, better in (("planted", True), ("killed", True), ("equivalent", None)):
        count = sum(getattr(row, name) for row in rows)
        yield f"mutants__{name}", Metric(value=count, unit="mutants", higher_is_better=better)


def _area(tables: Tables) -> Iterator[Named]:
    specs = Counter((row.unit, row.target) for row in tables.area)
    for row in tables.area:
        place = f"{slug(row.unit)}__{slug(row.target)}"
        if specs[row.unit, row.target] > 1:
            place += f"__{slug(row.spec)}"
        for name, count in (
            ("luts", row.luts),
            ("ffs", row.ffs),
            ("dsps", row.dsps),
            ("brams", row.brams),
            ("carries", row.carries),
        ):
            if count is not None:
                yield f"area__{place}__{name}", Metric(value=count, unit=name, higher_is_better=False)
        if row.fmax_mhz is not None:
            yield f"fmax__{place}", Metric(value=row.fmax_mhz, unit="MHz", higher_is_better=True)


def _speed(tables: Tables) -> Iterator[Named]:
    rates = {(row.run, row.implementation): row.images / row.seconds for row in tables.speed}
    for (run, implementation), rate in rates.items():
        name = f"{implementation}__images_per_second{_suffix(tables, run)}"
        yield name, Metric(value=rate, unit="images/s", higher_is_better=True)
        for other, against in (
            ("float", rates.get((FLOAT, "float"))),
            ("fakequant", rates.get((run, "fakequant"))),
        ):
            if implementation == "sim" and against is not None:
                ratio = Metric(value=rate / against, unit="1", higher_is_better=True)
                yield f"sim__speed_vs_{other}{_suffix(tables, run)}", ratio
    for row in tables.speed:
        if row.first_seconds is not None:
            name = f"{row.implementation}__first_batch{_suffix(tables, row.run)}"
            yield name, Metric(value=row.first_seconds, unit="s", higher_is_better=False)


def _kernels(tables: Tables) -> Iterator[Named]:
    seconds = {(row.kernel, row.implementation): row.seconds for row in tables.kernels}
    for (kernel, implementation), own in seconds.items():
        name = f"bench__{slug(kernel)}"
        yield f"{name}__{implementation}", Metric(value=1000 * own, unit="ms", higher_is_better=False)
        if implementation == "sim" and (kernel, "apytypes") in seconds:
            ratio = seconds[kernel, "apytypes"] / own
            yield f"{name}__speed_vs_apytypes", Metric(value=ratio, unit="1", higher_is_better=True)


def _profile(tables: Tables) -> Iterator[Named]:
    totals: dict[tuple[str, str], float] = defaultdict(float)
    for row in tables.profile:
        totals[row.run, row.unit] += row.milliseconds
    for (run, unit), milliseconds in totals.items():
        name = f"profile__{slug(unit)}{_suffix(tables, run)}"
        yield name, Metric(value=milliseconds, unit="ms", higher_is_better=False)


def _designs(tables: Tables) -> Iterator[Named]:
    """Of a trade-off; accuracy and cycles have metrics of their own, those of a design add what it costs."""
    for row in tables.areas:
        place = f"design__{slug(row.run)}__{slug(row.target)}"
        for resource in RESOURCES:
            if (amount := getattr(row, resource)) is not None:
                unit = UNITS.get(resource, resource)
                yield f"{place}__{resource}", Metric(value=amount, unit=unit, higher_is_better=False)
        if row.fmax_mhz is not None:
            yield f"{place}__fmax", Metric(value=row.fmax_mhz, unit="MHz", higher_is_better=True)

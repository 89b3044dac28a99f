"""`vitrtl demo`: the whole line on the digits model: integers, RTL on the real scores, area, a report, a sweep."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from reports.area import AreaPoint, measure_points
from reports.choice import Bits, Choice, writable
from reports.commands import publish, report_failures, results_of
from reports.evaluation import Evaluation, Run
from reports.program_check import PARALLEL, Check, checks_of, run_checks, table_row
from reports.progress import console
from reports.synthesis import SynthesisError
from reports.synthesis.tools import package_version
from reports.tradeoff.request import request_of
from reports.tradeoff.sweep import run_tradeoff
from reports.workload import load_workload
from rtl.cosim.runner import find_simulator
from sim.accelerator import Accelerator
from sim.units.softmax import Softmax

RUNS = (Bits(weight=4, act=4), Bits(weight=6, act=6), Bits(weight=8, act=8))
REAL_ROWS = 48
"""Rows of the model's scores per softmax, beside some 20 directed ones."""
DEIT_TOKENS = 197
"""Row length of DeiT at 224 pixels, for an area that compares with other work."""
SWEPT = ("repq", "dopq", "tsptq", "uniform")
"""Schemes of the sweep: logarithms, tangent codes, two scales, uniform codes after the softmax."""
SWEEP = "tradeoff"
"""Its folder."""


def run_demo(out: Path, seed: int) -> bool:
    """Runs everything on the shipped model, writes the report; True when every check passed."""
    find_simulator()
    workload = load_workload(Choice(model="vitrtl_digits", seed=seed))
    evaluation = Evaluation(
        workload=workload,
        accelerator=Accelerator.load(),
        batch_size=90,
        checked_images=len(workload.images),
        out=out,
    )
    evaluation.float_baseline()
    runs = [evaluation.run(bits) for bits in RUNS]
    findings = run_checks([check for run in runs for check in _checks(run)], out / "rtl", seed)
    report_failures(findings)
    areas = measure_points(list(_area_points(runs)), out / "synthesis", PARALLEL)
    tables = evaluation.tables()
    tables = tables.model_copy(
        update={"verification": tuple(table_row(finding) for finding in findings), "area": tuple(areas)}
    )
    missing = _missing()
    more = {} if missing else {f"{SWEEP}/report.html": "Four datapaths side by side"}
    publish(results_of("demo", workload, tables, evaluation.accelerator, *RUNS), out, more)
    exact = all(row.differing == 0 for row in tables.exactness)
    if missing:
        console.print(f"no trade-off: {missing}", highlight=False, markup=False)
    swept = bool(missing) or _sweep(out, seed)
    return exact and all(finding.passed for finding in findings) and swept


def _missing() -> str:
    """What the sweep would need and is not installed, or nothing."""
    try:
        package_version("pyosys")
    except SynthesisError as error:
        return str(error)
    return ""


def _sweep(out: Path, seed: int) -> bool:
    """Four datapaths at W4/A4 side by side, in `out/tradeoff`."""
    console.print("four datapaths at W4/A4 side by side, as vitrtl tradeoff does:", highlight=False)
    writable(out / SWEEP)
    return run_tradeoff(
        request_of(
            Choice(model="vitrtl_digits", seed=seed),
            cache=out / "synthesis",
            processes=None,
            schemes=SWEPT,
            widths=((4, 4),),
            accelerators=(),
            targets=("xcup",),
            liberty=None,
            out=out / SWEEP,
            batch_size=90,
            checked_images=2,
        )
    )


def _checks(run: Run) -> Iterator[Check]:
    checks = list(checks_of(run.program, run.tensors, ("softmax",), REAL_ROWS, run.bits.label))
    yield from checks
    first = checks[0]
    yield replace(first, label=f"{first.label}, base 2", spec=replace(_softmax(first), steps_per_octave=1))


def _area_points(runs: list[Run]) -> Iterator[AreaPoint]:
    """The first softmax of each run as it is, and the 4-bit one with rows as long as DeiT's."""
    for run in runs:
        spec = _softmax(next(checks_of(run.program, run.tensors, ("softmax",), 1, run.bits.label)))
        yield AreaPoint(unit="softmax", label=f"{run.bits.label}, {spec.max_length} tokens", spec=spec)
        if run is runs[0]:
            longer = replace(spec, max_length=DEIT_TOKENS)
            yield AreaPoint(unit="softmax", label=f"{run.bits.label}, {DEIT_TOKENS} tokens", spec=longer)


def _softmax(check: Check) -> Softmax:
    if not isinstance(check.spec, Softmax):
        raise TypeError(f"{check.label} is a {type(check.spec).__name__}, not a softmax")
    return check.spec

"""`vitrtl search`: uniform points, trials by proxy, survivors by the exact simulator, and what came of it."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.storages import RDBStorage
from rich.markup import escape

from golden.errors import UserError
from golden.model import sites_of
from golden.scheme import Scheme, load_scheme
from reports.accuracy import check_labels, float_point, load_for
from reports.accuracy_point import Cell, Plan, sources_digest
from reports.checkpoint import key_of
from reports.choice import Bits
from reports.progress import console
from reports.results import Config
from reports.search.area_model import AreaModel, area_model
from reports.search.exact import Exact, SearchedPoint
from reports.search.found import Found
from reports.search.proxy import proxy_of
from reports.search.request import Request
from reports.search.space import Space, Values, space_of
from reports.search.storage import storage_at
from reports.search.study import Search, open_study
from reports.search.survivors import survivors
from reports.search.verdict import candidates, verdict
from reports.search.write import markdown, write_schemes
from reports.tradeoff.answers import COSTS
from reports.tradeoff.hardware import Fitting, fitted
from reports.tradeoff.needs import needs_of
from reports.tradeoff.points import Sweep
from reports.tradeoff.sweep import load_accelerators, swept_results
from reports.tradeoff.write import publish
from reports.whole_file import write_text
from reports.workload import Workload
from sim.accelerator import Accelerator

LOCK = "search.lock"
"""File in the output folder that a process holds while it runs exact points or writes results."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """Everything loaded."""

    request: Request
    storage: RDBStorage
    """Of the study."""
    workload: Workload
    accelerators: dict[str, Accelerator]
    """One, by its name."""
    exact: Exact
    space: Space
    uniform: tuple[Cell, ...]

    @property
    def accelerator(self) -> Accelerator:
        """The one there is."""
        return next(iter(self.accelerators.values()))


def run_search(request: Request) -> bool:
    """Goes on where the study in the storage is; True when every point run has all its figures and is exact."""
    schemes = _schemes(request.sweep.schemes)
    with storage_at(request.url) as storage:
        return _run(_load(request, schemes, storage))


def _run(setting: Setting) -> bool:
    request = setting.request
    out = request.sweep.out
    with _alone(out):
        points, failures = setting.exact.points(setting.uniform)
        if not points:
            raise UserError(f"no uniform-width point could be measured: {next(iter(failures.values()))}")
        fitting = fitted(points, setting.accelerators, request.sweep)
        model = _area_model(setting, points, fitting)
        search = _search(setting, model)
    _trials(setting, search, model, _rival(points, model))
    with _alone(out):
        mixed = _survivors(setting, search, model, points)
        more, broken = setting.exact.points(mixed)
        whole = fitted(points | more, setting.accelerators, request.sweep)
        return _publish(setting, search, points | more, failures | broken, mixed, whole, model)


def _schemes(names: Sequence[str]) -> list[Scheme]:
    schemes = [load_scheme(name) for name in names]
    check_labels(names, schemes)
    if schemes[0].reconstruction is not None:
        raise UserError(
            f"--scheme {names[0]} learns its rounding, which takes too long for a trial; name another scheme first"
        )
    return schemes


def _load(request: Request, schemes: Sequence[Scheme], storage: RDBStorage) -> Setting:
    sweep_request = request.sweep
    accelerators = load_accelerators(sweep_request.accelerators)
    workload = load_for(sweep_request.choice, sweep_request.schemes, schemes).with_scheme(schemes[0])
    accelerator = next(iter(accelerators.values()))
    plan = Plan(
        accelerator=accelerator,
        batch_size=sweep_request.batch_size,
        checked_images=sweep_request.checked_images,
        float64_images=0,
        out=sweep_request.out,
    )
    proxy = proxy_of(workload, accelerator, request.proxy_images)
    return Setting(
        request=request,
        storage=storage,
        workload=workload,
        accelerators=accelerators,
        exact=Exact(sweep=Sweep(plan=plan, accelerators=accelerators), proxy=proxy),
        space=space_of(schemes, sites_of(workload.model), request.low, request.high, request.per),
        uniform=tuple(_cell(scheme, *widths) for scheme in schemes for widths in sweep_request.widths),
    )


def _cell(scheme: Scheme, weight: int, act: int) -> Cell:
    return Cell(scheme, Bits(weight=weight, act=act, prefix=scheme.name))


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One process at a time in a folder; others wait, and then find on disk what it has done."""
    with (out / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _area_model(setting: Setting, points: dict[str, SearchedPoint], fitting: Fitting) -> AreaModel:
    (target,) = setting.request.sweep.targets
    parts = {run: of for (run, _), of in fitting.parts.items()}
    needs = {label: point.needs for label, point in points.items()}
    return area_model(needs, parts, setting.accelerator, target)


def _search(setting: Setting, model: AreaModel) -> Search:
    """The study, named by everything that decides a trial, so that none of another setting is taken for one."""
    request, workload = setting.request, setting.workload
    name = key_of(
        sources_digest(),
        *sorted(workload.provenance.items()),
        workload.calibration_source.digest(),
        *(scheme.model_dump_json() for scheme in setting.space.schemes),
        *setting.space.choices.items(),
        request.per,
        request.objectives,
        request.budget,
        request.proxy_images,
        model,
    )
    return Search(
        study=open_study(setting.storage, f"vitrtl {name[:16]}", request.objectives),
        space=setting.space,
        seed=request.sweep.choice.seed,
        objectives=request.objectives,
        budget=request.budget,
    )


def _trials(setting: Setting, search: Search, model: AreaModel, rival: str) -> None:
    space, proxy = setting.space, setting.exact.proxy

    def measure(number: int, values: Values) -> Found:
        name = f"mixed-{number}"
        calibrated, program = proxy.lowered(space.scheme(name, values), space.widest(name, values))
        estimate, area = proxy.estimate(calibrated, program), model.estimate(needs_of(program))
        return Found(number=number, values=dict(values), estimate=estimate, area=area)

    ordered = sorted(setting.uniform, key=lambda cell: cell.bits.label != rival)
    search.run(setting.request.trials, _uniform_values(space, ordered), measure)


def _uniform_values(space: Space, cells: Sequence[Cell]) -> list[Values]:
    """The uniform points as configurations of the space, where they lie in it: what the search improves on."""
    found = [space.uniform(cell.scheme, cell.bits) for cell in cells]
    return [values for values in found if values is not None]


def _survivors(
    setting: Setting, search: Search, model: AreaModel, points: dict[str, SearchedPoint]
) -> list[Cell]:
    """Mixed configurations worth the simulator; the uniform ones have been run under their own names."""
    uniform = _uniform_values(setting.space, setting.uniform)
    found = [each for each in search.found() if each.values not in uniform]
    rival = _costs(points[_rival(points, model)], model)
    objectives, count = setting.request.objectives, setting.request.survivors
    names = [(f"mixed-{each.number}", each.values) for each in survivors(found, objectives, rival, count)]
    return [Cell(setting.space.scheme(name, of), setting.space.widest(name, of)) for name, of in names]


def _rival(points: dict[str, SearchedPoint], model: AreaModel) -> str:
    """The point to beat, as verdict.best_uniform chooses, by the area model where that goes by synthesis."""
    return min(points, key=lambda run: (-_top1(points[run]), *_costs(points[run], model).values()))


def _costs(point: SearchedPoint, model: AreaModel) -> dict[str, float]:
    """Every cost of OBJECTIVES before synthesis."""
    estimate = point.estimate
    return {
        "area": model.estimate(point.needs),
        "weight_kib": estimate.weight_kib,
        "cycles": float(estimate.cycles),
    }


def _top1(point: SearchedPoint) -> float:
    return next(row.top1 for row in point.tables.accuracy if row.level == "integer")


def _publish(
    setting: Setting,
    search: Search,
    points: dict[str, SearchedPoint],
    failures: dict[str, str],
    mixed: Sequence[Cell],
    fitting: Fitting,
    model: AreaModel,
) -> bool:
    request = setting.request
    cells = [cell for cell in (*setting.uniform, *mixed) if cell.bits.label in points]
    baseline = float_point(setting.exact.sweep.plan, setting.workload)
    swept = swept_results(
        request.sweep, setting.workload, cells, baseline, points, setting.accelerators, fitting
    )
    found = candidates(
        swept,
        {label: point.estimate for label, point in points.items()},
        {label: model.estimate(point.needs) for label, point in points.items()},
        [cell.bits.label for cell in mixed],
    )
    unit = COSTS[request.sweep.targets[0]][1]
    answer = verdict(found, unit)
    study = {
        "study": search.study.study_name,
        "trials within the budget": str(len(search.found())),
        "trials that could not be measured": str(search.failures()),
        "budget": ", ".join(f"{name} at most {limit:g}" for name, limit in request.budget) or "none",
    }
    config = swept.config.model_dump(exclude_none=True) | {"search": answer} | study
    results = swept.model_copy(update={"command": "search", "config": Config.model_validate(config)})
    write_schemes(mixed, request.sweep.out)
    write_text(request.sweep.out / "search.md", markdown(found, unit, study))
    publish(results, failures, request.sweep.out)
    console.print(escape(answer), highlight=False)
    return not failures and not fitting.failures and all(r.differing == 0 for r in swept.tables.exactness)

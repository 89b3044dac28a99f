"""`vitrtl accuracy`: every scheme at every width on the same images, point by point, none of them lost."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from golden.errors import UserError
from golden.model import sites_of
from golden.scheme import Scheme, load_scheme
from reports.accuracy_point import Cell, Plan, Point, gather, measured
from reports.accuracy_published import load_published
from reports.accuracy_survey import Survey
from reports.accuracy_table import markdown, terminal_table
from reports.checkpoint import discard
from reports.choice import Bits, Choice
from reports.commands import results_of
from reports.page import write_page
from reports.progress import console
from reports.results import FLOAT, Config, Results, Tables, write
from reports.tables import slug
from reports.whole_file import write_text
from reports.workload import Workload, load_workload
from sim.accelerator import Accelerator

DEFAULT_SCHEMES = ("repq", "tsptq", "dopq", "adfq", "uniform", "fqvit", "ptq4vit")
"""Of these, all that ship."""
COMMAND_WIDTH = 100
"""Characters after which the command line goes on in the next line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command's options, checked as far as that goes without loading anything heavy."""

    choice: Choice
    """Model and data; its scheme is not used."""
    schemes: tuple[str, ...]
    """Shipped names or TOML files; none: the default ones."""
    widths: tuple[int, ...]
    out: Path
    batch_size: int
    checked_images: int
    float64_images: int

    def command(self, schemes: Sequence[str]) -> str:
        """The command line, every path reduced to its last two parts, so that none tells whose machine this is."""
        choice = self.choice
        paths = {"--weights": choice.weights, "--images": choice.images, "--calib": choice.calib}
        options = [("--model", choice.model)]
        options += [(name, short(path)) for name, path in paths.items() if path is not None]
        options += [("--class-map", short(choice.class_map))] if choice.class_map is not None else []
        options += [("--scheme", short(Path(scheme))) for scheme in schemes]
        options += [("--bits", str(bits)) for bits in self.widths]
        options += [("--limit", str(choice.limit))] if choice.limit is not None else []
        options += [("--seed", str(choice.seed)), ("--batch-size", str(self.batch_size))]
        options += [("--check-images", str(self.checked_images))]
        options += [("--float64-images", str(self.float64_images)), ("--out", short(self.out))]
        lines = ["vitrtl accuracy"]
        for word in (f"{name} {shlex.quote(value)}" for name, value in options):
            if len(lines[-1]) + len(word) < COMMAND_WIDTH:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return " \\\n    ".join(lines)


def run_accuracy(request: Request) -> bool:
    """Measures what is not on disk yet and writes accuracy.md, results.json and report.html; True when all is well."""
    names = request.schemes or shipped_defaults()
    schemes = [load_scheme(name) for name in names]
    check_labels(names, schemes)
    accelerator = Accelerator.load()
    workload = load_for(request.choice, names, schemes)
    plan = Plan(
        accelerator=accelerator,
        batch_size=request.batch_size,
        checked_images=request.checked_images,
        float64_images=request.float64_images,
        out=request.out,
    )
    cells = [
        Cell(scheme, Bits(weight=width, act=width, prefix=scheme.name))
        for scheme in schemes
        for width in request.widths
    ]
    points, failures = _measure(plan, workload, cells)
    survey = Survey(
        results=_results(request, schemes, workload, points, accelerator),
        images=images_said(request.choice, workload),
        command=request.command(names),
        grid=tuple(cell.bits for cell in cells),
        points=points,
        labels=tuple(workload.images.labels.tolist()),
        failures=failures,
        published=load_published(),
    )
    _publish(survey, request.out)
    return not failures and all(row.differing == 0 for row in survey.results.tables.exactness)


def load_for(choice: Choice, names: Sequence[str], schemes: Sequence[Scheme]) -> Workload:
    """The workload under the first scheme that draws few images; UserError where any scheme does not fit it."""
    few = next((n for n, s in zip(names, schemes, strict=True) if s.reconstruction is None), names[0])
    workload = load_workload(replace(choice, scheme=few))
    for scheme in schemes:
        scheme.check_names(*sites_of(workload.model))
        workload.check_enough(scheme)
    return workload


def shipped_defaults() -> tuple[str, ...]:
    """The default schemes, without those that this version does not ship."""
    shipped = {entry.name for entry in files("golden.schemes").iterdir()}
    return tuple(name for name in DEFAULT_SCHEMES if f"{name}.toml" in shipped)


def short(path: Path) -> str:
    """The last two parts of `path`.

    >>> short(Path("/home/me/data/imagenet/val")), short(Path("repq"))
    ('imagenet/val', 'repq')
    """
    return "/".join([part for part in path.parts if part != path.anchor][-2:]) or "."


def check_labels(names: Sequence[str], schemes: Sequence[Scheme]) -> None:
    """UserError where two schemes would share a label."""
    seen: dict[str, str] = {}
    for name, scheme in zip(names, schemes, strict=True):
        label = slug(scheme.name).replace("_", "")
        if label in seen:
            raise UserError(
                f"--scheme {seen[label]} and --scheme {name} are both named {scheme.name!r}; "
                "give one of the files another name = ..."
            )
        seen[label] = name


def _measure(
    plan: Plan, workload: Workload, cells: Sequence[Cell]
) -> tuple[dict[str, Point], dict[str, str]]:
    """Points by label, from disk where they are there, and what broke; the float model is the first point."""
    keys = {cell.bits.label: plan.key(workload, cell) for cell in cells}
    first = {FLOAT: float_point(plan, workload)}
    points, failures = gather(
        cells,
        lambda cell: plan.load(cell.bits.label, keys[cell.bits.label], Point),
        lambda cell: _point(plan, workload, cell, keys[cell.bits.label]),
        plan.out,
    )
    return first | points, failures


def float_point(plan: Plan, workload: Workload) -> Point:
    """The float model's point, from disk or measured."""
    key = plan.key(workload, None)
    point = plan.load(FLOAT, key, Point)
    if point is None:
        began, evaluation = time.monotonic(), plan.evaluation(workload)
        evaluation.float_baseline()
        point = measured(evaluation, key, time.monotonic() - began)
        plan.save(FLOAT, point)
    return point


def _point(plan: Plan, workload: Workload, cell: Cell, key: str) -> Point:
    # The scheme's images are drawn here and dropped after: those of a reconstruction take 600 MB.
    began, evaluation = time.monotonic(), plan.evaluation(workload.with_scheme(cell.scheme))
    evaluation.run(cell.bits)
    point = measured(evaluation, key, time.monotonic() - began)
    plan.save(cell.bits.label, point)
    return point


def _results(
    request: Request,
    schemes: Sequence[Scheme],
    workload: Workload,
    points: dict[str, Point],
    accelerator: Accelerator,
) -> Results:
    tables = [point.tables for point in points.values()]
    merged = Tables(
        **{name: tuple(row for t in tables for row in getattr(t, name)) for name in Tables.model_fields}
    )
    widths = [Bits(weight=width, act=width) for width in request.widths]
    results = results_of("accuracy", workload, merged, accelerator, *widths)
    config = results.config.model_dump(exclude_none=True) | {
        "scheme": ", ".join(scheme.name for scheme in schemes),
        "data": images_said(request.choice, workload),
        "calibration_images": ", ".join(str(n) for n in sorted({s.calibration.images for s in schemes})),
        "check_images": request.checked_images,
        "batch_size": request.batch_size,
    }
    return results.model_copy(update={"config": Config.model_validate(config)})


def images_said(choice: Choice, workload: Workload) -> str:
    """What the images are, none of the machine's folders in it."""
    if choice.images is None:
        return workload.images.describe()
    return f"{len(workload.images)} images of {short(choice.images)}"


def _publish(survey: Survey, out: Path) -> None:
    write(survey.results, out)
    page = write_page(survey.results, out / "report.html")
    table = write_text(out / "accuracy.md", markdown(survey))
    discard(out)
    Console().print(terminal_table(survey))
    _note(f"table: {table}, report: {page}")


def _note(text: str) -> None:
    console.print(escape(text), highlight=False)

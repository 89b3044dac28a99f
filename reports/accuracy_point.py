"""One point of the accuracy table, kept on disk under everything that decides it, so that no finished point is lost."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from statistics import mean
from typing import NamedTuple, TypeVar

from pydantic import ValidationError
from rich.markup import escape

from golden.errors import InvariantError
from golden.reconstruction import best_device
from golden.scheme import Scheme
from reports.checkpoint import key_of
from reports.choice import Bits
from reports.evaluation import Evaluation
from reports.progress import console
from reports.row import Count, Row, Seconds
from reports.tables import Level, Tables, slug
from reports.tool_versions import tool_versions
from reports.whole_file import write_text
from reports.workload import Workload
from sim.accelerator import Accelerator

FOLDER = "points"
"""Below the command's output folder."""
COMPUTING = ("vitrtl", "python", "platform", "torch", "timm", "numpy", "numba")
"""Tools that decide a figure; the others draw or synthesise."""
_DECIDING = ("evaluation.py", "networks.py", "predictions.py", "tables.py", "workload.py")
"""Files of reports that shape a point's rows; of golden and sim all do."""


class Cell(NamedTuple):
    """A point of the table before it is measured."""

    scheme: Scheme
    bits: Bits
    """Prefixed with the scheme's name."""


class Point(Row):
    """What one scheme at one width gave, or the float model."""

    key: str
    """SHA-256 over everything that decides the rest."""
    seconds: Seconds
    """Time it took, for the estimate of what is left."""
    tables: Tables
    predictions: dict[Level, tuple[Count, ...]]
    """Class of every image, in order."""


P = TypeVar("P", bound=Point)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """How every point is measured."""

    accelerator: Accelerator
    batch_size: int
    checked_images: int
    float64_images: int
    out: Path

    def key(self, workload: Workload, cell: Cell | None) -> str:
        """Key of a point; no cell: the float model, which no scheme, calibration or accelerator decides."""
        tools = tool_versions()
        parts: list[object] = [
            sources_digest(),
            *(f"{name} {tools.get(name)}" for name in COMPUTING),
            *sorted(workload.provenance.items()),
            workload.images.digest(),
            self.batch_size,
        ]
        if cell is not None:
            # The seed, what calibration draws from and how many the scheme asks for decide the draw.
            parts += [cell.bits.label, cell.scheme.model_dump_json(), workload.calibration_source.digest()]
            parts += [best_device().type, self.checked_images, self.float64_images, self.accelerator]
        return key_of(*parts)

    def evaluation(self, workload: Workload) -> Evaluation:
        """A fresh evaluation: its rows are one point's."""
        return Evaluation(
            workload=workload,
            accelerator=self.accelerator,
            batch_size=self.batch_size,
            checked_images=self.checked_images,
            float64_images=self.float64_images,
            out=self.out,
            save_programs=False,
        )

    def load(self, label: str, key: str, kind: type[P]) -> P | None:
        """The finished point; a file that is absent, damaged, of another key or kind is none."""
        try:
            point = kind.model_validate_json(self._file(label).read_bytes())
        except (OSError, ValidationError):
            return None
        return point if point.key == key else None

    def save(self, label: str, point: Point) -> None:
        """Keeps a finished point, written beside first and then renamed."""
        write_text(self._file(label), point.model_dump_json())

    def _file(self, label: str) -> Path:
        return self.out / FOLDER / f"{slug(label)}.json"


def gather(
    cells: Sequence[Cell],
    load: Callable[[Cell], P | None],
    measure: Callable[[Cell], P],
    place: Path,
) -> tuple[dict[str, P], dict[str, str]]:
    """Points by label, those that `load` finds and the others measured one by one; and by label what broke.

    Whatever breaks in one point, a bug or a codec that refuses its tensor, is said aloud and costs no other point.
    """
    kept = {cell.bits.label: point for cell in cells if (point := load(cell))}
    if kept:
        _note(f"{len(kept)} of {len(cells)} points taken from {place / FOLDER}")
    points: dict[str, P] = {}
    failures: dict[str, str] = {}
    clock = Clock({cell.bits: kept[cell.bits.label].seconds for cell in cells if cell.bits.label in kept})
    waiting = [cell.bits for cell in cells if cell.bits.label not in kept]
    for number, cell in enumerate(cells, 1):
        label = cell.bits.label
        if label in kept:
            points[label] = kept[label]
            continue
        _note(f"point {number} of {len(cells)}: {label}{clock.left(waiting)}")
        try:
            points[label] = measure(cell)
            clock.seconds[cell.bits] = points[label].seconds
        except (InvariantError, ValueError) as error:
            failures[label] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            console.print(f"[red]{escape(label)}[/red]: {escape(failures[label])}", highlight=False)
        waiting.remove(cell.bits)
    return points, failures


def _note(text: str) -> None:
    console.print(escape(text), highlight=False)


@dataclass(slots=True)
class Clock:
    """How long points took, those of earlier runs included."""

    seconds: dict[Bits, float]

    def left(self, waiting: Sequence[Bits]) -> str:
        """Estimate for the `waiting` points from others of the same scheme, or from all; nothing before the first."""
        if not self.seconds:
            return ""
        seconds = sum(self._of(bits.prefix) for bits in waiting)
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"

    def _of(self, scheme: str) -> float:
        """Mean of a point of `scheme`: learning makes one take a hundred times as long as another's."""
        alike = [taken for bits, taken in self.seconds.items() if bits.prefix == scheme]
        return mean(alike or self.seconds.values())


def measured(evaluation: Evaluation, key: str, seconds: float) -> Point:
    """The point that `evaluation` has come to."""
    predictions = {
        level: tuple(found.classes.tolist()) for (_, level), found in evaluation.predictions.items()
    }
    return Point(key=key, seconds=seconds, tables=evaluation.tables(), predictions=predictions)


def sources_digest() -> str:
    """SHA-256 over the Python files of golden and sim, and those of reports that shape a point: some 10 ms."""
    total = hashlib.sha256()
    for package in ("golden", "sim"):
        _add(files(package), package, total)
    for name in _DECIDING:
        total.update((files("reports") / name).read_bytes())
    return total.hexdigest()


def _add(folder: Traversable, name: str, total: "hashlib._Hash") -> None:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            _add(entry, f"{name}/{entry.name}", total)
        elif entry.name.endswith(".py"):
            total.update(f"{name}/{entry.name}\n".encode() + entry.read_bytes())

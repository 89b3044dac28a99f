"""Results of the mutation run: by file, as a table and as rows of JSON, survivors with their lines."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

KILLED, EQUIVALENT, SURVIVED = "killed", "equivalent", "survived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one mutant."""

    key: str
    """Hash of the file's code and the fault."""
    path: str
    line: int
    change: str
    status: str
    """killed, equivalent or survived."""
    how: str
    """Of a killed one what found it: refused (it could not be built), bits, cycles, simulation. Of an equivalent one:
    same netlist, or proven. Of a survivor: unseen, or unreached (no case runs its place)."""
    text: str
    """The first finding, in a line."""
    case: str
    """`unit/label` that killed it; empty for another."""
    digest: str
    """Of that case, or of all cases where none did: the verdict holds as long as it does."""
    seconds: float

    @property
    def where(self) -> str:
        """`file:line` and the change."""
        return f"{self.path}:{self.line}  {self.change}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """Verdicts of one file."""

    path: str
    faults: int
    """Places and changes there are; more than were planted when a sample was asked for."""
    verdicts: tuple[Verdict, ...]

    def count(self, status: str, how: str | None = None) -> int:
        """Verdicts of one status, and of one finding."""
        return sum(v.status == status and how in (None, v.how) for v in self.verdicts)

    @property
    def survivors(self) -> tuple[Verdict, ...]:
        """What nothing found, in the order of the text."""
        left = [verdict for verdict in self.verdicts if verdict.status == SURVIVED]
        return tuple(sorted(left, key=lambda verdict: (verdict.line, verdict.change)))

    @property
    def seconds(self) -> float:
        """Time of the workers, all together."""
        return sum(verdict.seconds for verdict in self.verdicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class MutationResult:
    """All of a run."""

    files: tuple[FileResult, ...]
    seed: int

    @property
    def survivors(self) -> tuple[Verdict, ...]:
        """Of all files."""
        return tuple(verdict for file in self.files for verdict in file.survivors)

    @property
    def passed(self) -> bool:
        """True when every fault was killed or is equivalent."""
        return not self.survivors

    def rows(self) -> list[dict[str, object]]:
        """One row per file, fit for JSON; survivors in full."""
        return [
            {
                "file": file.path,
                "faults": file.faults,
                "planted": len(file.verdicts),
                KILLED: file.count(KILLED),
                "refused": file.count(KILLED, "refused"),
                EQUIVALENT: file.count(EQUIVALENT),
                "proven": file.count(EQUIVALENT, "proven"),
                SURVIVED: len(file.survivors),
                "seconds": round(file.seconds, 1),
                "survivors": [asdict(verdict) for verdict in file.survivors],
            }
            for file in self.files
        ]

    def write(self, path: Path) -> None:
        """The rows as a JSON file, whole or not at all."""
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps({"seed": self.seed, "files": self.rows()}, indent=1) + "\n")
        os.replace(beside, path)

    def table(self) -> "Table":
        """Files × planted × killed × equivalent × survivors."""
        from rich.table import Table

        table = Table(
            title="Mutation run",
            caption="refused: could not be built; proven: by Yosys, the others have the same netlist",
        )
        table.add_column("file")
        for name in COLUMNS:
            table.add_column(name, justify="right")
        for cells in self._cells():
            table.add_row(*cells, end_section=cells[0] == "all")
        return table

    def markdown(self) -> str:
        """The same for a page of the documentation."""
        lines = [f"| file | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
        lines += [f"| {' | '.join(cells)} |" for cells in self._cells()]
        return "\n".join(lines) + "\n"

    def _cells(self) -> Iterator[Sequence[str]]:
        for file in self.files:
            yield file.path, *_figures([file])
        for layer in ("rtl", "sim"):
            of_layer = [file for file in self.files if file.path.startswith(f"{layer}/")]
            if of_layer:
                yield f"all of {layer}", *_figures(of_layer)


COLUMNS = (
    "planted",
    "killed",
    "refused",
    "equivalent",
    "proven",
    "survivors",
    "killed of the others",
    "seconds",
)


def _figures(files: Sequence[FileResult]) -> list[str]:
    def total(status: str, how: str | None = None) -> int:
        return sum(file.count(status, how) for file in files)

    planted, killed, left = sum(len(file.verdicts) for file in files), total(KILLED), total(SURVIVED)
    share = f"{100 * killed / (killed + left):.1f} %" if killed + left else "–"
    return [
        *map(
            str,
            (planted, killed, total(KILLED, "refused"), total(EQUIVALENT), total(EQUIVALENT, "proven"), left),
        ),
        *(share, f"{sum(file.seconds for file in files):.0f}"),
    ]

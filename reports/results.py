"""What a command found, as results.json in schema `vitrtl-results/1`; written whole, checked when read."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from golden.errors import UserError
from reports.bench_tables import KernelSpeed, Speed, UnitTime
from reports.metrics import Metric, derive
from reports.overflow_table import Overflow
from reports.row import Megahertz, Row
from reports.tables import (
    FLOAT,
    Accuracy,
    Agreement,
    Exactness,
    LayerCycles,
    Level,
    SiteFidelity,
    Tables,
    UnitArea,
    wilson,
)
from reports.verification_rows import UnitVerification
from reports.whole_file import write_text

__all__ = [
    "FLOAT", "SCHEMA", "Accuracy", "Agreement", "Config", "Exactness", "KernelSpeed", "LayerCycles", "Level",
    "Metric", "Overflow", "Results", "SiteFidelity", "Speed", "Tables", "UnitArea", "UnitTime", "UnitVerification",
    "read", "wilson", "write",
]  # fmt: skip

SCHEMA: Final = "vitrtl-results/1"


class Config(BaseModel):
    """What the command was asked to do: the keys the report knows, and any other JSON value beside them."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue]

    model: str | None = None
    """`deit_tiny_patch16_224`."""
    scheme: str | None = None
    """`repq`."""
    data: str | None = None
    """What the images are, in words: `digits, 360 test images`."""
    accelerator: str | None = None
    """Name of the accelerator description."""
    clock_mhz: Megahertz | None = None
    """Clock of the accelerator; with it the report states times, without it only cycles."""

    @model_validator(mode="before")
    @classmethod
    def _drop_unset(cls, given: Any) -> Any:
        return (
            {key: value for key, value in given.items() if value is not None}
            if isinstance(given, dict)
            else given
        )


class Results(Row):
    """One command's results. `metrics` follow from `tables` and are not given."""

    command: Annotated[str, Field(min_length=1)]
    """`simulate`."""
    config: Config = Field(default_factory=Config)
    tools: dict[str, str] = Field(default_factory=dict)
    """Name -> version of everything that shaped a figure."""
    tables: Tables = Field(default_factory=Tables)

    @model_validator(mode="after")
    def _check(self) -> "Results":
        # Two rows that would share a metric's name are refused here, not when writing.
        derive(self.tables, self.config.clock_mhz)
        return self

    @property
    def metrics(self) -> dict[str, Metric]:
        """Metric by name, derived from the tables."""
        return derive(self.tables, self.config.clock_mhz)

    def document(self) -> dict[str, Any]:
        """The JSON object of results.json: unknowns and empty tables are absent."""
        body = self.model_dump(mode="json", exclude_none=True)
        return {
            "schema": SCHEMA,
            "command": self.command,
            "config": body["config"],
            "tools": body["tools"],
            "metrics": {name: _plain(metric) for name, metric in self.metrics.items()},
            "tables": {name: rows for name, rows in body["tables"].items() if rows},
        }


def _plain(metric: Metric) -> dict[str, Any]:
    """JSON object of a metric; `higher_is_better` null is an answer (neither), not an unknown."""
    return metric.model_dump(exclude_none=True) | {"higher_is_better": metric.higher_is_better}


def write(results: Results, directory: Path) -> Path:
    """Writes `directory/results.json`, beside first and then renamed, and returns its path."""
    text = json.dumps(results.document(), indent=1, ensure_ascii=False, allow_nan=False)
    return write_text(directory / "results.json", text + "\n")


class _File(Row):
    """results.json as it lies on the disk."""

    schema_: Literal["vitrtl-results/1"] = Field(alias="schema")
    command: str
    config: Config
    tools: dict[str, str]
    metrics: dict[str, Metric]
    tables: Tables


def read(path: Path) -> Results:
    """Reads what `write` wrote.

    Raises UserError on a file that cannot be read, is no results.json of this version, breaks a rule of its
    tables, or holds a metric that its own tables do not give.
    """
    try:
        text = path.read_text(encoding="utf-8")
        schema = json.loads(text).get("schema")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is not a JSON object; give the results.json that a vitrtl command wrote"
        ) from error
    if schema != SCHEMA:
        raise UserError(f"{path} has schema {schema!r}, this version reads {SCHEMA!r}; run the command again")
    try:
        file = _File.model_validate_json(text)
        results = Results(command=file.command, config=file.config, tools=file.tools, tables=file.tables)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise UserError(f"{path} is not valid at {place}: {first['msg']}; run the command again") from error
    given = results.metrics
    for name, metric in file.metrics.items():
        if given.get(name) != metric:
            raise UserError(
                f"{path}: metric {name} is not what the file's tables give; run the command again"
            )
    return results

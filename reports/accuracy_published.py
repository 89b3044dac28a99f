"""Top-1 that others state for the shipped schemes, with where each figure comes from: reports/published.toml."""

import tomllib
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text = Annotated[str, Field(min_length=1)]
Top1 = Annotated[Decimal, Field(gt=0, lt=100)]
"""Percent, with as many digits as the source states."""
Width = Annotated[int, Field(ge=2, le=8)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Strict):
    """Where figures were read."""

    cite: Text
    """What a reader needs to find it."""
    kind: Literal["own", "secondary", "derived", "rerun"]
    """The authors' own figure, someone else's table, computed from stated figures, or released code run again."""
    images: Annotated[int, Field(ge=1)]
    """Images behind each figure."""
    float32: Mapping[Text, Top1] = {}
    """Paper's name of a model -> top-1 of the checkpoint it was quantised from."""


class Figures(_Strict):
    """One scheme at one width in one source."""

    scheme: Text
    weight_bits: Width
    act_bits: Width
    source: Text
    note: str = ""
    """What the figure has and the scheme here may lack."""
    top1: Annotated[Mapping[Text, Top1], Field(min_length=1)]
    """Paper's name of a model -> percent."""


class Figure(_Strict):
    """One published figure of one model."""

    top1: Top1
    note: str
    source: Source
    float32: Top1 | None
    """Of the checkpoint behind the figure; None where the source does not state it."""


class Published(_Strict):
    """The whole file; every reference in it is checked."""

    models: Mapping[Text, tuple[Text, ...]]
    """Paper's name of a model -> timm's names."""
    sources: Mapping[Text, Source]
    rows: tuple[Figures, ...]

    @model_validator(mode="after")
    def _check(self) -> "Published":
        used = {row.source for row in self.rows}
        if used != set(self.sources):
            raise ValueError(f"unknown or unused sources: {', '.join(sorted(used ^ set(self.sources)))}")
        tables = [row.top1 for row in self.rows] + [source.float32 for source in self.sources.values()]
        for name in (name for table in tables for name in table):
            if name not in self.models:
                raise ValueError(f"model {name} has no timm names")
        names = Counter(name for of in self.models.values() for name in of)
        keys = Counter(
            f"{r.scheme} {r.weight_bits}/{r.act_bits} {r.source} {r.note} {model}"
            for r in self.rows
            for model in r.top1
        )
        for listed, count in (*names.items(), *keys.items()):
            if count > 1:
                raise ValueError(f"stated twice: {listed}")
        return self

    def figures(self, model: str, scheme: str, weight_bits: int, act_bits: int) -> tuple[Figure, ...]:
        """What is published of timm's `model` under `scheme`, in the file's order; nothing where nothing is."""
        name = next((name for name, timm_names in self.models.items() if model in timm_names), "")
        return tuple(
            Figure(
                top1=row.top1[name],
                note=row.note,
                source=self.sources[row.source],
                float32=self.sources[row.source].float32.get(name),
            )
            for row in self.rows
            if (row.scheme, row.weight_bits, row.act_bits) == (scheme, weight_bits, act_bits)
            and name in row.top1
        )


def load_published() -> Published:
    """The file that ships."""
    text = (files("reports") / "published.toml").read_text(encoding="utf-8")
    return Published.model_validate(tomllib.loads(text, parse_float=Decimal))

"""What `vitrtl search` was asked for, checked before anything heavy is loaded."""

import importlib.util
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from golden.errors import UserError
from reports.choice import BITS
from reports.synthesis import Target
from reports.tradeoff.request import Request as SweepRequest
from reports.tradeoff.request import parse_targets

Per = Literal["kind", "block", "layer"]
"""What shares a width: layers of one kind in all blocks, an attention or an MLP, or nothing with anything."""
OBJECTIVES = ("area", "weight_kib", "cycles")
"""Costs that a search can minimise, and that a budget can limit."""
DATABASE = "search.db"
"""SQLite file in the output folder, where no other storage is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command's options."""

    sweep: SweepRequest
    """Model, data, target and output; its first scheme is where the search starts, all lend their formats."""
    low: int
    high: int
    """Narrowest and widest width that a configuration may have."""
    per: Per
    objectives: tuple[str, ...]
    """Of OBJECTIVES; the proxy's quality is always one."""
    budget: tuple[tuple[str, float], ...]
    """Largest value of a cost, by name."""
    trials: int
    """In the study, those of earlier runs and of other processes included."""
    survivors: int
    """Configurations that the exact simulator runs."""
    proxy_images: int
    storage: str | None

    @property
    def url(self) -> str:
        """Where the study is kept."""
        return self.storage or f"sqlite:///{(self.sweep.out / DATABASE).resolve()}"


def parse_range(text: str) -> tuple[int, int]:
    """Widths from `3-8`; UserError for anything else.

    >>> parse_range("3-8")
    (3, 8)
    """
    found = re.fullmatch(r"(\d)-(\d)", text)
    low, high = map(int, found.groups()) if found else (0, 0)
    if low not in BITS or high not in BITS or low >= high:
        raise UserError(
            f"--range must be two widths from {BITS.start} to {BITS.stop - 1}, such as 3-8, not {text!r}"
        )
    return low, high


def parse_budget(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Limits from `cycles=20000`; UserError for an unknown cost or a limit that is no positive number.

    >>> parse_budget(["cycles=20000", "weight_kib=40.5"])
    (('cycles', 20000.0), ('weight_kib', 40.5))
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, limit = text.partition("=")
        try:
            value = float(limit)
        except ValueError:
            value = math.nan
        if name not in OBJECTIVES or not 0 < value < math.inf:
            raise UserError(
                f"--budget must be such as {OBJECTIVES[0]}=50000, one of {', '.join(OBJECTIVES)}, not {text!r}"
            )
        found[name] = value
    return tuple(found.items())


def parse_objectives(names: Sequence[str]) -> tuple[str, ...]:
    """Costs to minimise, each once; UserError for an unknown one."""
    for name in names:
        if name not in OBJECTIVES:
            raise UserError(f"--minimise must be one of {', '.join(OBJECTIVES)}, not {name!r}")
    return tuple(dict.fromkeys(names))


def parse_per(name: str) -> Per:
    """`kind`, `block` or `layer`; UserError for anything else."""
    for known in get_args(Per):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise UserError(f"--per must be one of {', '.join(get_args(Per))}, not {name!r}")


def check_installed() -> None:
    """UserError where Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise UserError("vitrtl search needs Optuna: pip install 'vitrtl[search]'")


def target_of(name: str | None, liberty: Path | None) -> tuple[Target, ...]:
    """The one target whose area counts: the one named, else asic with a Liberty file and iCE40 without.

    The iCE40 HX has no multipliers of its own, so that its LUTs tell the whole area.
    """
    if liberty is not None and name not in (None, "asic"):
        raise UserError(f"--liberty is for target asic; leave --target {name} or --liberty out")
    if name is None:
        return ("asic",) if liberty is not None else ("ice40",)
    return parse_targets((name,), liberty)

"""Progress on the terminal: a bar with rate and time left for everything that takes more than a moment."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

console = Console(stderr=True)
"""Bars and notes go to stderr; results alone go to stdout."""


@contextmanager
def bar(description: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar of `total` steps, `done` of them before; the context's value advances it."""
    columns = (
        TextColumn("{task.description:<38}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(description, total=total, completed=done)
        yield lambda steps: progress.advance(task, steps)


def track(
    description: str, items: Iterable[T], total: int, weight: Callable[[T], int] = lambda _: 1, done: int = 0
) -> Iterator[T]:
    """`items`, one after the other, on a bar of `total` of which `done` came before; each counts `weight`."""
    with bar(description, total, done) as advance:
        for item in items:
            yield item
            advance(weight(item))

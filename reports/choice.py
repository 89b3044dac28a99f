"""What the user asked for, checked as far as that goes without loading anything heavy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.errors import UserError

BITS = range(2, 9)
"""Widths that the number formats and kernels cover."""
DEFAULT_WIDTHS = (8, 6, 4, 3)
"""Of a table of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bits:
    """Widths of one run."""

    weight: int
    act: int
    prefix: str = ""
    """Name of the scheme, where a command runs several."""

    def __post_init__(self) -> None:
        _in_range("--weight-bits", self.weight)
        _in_range("--act-bits", self.act)

    @property
    def label(self) -> str:
        """`W4/A4`, or `repq W4/A4` with a prefix."""
        return f"{self.prefix} {self.widths}".lstrip()

    @property
    def widths(self) -> str:
        """`W4/A4`."""
        return f"W{self.weight}/A{self.act}"

    @property
    def slug(self) -> str:
        """`w4a4`, for file names."""
        return f"w{self.weight}a{self.act}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Model, data and scheme; the fields are the command's options."""

    model: str
    weights: Path | None = None
    images: Path | None = None
    calib: Path | None = None
    class_map: Path | None = None
    scheme: str = "repq"
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"--seed must not be negative, not {self.seed}")
        if self.limit is not None:
            at_least_one(limit=self.limit)


def widths(bits: Sequence[int]) -> tuple[int, ...]:
    """Widths of several runs, each once, in the order given; UserError for one out of range."""
    for width in bits:
        _in_range("--bits", width)
    return tuple(dict.fromkeys(bits))


def _in_range(option: str, bits: int) -> None:
    if bits not in BITS:
        raise UserError(f"{option} must be from {BITS.start} to {BITS.stop - 1}, not {bits}")


def at_least_one(**options: int) -> None:
    """UserError for the first option below 1."""
    for name, value in options.items():
        if value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {value}")


def writable(directory: Path) -> None:
    """Makes `directory`; UserError when nothing can be written there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"--out {directory} cannot be written: {error.strerror}; give another directory"
        ) from error

"""What the user asked for, checked as far as that goes without loading anything heavy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.errors import UserError
from golden.formats import MAX_BITS, Accumulators

BITS = range(2, 9)
"""Widths that the number formats and kernels cover."""
DEFAULT_WIDTHS = (8, 6, 4, 3)
"""Of a table of several."""
ACC_BITS = range(8, MAX_BITS + 1)
"""Widths of an accumulator that a command takes."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Part `number` of the `count` that the images are cut into."""

    number: int
    """From 1."""
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """`1/4`; UserError for anything else."""
        number, _, count = text.partition("/")
        if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
            return cls(number=int(number), count=int(count))
        raise UserError(f"--shards must be K/N with K from 1 to N, such as 1/4, not {text!r}")


def widths(bits: Sequence[int]) -> tuple[int, ...]:
    """Widths of several runs, each once, in the order given; UserError for one out of range."""
    for width in bits:
        _in_range("--bits", width)
    return tuple(dict.fromkeys(bits))


def _in_range(option: str, bits: int) -> None:
    if bits not in BITS:
        raise UserError(f"{option} must be from {BITS.start} to {BITS.stop - 1}, not {bits}")


def accumulators(bits: int | None, overflow: str | None) -> Accumulators | None:
    """The accumulators of `--acc-bits` and `--acc-overflow`, none without both; UserError for one alone or wrong."""
    if bits is None and overflow is None:
        return None
    if bits is None:
        raise UserError(f"--acc-overflow {overflow} needs --acc-bits as well")
    if bits not in ACC_BITS:
        raise UserError(f"--acc-bits must be from {ACC_BITS.start} to {ACC_BITS.stop - 1}, not {bits}")
    if overflow is None:
        raise UserError(f"--acc-bits {bits} needs --acc-overflow wrap or saturate as well")
    if overflow not in ("wrap", "saturate"):
        raise UserError(f"--acc-overflow must be wrap or saturate, not {overflow}")
    return Accumulators(bits=bits, overflow="wrap" if overflow == "wrap" else "saturate")


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

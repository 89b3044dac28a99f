"""What `vitrtl tradeoff` was asked for, checked before anything heavy is loaded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from golden.errors import UserError
from reports.choice import Bits, Choice
from reports.synthesis import Target, user_cache

if TYPE_CHECKING:
    from reports.verification_rows import UnitVerification

DEFAULT_TARGETS: tuple[Target, ...] = ("ecp5", "xcup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command's options, checked as far as that goes without loading anything heavy."""

    choice: Choice
    """Model and data; its scheme is not used."""
    schemes: tuple[str, ...]
    """Shipped names or TOML files; none: those of papers."""
    widths: tuple[tuple[int, int], ...]
    """Bits of weights and of activations."""
    accelerators: tuple[Path, ...]
    """Descriptions; none: the shipped one."""
    targets: tuple[Target, ...]
    liberty: Path | None
    """Cells of target asic."""
    cache: Path
    """Of synthesis results."""
    processes: int
    out: Path
    batch_size: int
    checked_images: int
    verify: bool = False
    """Whether each parameter set's RTL is compared with its model."""
    verification: tuple["UnitVerification", ...] = ()
    """Comparisons made before, by `vitrtl verify`."""


def request_of(choice: Choice, *, cache: Path | None, processes: int | None, **options: object) -> Request:
    """The request, with the user's cache and all cores where nothing else is given."""
    return Request(
        choice=choice,
        cache=user_cache() if cache is None else cache,
        processes=len(os.sched_getaffinity(0)) if processes is None else processes,
        **options,  # type: ignore[arg-type]
    )


def parse_widths(texts: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Widths from `4`, or `4/8` for weights of 4 and activations of 8 bits; UserError for anything else.

    >>> parse_widths(["4", "4/8", "4"])
    ((4, 4), (4, 8))
    """
    found: dict[tuple[int, int], None] = {}
    for text in texts:
        weight, slash, act = text.partition("/")
        act = act if slash else weight
        if not weight.isdecimal() or not act.isdecimal():
            raise UserError(f"--bits must be such as 4, or 4/8 for weights/activations, not {text!r}")
        bits = Bits(weight=int(weight), act=int(act))
        found[bits.weight, bits.act] = None
    return tuple(found)


def parse_targets(names: Sequence[str], liberty: Path | None) -> tuple[Target, ...]:
    """Targets by name, asic among them where a Liberty file is given; UserError for an unknown one."""
    known = get_args(Target)
    for name in names:
        if name not in known:
            raise UserError(f"--target must be one of {', '.join(known)}, not {name!r}")
    if "asic" in names and liberty is None:
        raise UserError("--target asic needs --liberty FILE, the standard cells to map to")
    chosen: list[Target] = [target for target in known if target in names] if names else [*DEFAULT_TARGETS]
    if liberty is not None:
        chosen.append("asic")
    return tuple(dict.fromkeys(chosen))


def parse_verify(asked: bool | None) -> bool:
    """Whether RTL is compared: as asked, else where the tools are installed, which a line says when they are not.

    Raises UserError when it is asked for and the tools are missing.
    """
    from reports.progress import console
    from rtl.volume import library

    reason = library.missing() if asked is not False else None
    if asked and reason is not None:
        raise UserError(f"--verify: {reason}")
    if reason is not None:
        console.print(f"RTL is not compared with its models: {reason}", highlight=False, markup=False)
    return asked is not False and reason is None


def parse_verification(paths: Sequence[Path]) -> tuple["UnitVerification", ...]:
    """Verification rows of results.json files, or of the folders that hold one; UserError for one without any."""
    from reports.results import read

    found: list[UnitVerification] = []
    for path in paths:
        rows = read(path / "results.json" if path.is_dir() else path).tables.verification
        if not rows:
            raise UserError(f"--verification {path}: it compares no unit; name results of vitrtl verify")
        found += rows
    return tuple(found)

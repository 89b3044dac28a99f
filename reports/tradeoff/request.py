"""What `vitrtl tradeoff` was asked for, checked before anything heavy is loaded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from golden.errors import UserError
from reports.choice import Bits, Choice
from reports.synthesis import Target, user_cache

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

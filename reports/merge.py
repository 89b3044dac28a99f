"""`vitrtl merge`: the results of a whole run from those of its shards, image by image."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from golden.errors import UserError
from reports.commands import publish
from reports.predictions import digest_of
from reports.results import Accuracy, Agreement, Config, Exactness, Level, Results, Speed, Tables, read
from reports.shards import ShardFile

OWN = ("shard", "data")
"""Keys of a shard's configuration that others have otherwise; `data` names a folder, which its digest identifies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The output folder of one shard's run."""

    folder: Path
    file: ShardFile
    results: Results

    @classmethod
    def load(cls, folder: Path) -> "Part":
        """Reads the folder; UserError unless it holds one finished shard."""
        file, results = ShardFile.load(folder), read(folder / "results.json")
        held = (results.config.model_extra or {}).get("shard")
        if held != str(file.shard):
            raise UserError(
                f"{folder} holds predictions of shard {file.shard} beside results of {held or 'a whole run'}; "
                "run the shard again, into a folder of its own"
            )
        return cls(folder=folder, file=file, results=results)


class Whole(NamedTuple):
    """Every image of all shards, in order."""

    labels: NDArray[np.int64]
    classes: Mapping[Level, NDArray[np.int64]]
    digests: Mapping[Level, NDArray[np.uint8]]


def run_merge(folders: Sequence[Path], out: Path) -> None:
    """Joins the shards in `folders` and writes what a whole run writes into `out`.

    Raises UserError for shards of different runs, for one given twice and for missing ones.
    """
    parts = [Part.load(folder) for folder in folders]
    first = _check_alike(parts)
    parts = _check_complete(parts)
    whole = _whole(parts)
    results = Results(
        command=first.results.command,
        config=_config(first),
        tools=_tools(parts),
        tables=_tables(first.results.tables, [part.results.tables for part in parts], whole),
    )
    for program in first.folder.glob("program_*.safetensors"):
        shutil.copyfile(program, out / program.name)
    publish(results, out)


def _check_alike(parts: Sequence[Part]) -> Part:
    """The first part, after all others were found to be of the same run."""
    first = parts[0]
    for part in parts[1:]:
        for key, mine, other in _identities(first, part):
            if mine != other:
                raise UserError(
                    f"{part.folder} is no shard of the run in {first.folder}: {key} is {other}, not {mine}"
                )
    return first


def _identities(one: Part, other: Part) -> Iterator[tuple[str, object, object]]:
    """Name, value of `one` and value of `other` of everything that shards of one run share."""
    yield "number of shards", one.file.shard.count, other.file.shard.count
    a, b = one.results.config.model_dump(), other.results.config.model_dump()
    for key in dict.fromkeys((*a, *b)):
        if key not in OWN:
            yield key, a.get(key), b.get(key)
    yield "levels", ", ".join(one.file.classes), ", ".join(other.file.classes)


def _check_complete(parts: Sequence[Part]) -> list[Part]:
    """The parts in the order of their shards; UserError unless every shard is there once."""
    held: dict[int, Part] = {}
    for part in parts:
        if twin := held.get(part.file.shard.number):
            raise UserError(f"{twin.folder} and {part.folder} both hold shard {part.file.shard}")
        held[part.file.shard.number] = part
    count = parts[0].file.shard.count
    missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in held]
    if missing:
        word = "shard" if len(missing) == 1 else "shards"
        raise UserError(
            f"{word} {', '.join(missing)} missing; run vitrtl simulate --shards {missing[0]} and merge again"
        )
    return [held[number] for number in sorted(held)]


def _whole(parts: Sequence[Part]) -> Whole:
    """Puts every image in its place."""
    order = np.argsort(np.concatenate([part.file.positions for part in parts]))
    files = [part.file for part in parts]
    return Whole(
        labels=np.concatenate([file.labels for file in files])[order],
        classes={
            level: np.concatenate([f.classes[level] for f in files])[order] for level in files[0].classes
        },
        digests={
            level: np.concatenate([f.digests[level] for f in files])[order] for level in files[0].classes
        },
    )


def _config(first: Part) -> Config:
    """The configuration of the whole run."""
    shared = {key: value for key, value in first.results.config.model_dump().items() if key not in OWN}
    return Config.model_validate(shared | {"data": first.file.data})


def _tools(parts: Sequence[Part]) -> dict[str, str]:
    """Every tool with its version, or with all of them where machines differed."""
    names = dict.fromkeys(name for part in parts for name in part.results.tools)
    return {
        name: ", ".join(
            dict.fromkeys(part.results.tools[name] for part in parts if name in part.results.tools)
        )
        for name in names
    }


def _tables(first: Tables, parts: Sequence[Tables], whole: Whole) -> Tables:
    """What counts images from all of them, times summed, the rest as in every shard."""
    accuracy = tuple(
        Accuracy.of(
            run=row.run,
            level=row.level,
            correct=int((whole.classes[row.level] == whole.labels).sum()),
            n=len(whole.labels),
            logits=digest_of(whole.digests[row.level]) if row.logits_sha256 else None,
        )
        for row in first.accuracy
    )
    given = {"accuracy": accuracy, "agreement": tuple(_agreement(row, whole) for row in first.agreement)}
    given["exactness"] = tuple(_worst(row.run, parts) for row in first.exactness)
    given["speed"] = tuple(_speed(parts))
    return first.model_copy(update=given)


def _agreement(row: Agreement, whole: Whole) -> Agreement:
    by_name = {str(level): classes for level, classes in whole.classes.items()}
    one, other = row.pair.split("/")
    same = torch.from_numpy(by_name[one] == by_name[other])
    return row.model_copy(update={"percent": 100 * float(same.double().mean()), "n": len(same)})


def _worst(run: str, parts: Sequence[Tables]) -> Exactness:
    """Every shard compares the same images; where machines came to differ, the merged result must say so."""
    return max(
        (row for part in parts for row in part.exactness if row.run == run), key=lambda row: row.differing
    )


def _speed(parts: Sequence[Tables]) -> Iterator[Speed]:
    """Images and seconds summed: images a second of one shard's machine, on average."""
    rows = [row for part in parts for row in part.speed]
    for key in dict.fromkeys((row.run, row.implementation) for row in rows):
        same = [row for row in rows if (row.run, row.implementation) == key]
        threads = {row.threads for row in same}
        yield same[0].model_copy(
            update={
                "images": sum(row.images for row in same),
                "seconds": sum(row.seconds for row in same),
                "threads": threads.pop() if len(threads) == 1 else None,
            }
        )

"""One of several parts of the images, and the file of its predictions that `vitrtl merge` joins with the others'.

The images are cut into the batches of a whole run, and part K of N takes the batches K, K + N, K + 2N, ... of them: so
every batch is computed as in a whole run, and every part sees all of a sorted data set.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from golden.errors import UserError
from golden.images import LabelledImages
from reports.choice import Shard
from reports.predictions import Predictions
from reports.tables import Level

FILE = "shard.safetensors"
"""In the output folder of a shard's run."""
FORMAT = "vitrtl-shard/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardImages:
    """The images of one shard, in their order; UserError where it would hold none."""

    whole: LabelledImages
    shard: Shard
    batch_size: int
    """Of the whole run; batches of another size are not those of any shard."""

    def __post_init__(self) -> None:
        batches = -(-len(self.whole) // self.batch_size)
        if self.shard.count > batches:
            raise UserError(
                f"--shards {self.shard}: {len(self.whole)} images in batches of {self.batch_size} make only {batches} "
                "shards; give fewer shards or a smaller --batch-size"
            )

    def check_folder(self, out: Path) -> None:
        """UserError where another shard's results would be overwritten."""
        if (out / FILE).is_file() and (held := ShardFile.load(out).shard) != self.shard:
            raise UserError(f"--out {out} holds shard {held}; give shard {self.shard} a folder of its own")

    @property
    def positions(self) -> NDArray[np.int64]:
        """Of the shard's images among all."""
        return positions(len(self.whole), self.batch_size, self.shard)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def labels(self) -> Tensor:
        """See `LabelledImages`."""
        return self.whole.labels[torch.from_numpy(self.positions)]

    def batches(self, batch_size: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """See `LabelledImages`; ValueError unless the batches are those of the whole run."""
        if batch_size != self.batch_size or start % batch_size:
            raise ValueError(
                f"shards of batches of {self.batch_size} have none of {batch_size} from image {start}"
            )
        mine, labels = self.positions, self.labels
        for first in range(start, len(mine), batch_size):
            chosen = slice(first, first + batch_size)
            yield self.whole.select(mine[chosen].tolist()), labels[chosen]

    def select(self, positions: list[int]) -> Tensor:
        """See `LabelledImages`."""
        return self.whole.select(self.positions[positions].tolist())

    def describe(self) -> str:
        """See `LabelledImages`."""
        return f"{self.whole.describe()}, of which shard {self.shard}: {len(self)}"

    def digest(self) -> str:
        """SHA-256 of all images and of the cut."""
        return hashlib.sha256(f"{self.whole.digest()} {self.shard} {self.batch_size}".encode()).hexdigest()


def positions(total: int, batch_size: int, shard: Shard) -> NDArray[np.int64]:
    """Positions among `total` images of those that `shard` takes.

    >>> positions(7, 2, Shard(number=2, count=2)).tolist()
    [2, 3, 6]
    """
    (chosen,) = np.nonzero(np.arange(total) // batch_size % shard.count == shard.number - 1)
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShardFile:
    """What a shard's run found, image by image."""

    shard: Shard
    total: int
    """Images of all shards."""
    data: str
    """What these are, in words."""
    batch_size: int
    labels: NDArray[np.int64]
    """[images of the shard]"""
    classes: Mapping[Level, NDArray[np.int64]]
    """[images of the shard]"""
    digests: Mapping[Level, NDArray[np.uint8]]
    """[images of the shard, 32]: SHA-256 of each image's logits."""

    @classmethod
    def of(cls, images: ShardImages, found: Mapping[Level, Predictions]) -> "ShardFile":
        """The file of a finished run."""
        return cls(
            shard=images.shard,
            total=len(images.whole),
            data=images.whole.describe(),
            batch_size=images.batch_size,
            labels=images.labels.numpy(),
            classes={level: passed.classes.numpy() for level, passed in found.items()},
            digests={level: passed.digests for level, passed in found.items()},
        )

    @property
    def positions(self) -> NDArray[np.int64]:
        """Of the shard's images among all."""
        return positions(self.total, self.batch_size, self.shard)

    def save(self, folder: Path) -> None:
        """Writes the file into `folder`, beside first and then renamed."""
        header = {"format": FORMAT, "number": self.shard.number, "count": self.shard.count,
                  "total": self.total, "data": self.data, "batch_size": self.batch_size}  # fmt: skip
        tensors: dict[str, NDArray[Any]] = {"labels": self.labels}
        tensors |= {f"classes/{level}": classes for level, classes in self.classes.items()}
        tensors |= {f"digests/{level}": digests for level, digests in self.digests.items()}
        beside = folder / f"{FILE}.partial"
        save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            beside,
            metadata={"shard": json.dumps(header)},
        )
        os.replace(beside, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "ShardFile":
        """Reads what `save` wrote; UserError for a folder without it."""
        path = folder / FILE
        if not path.is_file():
            raise UserError(f"{folder} holds no {FILE}; give the --out folders of vitrtl simulate --shards")
        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get("shard", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            if header["format"] != FORMAT:
                raise UserError(
                    f"{path} holds {header['format']}, this version reads {FORMAT}; run the shard again"
                )
            found = cls(
                shard=Shard(number=header["number"], count=header["count"]),
                total=header["total"],
                data=header["data"],
                batch_size=header["batch_size"],
                labels=tensors["labels"],
                classes=_by_level("classes", tensors),
                digests=_by_level("digests", tensors),
            )
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} is not a readable file of a shard: {error}; run the shard again"
            ) from error
        if {len(found.positions)} != {len(value) for value in tensors.values()}:
            raise UserError(
                f"{path} does not hold {len(found.positions)} images throughout; run the shard again"
            )
        return found


def _by_level(kind: str, tensors: Mapping[str, NDArray[Any]]) -> dict[Level, NDArray[Any]]:
    return {level: tensors[f"{kind}/{level}"] for level in get_args(Level) if f"{kind}/{level}" in tensors}

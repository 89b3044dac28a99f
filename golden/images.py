"""Labelled images in a fixed order, from a tree of class folders or from memory, and calibration batches."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from golden.errors import UserError

DECODERS = 4
"""Threads that decode image files; the order of the images does not depend on it."""
_UNDECODABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for a file that is not, or not wholly, an image."""
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"})


class LabelledImages(Protocol):
    """What a model is calibrated and evaluated on: images in a fixed order, each with its class."""

    def __len__(self) -> int: ...

    @property
    def labels(self) -> Tensor:
        """Classes int64 of all images, in order."""

    def batches(self, batch_size: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Images from position `start` in order: normalised float32 [B, C, H, W], classes int64 [B].

        The last batch may be shorter.
        """

    def select(self, positions: list[int]) -> Tensor:
        """Normalised float32 [len(positions), C, H, W] of the images at `positions`."""

    def describe(self) -> str:
        """One line for reports: what the images are and how many."""

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of what identifies the images, their order and their classes."""


def calibration_batch(images: LabelledImages, count: int = 32, *, seed: int) -> Tensor:
    """`count` different images drawn at random, float32 [count, C, H, W]; the seed alone decides the draw."""
    if count > len(images):
        raise UserError(f"calibration needs {count} images, but {images.describe()} has only {len(images)}")
    # Philox is a counter, and ranking its raw words leaves nothing to a library's choice of shuffle.
    words = np.random.Philox(key=seed).random_raw(len(images))
    return images.select(np.argsort(words, kind="stable")[:count].tolist())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorImages:
    """Images held in memory."""

    name: str
    """What they are, for reports."""
    images: Tensor
    """Normalised float32 [N, C, H, W]."""
    labels: Tensor
    """Classes int64 [N]."""

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                "images must be [N, C, H, W] and labels [N], "
                f"not {list(self.images.shape)} and {list(self.labels.shape)}"
            )
        bad = ~self.images.isfinite().flatten(1).all(1)
        if bad.any():
            raise UserError(f"{self.name}: image {int(bad.nonzero()[0])} is not finite (NaN or infinity)")

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """See `LabelledImages`."""
        for first in range(start, len(self), batch_size):
            yield self.images[first : first + batch_size], self.labels[first : first + batch_size]

    def select(self, positions: list[int]) -> Tensor:
        """See `LabelledImages`."""
        return self.images[positions]

    def describe(self) -> str:
        """See `LabelledImages`."""
        return f"{self.name}, {len(self)} images"

    def digest(self) -> str:
        """SHA-256 of shapes, pixels and classes."""
        total = hashlib.sha256(f"{list(self.images.shape)}".encode())
        total.update(self.images.contiguous().numpy().tobytes())
        total.update(self.labels.contiguous().numpy().tobytes())
        return total.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """Image files as `<root>/<class folder>/<file>`, in the order of class folder, then file name.

    With a limit of N files an even stride through that order is kept (the files at positions
    `i * total // N`), because the first N would all come from the first few classes.
    Files are decoded batch by batch; nothing is kept.
    """

    root: Path
    """Folder of class folders."""
    transform: Callable[[Image.Image], Tensor]
    """From a decoded image to normalised float32 [C, H, W]; `Preprocessing.transform`."""
    class_count: int
    """Classes of the model: lines of the class map, or class folders where there is no map."""
    class_map: Path | None = None
    """Text file with one class folder's name per line, in the order of the model's classes."""
    limit: int | None = None
    """Files to keep at most; None keeps all."""
    _files: tuple[tuple[Path, int], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UserError(f"--limit must be at least 1, not {self.limit}")
        folders = _class_folders(self.root)
        classes = _classes([folder.name for folder in folders], self.class_map, self.class_count, self.root)
        found = [(file, classes[folder.name]) for folder in folders for file in _image_files(folder)]
        if not found:
            raise UserError(
                f"image folder {self.root} holds no images; expected <class folder>/<file>.jpg, .jpeg or .png"
            )
        kept = len(found) if self.limit is None else min(self.limit, len(found))
        object.__setattr__(self, "_files", tuple(found[i * len(found) // kept] for i in range(kept)))

    def __len__(self) -> int:
        return len(self._files)

    @property
    def labels(self) -> Tensor:
        """See `LabelledImages`."""
        return torch.tensor([label for _, label in self._files])

    def batches(self, batch_size: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """See `LabelledImages`. Raises `UserError` at the first file that cannot be decoded."""
        with ThreadPoolExecutor(DECODERS) as pool:
            for first in range(start, len(self), batch_size):
                chunk = self._files[first : first + batch_size]
                yield (
                    torch.stack(list(pool.map(self._decode, [file for file, _ in chunk]))),
                    torch.tensor([label for _, label in chunk]),
                )

    def select(self, positions: list[int]) -> Tensor:
        """See `LabelledImages`. Raises `UserError` at the first file that cannot be decoded."""
        with ThreadPoolExecutor(DECODERS) as pool:
            return torch.stack(list(pool.map(self._decode, [self._files[i][0] for i in positions])))

    def describe(self) -> str:
        """See `LabelledImages`."""
        return f"{self.root}, {len(self)} images"

    def digest(self) -> str:
        """SHA-256 of every kept file's class, name and size, in order; not of the pixels, nor of the root."""
        total = hashlib.sha256()
        for file, label in self._files:
            name = f"{file.parent.name}/{file.name}"
            total.update(f"{label} {name} {file.stat().st_size}\n".encode())
        return total.hexdigest()

    def _decode(self, file: Path) -> Tensor:
        try:
            with Image.open(file) as image:
                pixels = self.transform(image)
        except _UNDECODABLE as error:
            raise UserError(f"image {file} cannot be decoded: {error}") from error
        if not pixels.isfinite().all():
            raise UserError(f"image {file} is not finite after preprocessing (NaN or infinity)")
        return pixels


def _class_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise UserError(f"image folder {root} {'is not a folder' if root.exists() else 'does not exist'}")
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _image_files(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
    return sorted(path for path in files if not path.name.startswith("."))


def _classes(folders: list[str], class_map: Path | None, count: int, root: Path) -> dict[str, int]:
    """Class index of every class folder."""
    if class_map is None:
        if folders and len(folders) != count:
            raise UserError(
                f"image folder {root} has {len(folders)} class folders, but the model has {count} classes; "
                "give --class-map FILE with one folder name per class"
            )
        return {name: index for index, name in enumerate(folders)}
    names = _class_map_lines(class_map)
    if len(names) != count:
        raise UserError(f"class map {class_map} has {len(names)} classes, but the model has {count}")
    classes = {name: index for index, name in enumerate(names)}
    unknown = [name for name in folders if name not in classes]
    if unknown:
        raise UserError(f"class folder {root / unknown[0]} is not in class map {class_map}")
    return classes


def _class_map_lines(file: Path) -> list[str]:
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(
            f"class map {file} is not a text file; expected one class folder's name per line"
        ) from error
    except OSError as error:
        raise UserError(f"class map {file} cannot be read: {error.strerror}") from error
    if not names:
        raise UserError(f"class map {file} is empty; expected one class folder's name per line")
    seen: set[str] = set()
    for line, name in enumerate(names, start=1):
        if name in seen:
            raise UserError(f"class map {file} names {name} twice, the second time as class {line - 1}")
        seen.add(name)
    return names

"""Image folders, class maps and calibration batches: what they yield, and what they say to a mistake."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from golden.errors import UserError
from golden.images import ImageFolder, TensorImages, calibration_batch

# Class folders, each with the grey level of every file in it, so that a pixel tells which file it came from.
TREE = {
    "cat": {"a.png": 10, "b.PNG": 11, "c.JPEG": 12},
    "ant": {"z.jpg": 20},
    "bee": {"m.png": 30, "k.png": 31},
}
ORDER = [("ant", 20), ("bee", 31), ("bee", 30), ("cat", 10), ("cat", 11), ("cat", 12)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder, files in TREE.items():
        (tmp_path / "images" / folder).mkdir(parents=True)
        for name, level in files.items():
            Image.new("L", (4, 4), level).save(tmp_path / "images" / folder / name)
    (tmp_path / "images" / "cat" / "notes.txt").write_text("not an image", encoding="utf-8")
    (tmp_path / "images" / "README").write_text("not a folder", encoding="utf-8")
    return tmp_path / "images"


def grey(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image.convert("L"), dtype=np.float32).copy()).unsqueeze(0)


def read(images: ImageFolder, batch_size: int = 4) -> list[tuple[int, int]]:
    """(class, grey level) of every image."""
    return [
        (int(label), int(image[0, 0, 0]))
        for pixels, labels in images.batches(batch_size)
        for image, label in zip(pixels, labels, strict=True)
    ]


def class_map(root: Path, text: str | bytes) -> Path:
    file = root.parent / "classes.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def folder(root: Path, count: int = 3, **options: object) -> ImageFolder:
    return ImageFolder(root=root, transform=grey, class_count=count, **options)  # type: ignore[arg-type]


def test_order_is_class_folder_then_file_name(root: Path) -> None:
    names = sorted(TREE)
    expected = [(names.index(name), level) for name, level in ORDER]
    for batch_size in (1, 4, 6, 100):
        assert read(folder(root), batch_size) == expected
    assert [len(labels) for _, labels in folder(root).batches(4)] == [4, 2]
    pixels, labels = next(folder(root).batches(4))
    assert (pixels.dtype, pixels.shape, labels.dtype) == (torch.float32, (4, 1, 4, 4), torch.int64)


def test_class_map_gives_the_class_indices(root: Path) -> None:
    names = ["cat", "dog", "bee", "ant"]  # a class without a folder is fine
    images = folder(root, count=4, class_map=class_map(root, "\n".join(names) + "\n\n"))
    assert read(images) == [(names.index(name), level) for name, level in ORDER]


@pytest.mark.parametrize(("limit", "positions"), [(1, [0]), (2, [0, 3]), (4, [0, 1, 3, 4]), (99, range(6))])
def test_limit_strides_evenly(root: Path, limit: int, positions: list[int]) -> None:
    images = folder(root, limit=limit)
    assert len(images) == len(positions)
    assert [level for _, level in read(images)] == [ORDER[i][1] for i in positions]


def test_digest_follows_names_sizes_classes_and_choice(root: Path) -> None:
    digest = folder(root).digest()
    assert folder(root).digest() == digest
    swapped = class_map(root, "bee\nant\ncat\n")
    digests = {digest, folder(root, limit=2).digest(), folder(root, class_map=swapped).digest()}
    (root / "cat" / "a.png").rename(root / "cat" / "a2.png")
    digests.add(folder(root).digest())
    with (root / "ant" / "z.jpg").open("ab") as stream:
        stream.write(b"\0")
    digests.add(folder(root).digest())
    assert len(digests) == 5


def test_calibration_is_a_seeded_choice_without_repeats(root: Path) -> None:
    images = folder(root)
    batch = calibration_batch(images, 5, seed=3)
    levels = batch[:, 0, 0, 0].tolist()
    assert batch.shape == (5, 1, 4, 4)
    assert len(set(levels)) == 5
    assert calibration_batch(images, 5, seed=3).equal(batch)
    assert calibration_batch(images, 5, seed=4)[:, 0, 0, 0].tolist() != levels
    numbers = TensorImages(
        name="numbers", images=torch.arange(1000.0).view(-1, 1, 1, 1), labels=torch.zeros(1000)
    )
    # Every seed must reach every image: 400 draws of 100 of 1000 miss one with probability 1000 * 0.9^400.
    seen = {int(x) for seed in range(400) for x in calibration_batch(numbers, 100, seed=seed).flatten()}
    assert len(seen) == 1000


def test_calibration_draw_is_the_recorded_one() -> None:
    numbers = TensorImages(
        name="numbers", images=torch.arange(100.0).view(-1, 1, 1, 1), labels=torch.zeros(100)
    )
    assert calibration_batch(numbers, 8, seed=0).flatten().int().tolist() == [66, 0, 54, 43, 69, 38, 21, 91]


def test_tensor_images_are_checked_and_digested() -> None:
    pixels, labels = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 2])
    images = TensorImages(name="three", images=pixels, labels=labels)
    assert images.describe() == "three, 3 images"
    assert [len(batch) for _, batch in images.batches(2)] == [2, 1]
    assert images.digest() != TensorImages(name="three", images=pixels, labels=labels.flip(0)).digest()
    assert images.digest() != TensorImages(name="three", images=pixels + 1, labels=labels).digest()
    with pytest.raises(ValueError, match="images must be"):
        TensorImages(name="bad", images=pixels, labels=labels[:2])


def consume(make: Callable[[Path], object], root: Path) -> None:
    made = make(root)
    if isinstance(made, ImageFolder):
        read(made)


def no_root(root: Path) -> ImageFolder:
    return folder(root / "none")


def file_as_root(root: Path) -> ImageFolder:
    return folder(root / "README")


def no_images(root: Path) -> ImageFolder:
    (root / "cat" / "empty").mkdir()
    return folder(root / "cat", count=1)


def folders_do_not_number_the_classes(root: Path) -> ImageFolder:
    return folder(root, count=1000)


def empty_map(root: Path) -> ImageFolder:
    return folder(root, class_map=class_map(root, "\n \n"))


def repeated_line(root: Path) -> ImageFolder:
    return folder(root, class_map=class_map(root, "ant\nbee\nant\n"))


def short_map(root: Path) -> ImageFolder:
    return folder(root, class_map=class_map(root, "ant\nbee\n"))


def map_without_a_folder(root: Path) -> ImageFolder:
    return folder(root, class_map=class_map(root, "ant\nbee\ndog\n"))


def binary_map(root: Path) -> ImageFolder:
    return folder(root, class_map=class_map(root, b"\xff\xd8\xff\xe0"))


def missing_map(root: Path) -> ImageFolder:
    return folder(root, class_map=root / "no.txt")


def folder_as_map(root: Path) -> ImageFolder:
    return folder(root, class_map=root)


def limit_of_zero(root: Path) -> ImageFolder:
    return folder(root, limit=0)


def text_named_png(root: Path) -> ImageFolder:
    (root / "bee" / "k.png").write_text("hello", encoding="utf-8")
    return folder(root)


def truncated_image(root: Path) -> ImageFolder:
    file = root / "ant" / "z.jpg"
    file.write_bytes(file.read_bytes()[:-40])
    return folder(root)


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        (no_root, "none does not exist"),
        (file_as_root, "README is not a folder"),
        (no_images, "cat holds no images; expected <class folder>/<file>.jpg"),
        (
            folders_do_not_number_the_classes,
            "has 3 class folders, but the model has 1000 classes; give --class-map",
        ),
        (empty_map, "classes.txt is empty; expected one class folder's name per line"),
        (repeated_line, "classes.txt names ant twice, the second time as class 2"),
        (short_map, "classes.txt has 2 classes, but the model has 3"),
        (map_without_a_folder, "cat is not in class map"),
        (binary_map, "classes.txt is not a text file"),
        (missing_map, "no.txt cannot be read: No such file or directory"),
        (folder_as_map, "images cannot be read: Is a directory"),
        (limit_of_zero, "--limit must be at least 1, not 0"),
        (text_named_png, "k.png cannot be decoded"),
        (truncated_image, "z.jpg cannot be decoded"),
        (lambda root: calibration_batch(folder(root), 7, seed=0), "needs 7 images, but .* has only 6"),
    ],
)
def test_mistake_is_answered_in_one_line(
    root: Path, mistake: Callable[[Path], object], expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        consume(mistake, root)
    assert "\n" not in str(caught.value)


def test_selected_images_fail_as_batches_do(root: Path) -> None:
    with pytest.raises(UserError, match=r"k\.png cannot be decoded"):
        text_named_png(root).select([1])

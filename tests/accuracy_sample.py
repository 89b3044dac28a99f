"""What the tests of the accuracy table share: the test digits as image files."""

from pathlib import Path

from PIL import Image

from golden.digits.dataset import indices, pixels_and_labels


def write_digits(folder: Path) -> Path:
    """Four test digits of each class as image files below `folder`, which is returned."""
    pixels, labels = pixels_and_labels()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for n in [i for i in indices("test") if labels[i] == digit][:4]:
            grey = (pixels[n] * 255 / 16).round().astype("uint8")
            Image.fromarray(grey).save(folder / str(digit) / f"{n:04}.png")
    return folder

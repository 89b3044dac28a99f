"""The 1,797 handwritten digits that scikit-learn carries, in a fixed split.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
1998, doi 10.24432/C50P49; scikit-learn ships its test part. Pixels count 0 to 16 set points of a 4 x 4 cell.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden.digits.model import MEAN, STD
from golden.images import TensorImages

SPLIT_SEED = 2023
"""Any other number gives another split; the shipped weights were trained with this one."""
TEST_PER_CLASS = 36
CALIB_PER_CLASS = 16
Split = Literal["train", "test", "calib"]


def images(split: Split) -> TensorImages:
    """The split's images, normalised, in the data set's order.

    `test`: 36 per class, 360 in all; `train`: the 1,437 others; `calib`: 160 of the training images.
    """
    pixels, labels = pixels_and_labels()
    members = indices(split)
    return TensorImages(
        name=f"digits {split}",
        images=normalise(torch.from_numpy(pixels[members]).unsqueeze(1) / 16),
        labels=torch.from_numpy(labels[members]),
    )


def normalise(pixels: Tensor) -> Tensor:
    """Model input of float32 `pixels` in [0, 1]."""
    return (pixels - MEAN) / STD


@cache
def pixels_and_labels() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All images float32[1797, 8, 8] from 0 to 16, and their digits int64[1797]."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images.astype(np.float32), digits.target.astype(np.int64)


def indices(split: Split) -> list[int]:
    """Positions of the split's images in the data set, ascending."""
    _, labels = pixels_and_labels()
    test = draw(range(len(labels)), TEST_PER_CLASS, "test")
    if split == "test":
        return test
    train = sorted(set(range(len(labels))) - set(test))
    if split == "train":
        return train
    if split == "calib":
        return draw(train, CALIB_PER_CLASS, "calib")
    raise ValueError(f"split must be train, test or calib, not {split!r}")


def draw(candidates: Iterable[int], per_class: int, purpose: str) -> list[int]:
    """`per_class` candidates of every digit, by smallest hash: no library version moves the draw."""
    _, labels = pixels_and_labels()
    order = sorted(candidates, key=lambda i: hashlib.sha256(f"{SPLIT_SEED} {purpose} {i}".encode()).digest())
    return sorted(i for digit in range(10) for i in [j for j in order if labels[j] == digit][:per_class])

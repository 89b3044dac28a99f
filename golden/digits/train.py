"""Trains the demo's model: seeded, on the CPU, a few minutes. `python -m golden.digits.train --out FILE`.

AdamW with a cosine schedule on randomly rotated, scaled, sheared and shifted digits; the weights kept are an
exponential moving average. `--validate` holds 300 of the training images back and reports the accuracy on
them: the recipe was chosen by that figure, and the test images take no part in training or choosing.
"""

import argparse
import math
import os
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import torch
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from golden.digits.dataset import draw, indices, normalise, pixels_and_labels
from golden.digits.model import build

SEED = 1
EPOCHS = 250
WARMUP_EPOCHS = 10
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05
LARGEST_GRADIENT = 1.0
AVERAGE_DECAY = 0.995
"""Per step, of the moving average of the weights: a memory of 200 steps, about 9 epochs."""
DEGREES, SCALE, SHEAR, SHIFT_PIXELS = 10.0, 0.1, 0.08, 0.5
"""Largest random rotation, relative change of size, shear and shift of a training digit."""
VALIDATION_PER_CLASS = 30


def distort(pixels: Tensor) -> Tensor:
    """Every image of float32 `pixels` [B, 1, 8, 8] under its own affine map, bilinear, black outside."""
    angle, shear, wider, taller, right, down = (2 * torch.rand(6, len(pixels)) - 1).unbind()
    angle, shear = angle * math.radians(DEGREES), shear * SHEAR
    wider, taller = 1 + SCALE * wider, 1 + SCALE * taller
    shift = SHIFT_PIXELS / (pixels.shape[-1] / 2)  # affine_grid measures in half sides
    x_row = torch.stack([wider * angle.cos(), shear - taller * angle.sin(), right * shift], dim=1)
    y_row = torch.stack([shear + wider * angle.sin(), taller * angle.cos(), down * shift], dim=1)
    grid = functional.affine_grid(torch.stack([x_row, y_row], dim=1), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False)


def train(members: list[int], seed: int) -> nn.Module:
    """Model trained on the images at positions `members` of the data set, in evaluation mode."""
    torch.manual_seed(seed)
    pixels, labels = _tensors(members)
    model = build()
    average: nn.Module = deepcopy(model).eval()
    steps = EPOCHS * (len(members) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _relative_rate(step, steps))
    for chosen in track(_epochs(len(members)), total=steps, description="Training"):
        logits = model(normalise(distort(pixels[chosen])))
        loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for kept, current in zip(average.parameters(), model.parameters(), strict=True):
                kept.lerp_(current, 1 - AVERAGE_DECAY)
    return average


def accuracy(model: nn.Module, members: list[int]) -> float:
    """Share of the images at positions `members` that `model` names rightly."""
    pixels, labels = _tensors(members)
    with torch.inference_mode():
        return float((model(normalise(pixels)).argmax(dim=1) == labels).double().mean())


def _tensors(members: list[int]) -> tuple[Tensor, Tensor]:
    """Pixels in [0, 1] and digits."""
    pixels, labels = pixels_and_labels()
    return torch.from_numpy(pixels[members]).unsqueeze(1) / 16, torch.from_numpy(labels[members])


def _epochs(count: int) -> Iterator[Tensor]:
    """Positions of every batch: each epoch a new shuffle, its last incomplete batch left out."""
    for _ in range(EPOCHS):
        order = torch.randperm(count)
        yield from torch.chunk(order[: count - count % BATCH_SIZE], count // BATCH_SIZE)


def _parameter_groups(model: nn.Module) -> list[dict[str, object]]:
    """Weight decay on matrices and embeddings, none on biases and LayerNorm."""
    return [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]


def _relative_rate(step: int, steps: int) -> float:
    """Learning rate over its peak: a straight warm-up under half a cosine."""
    warmup = steps * WARMUP_EPOCHS / EPOCHS
    return min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m golden.digits.train", description="Train the demo's ViT."
    )
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--validate", action="store_true", help="test on 300 training images held back")
    options = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # the order of additions, and so the weights, would follow the number of threads
    members = indices("train")
    judges = draw(members, VALIDATION_PER_CLASS, "validation") if options.validate else indices("test")
    model = train(sorted(set(members) - set(judges)), options.seed)
    beside = options.out.with_name(options.out.name + ".partial")
    save_file(model.state_dict(), beside, metadata={"seed": str(options.seed), "epochs": str(EPOCHS)})
    os.replace(beside, options.out)
    held_back = "validation" if options.validate else "test"
    print(f"{options.out}: {100 * accuracy(model, judges):.2f} % of {len(judges)} {held_back} images")


if __name__ == "__main__":
    main()

"""Handwritten digits, 8 x 8 pixels, and the small ViT trained on them: the demo's model, not a download."""

from golden.digits.dataset import SPLIT_SEED, images
from golden.digits.model import WEIGHTS, build

__all__ = ["SPLIT_SEED", "WEIGHTS", "build", "images"]

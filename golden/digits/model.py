"""The small ViT of the demo: timm's own VisionTransformer, DeiT-Tiny's shape at a quarter of its width."""

from pathlib import Path

from golden.pretrained import VisionTransformer

WEIGHTS = Path(__file__).with_name("digits_vit.safetensors")
"""Trained weights, made by `python -m golden.digits.train`."""

MEAN, STD = 0.3, 0.375
"""Normalisation of pixels in [0, 1]; rounded from the training images' 0.305 and 0.376."""


def build() -> VisionTransformer:
    """Untrained model: 16 patches of 2 x 2 pixels and a class token, 4 blocks, 3 heads of 16 channels."""
    model = VisionTransformer(
        img_size=8,
        patch_size=2,
        in_chans=1,
        num_classes=10,
        embed_dim=48,
        depth=4,
        num_heads=3,
        mlp_ratio=4.0,
    )
    # timm resolves a model's preprocessing from here.
    model.pretrained_cfg = {
        "input_size": (1, 8, 8),
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": (MEAN,),
        "std": (STD,),
        "num_classes": 10,
    }
    return model

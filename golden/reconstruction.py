"""Reconstruction: module after module learns to round its weights and to scale its activations (ADFQ-ViT).

ADFQ-ViT (arXiv 2407.02763), attention-score enhanced module-wise optimisation, for the formats of any scheme. Modules
are the attention and MLP steps of the chain, with LayerNorm and residual addition; the rest stays as calibrated.
Each in turn minimises the squared error of its output against the float step's on float input (summed over channels,
mean over tokens and images), plus AdaRound's regulariser, plus for attention the divergence of its probabilities. Its
input comes from the quantised chain so far or from the float chain, drawn per element.

Where the released code is odd, this is not: it takes the softmax of the probabilities over the heads and measures
KL(Q || FP), here it is taken over the keys, and KL(FP || Q) measured, which counts what the float model attends to.
Its modules leave out LayerNorm and residual addition, and so cannot make good for errors of the modules before.

The peaks of the residual stream and of the logits stay those of the calibration: learning brings the quantised chain
closer to the float one, and lowering leaves room for twice the peak.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from golden.adaround import with_codes, with_scale
from golden.calibrate import Calibrated
from golden.fakequant import FakeQuantizer
from golden.learning import Learned, Module, target_of
from golden.model import Model, Step
from golden.scheme import Reconstruction
from golden.shards import Shards

SHARD = 8
"""Images that one thread works on: a batch of 16 keeps two busy. On a GPU a shard is the batch."""
CODES, SCALE = "codes.", "scale."
"""What a checkpoint's tensors are, in front of the layer's or site's name."""


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def module_names(model: Model) -> list[str]:
    """The steps that learn, in order."""
    return [step.name for step in model.steps() if step.name.endswith((".attn", ".mlp"))]


def reconstruct(
    calibrated: Calibrated,
    images: Tensor,
    settings: Reconstruction,
    *,
    seed: int,
    folder: Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Calibrated:
    """`calibrated` with learned rounding of weights and learned activation scales, from images [B, C, H, W].

    `advance` is called with the number of iterations done, of `len(module_names(model)) * settings.iterations`. In
    `folder` every finished module is kept; a later call with the same arguments goes on from there and ends at the
    same bits as one that was never cut short. The result depends on the seed and not on the number of threads.
    """
    device = best_device()
    key = _key(calibrated, images, settings, f"seed {seed} torch {torch.__version__} {device.type}")
    names, model = module_names(calibrated.model), calibrated.model.to(device)
    steps = model.steps()
    last = max((i for i, step in enumerate(steps) if step.name in names), default=-1)
    floats = quantised = images.to(device)
    with Shards(SHARD if device.type == "cpu" else settings.batch) as shards:
        for step in steps[: last + 1]:
            target = target_of(step, floats, shards)
            if step.name in names:
                learned = _load(folder, step.name, key)
                if learned is None:
                    module = Module(step, target, model, calibrated, settings)
                    generator = _generator(seed, step.name)
                    learned = module.learn(floats, quantised, shards, generator, advance)
                    _save(folder, step.name, key, learned)
                else:
                    advance(settings.iterations)
                calibrated = _with(calibrated, learned)
            quantised = _fake(step, quantised, calibrated, shards)
            floats = target.output
    return replace(calibrated, digest=key)


class _Anywhere(FakeQuantizer):
    """Fake quantisation of tensors on any device; codecs hold theirs, and make their tables, on the CPU."""

    def activation(self, site: str, kind: str, x: Tensor, partner: Tensor | None = None) -> Tensor:
        return super().activation(site, kind, x.cpu()).to(x.device)

    def weight(self, layer: str, w: Tensor) -> Tensor:
        return super().weight(layer, w).to(w.device)


def _fake(step: Step, x: Tensor, calibrated: Calibrated, shards: Shards) -> Tensor:
    """The fake-quantised step on `x` [B, ...]."""
    tap = _Anywhere(calibrated)

    def run(rows: slice) -> Tensor:
        with torch.no_grad():
            return step.run(x[rows], tap)

    return torch.cat(shards.map(run, len(x)))


def _with(calibrated: Calibrated, learned: Learned) -> Calibrated:
    weights = {n: with_codes(calibrated.weights[n], codes) for n, codes in learned.codes.items()}
    sites = {n: with_scale(calibrated.activations[n], scale) for n, scale in learned.scales.items()}
    return replace(
        calibrated,
        weights={**calibrated.weights, **weights},
        activations={**calibrated.activations, **sites},
    )


def _generator(seed: int, module: str) -> torch.Generator:
    """Each module has its own draws, so that a run cut short before it does not move them."""
    digest = hashlib.sha256(f"{seed} {module}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


def _key(calibrated: Calibrated, images: Tensor, settings: Reconstruction, run: str) -> str:
    """SHA-256 over everything that decides the result; the model too, which the calibration's digest leaves out."""
    digest = hashlib.sha256(f"{calibrated.digest}\n{settings.model_dump_json()}\n{run}\n".encode())
    digest.update(images.numpy().tobytes())
    for name, value in sorted(calibrated.model.weights.items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _save(folder: Path | None, module: str, key: str, learned: Learned) -> None:
    """Keeps a finished module, written beside and then renamed."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{CODES}{n}": codes for n, codes in learned.codes.items()}
    tensors |= {f"{SCALE}{n}": scale for n, scale in learned.scales.items()}
    beside = folder / f"{module}.partial"
    save_file(tensors, beside, metadata={"key": key})
    os.replace(beside, folder / f"{module}.safetensors")


def _load(folder: Path | None, module: str, key: str) -> Learned | None:
    """A finished module; None where it is absent, unreadable, or of another key."""
    if folder is None:
        return None
    codes: dict[str, Tensor] = {}
    scales: dict[str, Tensor] = {}
    try:
        with safe_open(folder / f"{module}.safetensors", framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            for name in file.keys():  # noqa: SIM118 - not a dict
                kept = codes if name.startswith(CODES) else scales
                kept[name.split(".", 1)[1]] = file.get_tensor(name)
    except (SafetensorError, OSError):
        return None
    return Learned(codes=codes, scales=scales)

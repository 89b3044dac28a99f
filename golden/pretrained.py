"""Models by their timm name, with weights that must fit exactly, and the preprocessing they were trained on.

The only file that imports timm; the rest of the package takes what it needs from here.
"""

import difflib
import pickle
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import huggingface_hub
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from golden.errors import UserError

DIGITS = "vitrtl_digits"
"""Name of the small model that ships with the package, beside all of timm's."""
_NAMED = 3
"""How many offending tensors an error message names before it counts the rest."""


def _import_timm() -> ModuleType:
    """Imports timm, which needs torchvision, even where torchvision's compiled operators are absent.

    Package indexes pair a CPU-only torch with a torchvision built for CUDA. Its operators then fail to load,
    and its import fails while registering shape functions for them. None of them is needed to classify
    images, so exactly those registrations are skipped, and only after a plain import has failed.
    """
    try:
        import torchvision  # noqa: F401 - tried before timm, which imports it
    except RuntimeError:
        _import_torchvision_without_operators()
    import timm

    return cast(ModuleType, timm)


def _import_torchvision_without_operators() -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported: a second import would find the halves
    register = torch.library.register_fake

    def skip_torchvision(op: Any, *args: Any, **options: Any) -> Any:
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda function: function
        return register(op, *args, **options)

    torch.library.register_fake = skip_torchvision
    try:
        import torchvision  # noqa: F401 - the import is the point
    finally:
        torch.library.register_fake = register


timm = _import_timm()
from timm.models.vision_transformer import VisionTransformer  # noqa: E402 - needs torchvision settled first

__all__ = [
    "DIGITS",
    "Preprocessing",
    "VisionTransformer",
    "check_name",
    "load_model",
    "preprocessing",
    "timm",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From an image file's pixels to a model's input: resize, centre crop, scale to [0, 1], normalise."""

    input_size: tuple[int, int, int]
    """Channels, height and width of the model's input, in pixels."""
    crop_pct: float
    """Side of the centre crop over the resized short side, in (0, 1]."""
    interpolation: str
    """Resize filter: `bicubic`, `bilinear`, `nearest`, `lanczos`, ..."""
    mean: tuple[float, ...]
    """Per channel, of pixels in [0, 1]."""
    std: tuple[float, ...]
    """Per channel, of pixels in [0, 1]."""

    def transform(self, image: Image.Image) -> Tensor:
        """Normalised float32 [channels, height, width] of `image`, converted to grey or RGB first."""
        mode = "L" if self.input_size[0] == 1 else "RGB"
        return _evaluation_transform(self)(image.convert(mode))


@cache
def _evaluation_transform(how: Preprocessing) -> Callable[[Image.Image], Tensor]:
    from timm.data import create_transform

    return cast(
        Callable[[Image.Image], Tensor],
        create_transform(
            input_size=how.input_size,
            is_training=False,
            interpolation=how.interpolation,
            mean=how.mean,
            std=how.std,
            crop_pct=how.crop_pct,
        ),
    )


def preprocessing(model: nn.Module) -> Preprocessing:
    """Preprocessing that `model` (from `load_model`) was trained with: timm's own evaluation settings.

    timm's settings for DeiT crop 0.9 (resize 248, crop 224); RepQ-ViT's published figures use 0.875.
    """
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(model)
    return Preprocessing(
        input_size=tuple(config["input_size"]),
        crop_pct=float(config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def load_model(name: str, weights: Path | None) -> nn.Module:
    """Model `name` in float32 and evaluation mode.

    `name` is one of timm's, or `vitrtl_digits`. `weights` is a safetensors file or a torch file of tensors
    only (a state dict, bare or under `model` or `state_dict`); its tensors must fit the model exactly, except
    that the number of classes follows the file's classifier. Without `weights`: timm's pretrained ones,
    downloaded, or for `vitrtl_digits` those in the package. Raises `UserError` for any other name or file.
    """
    if name != DIGITS:
        check_name(name)
    if weights is None and name != DIGITS:
        model = _download(name)
    else:
        from golden import digits

        file = digits.WEIGHTS if weights is None else weights
        state = _read_weights(file)
        model = digits.build() if name == DIGITS else _create(name, state)
        _fill(model, state, name, file)
    return model.float().eval()


def check_name(name: str) -> None:
    """UserError when timm has no model `name`."""
    known = timm.list_models()
    if name.partition(".")[0] in known and timm.models.is_model(name):
        return
    near = difflib.get_close_matches(name.partition(".")[0], [*known, DIGITS])
    hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists the names"
    raise UserError(f"--model {name} is neither {DIGITS} nor a model of timm {timm.__version__}; {hint}")


def _download(name: str) -> nn.Module:
    if not timm.models.is_model_pretrained(name):
        raise UserError(f"timm has no pretrained weights for {name}; give the weights with --weights FILE")
    try:
        _check_connection(name)
        return cast(nn.Module, timm.create_model(name, pretrained=True))
    except Exception as error:  # whatever the network, the proxy, the hub's client and its cache come up with
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"the pretrained weights of {name} could not be downloaded ({reason}); give --weights FILE"
        ) from error


def _check_connection(name: str) -> None:
    """Fails at once where neither the cache nor the hub can answer; its client would retry for a minute."""
    hub = timm.get_pretrained_cfg(name).hf_hub_id
    if hub is None or huggingface_hub.constants.HF_HUB_OFFLINE:
        return
    names = ("model.safetensors", "pytorch_model.bin")
    if any(isinstance(huggingface_hub.try_to_load_from_cache(hub, file), str) for file in names):
        return
    try:
        urllib.request.urlopen(huggingface_hub.constants.ENDPOINT, timeout=10).close()
    except urllib.error.HTTPError as answer:
        answer.close()  # an answer all the same


def _create(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    """Untrained model `name`, with as many classes as `state`'s classifier has rows if that can be told."""
    config = timm.get_pretrained_cfg(name.partition(".")[0])
    classifier = state.get(f"{config.classifier}.weight") if config is not None else None
    options = {} if classifier is None or classifier.ndim != 2 else {"num_classes": classifier.shape[0]}
    try:
        return cast(nn.Module, timm.create_model(name, pretrained=False, **options))
    except RuntimeError as error:  # an unknown tag after the dot
        raise UserError(f"timm cannot make --model {name}: {str(error).partition(chr(10))[0]}") from error


def _read_weights(file: Path) -> dict[str, Tensor]:
    """Tensors of `file` by name."""
    if not file.is_file():
        raise UserError(f"weights file {file} {'is not a file' if file.exists() else 'does not exist'}")
    with file.open("rb") as stream:
        start = stream.read(9)
    if not start:
        raise UserError(f"weights file {file} is empty")
    try:
        # A safetensors file opens with the 8-byte length of its JSON header.
        loaded: object = (
            load_file(file) if start[8:] == b"{" or file.suffix == ".safetensors" else _unpickle(file)
        )
    except SafetensorError as error:
        raise UserError(f"weights file {file} is not a readable safetensors file: {error}") from error
    for wrapper in ("model", "state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise UserError(f"weights file {file} holds no state dict, bare or under model or state_dict")
    return {str(tensor): value for tensor, value in loaded.items()}


def _unpickle(file: Path) -> object:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"weights file {file} is no torch file of tensors only; "
            "save it again with safetensors.torch.save_file(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"weights file {file} is damaged or not a torch file: {reason}") from error


def _fill(model: nn.Module, state: Mapping[str, Tensor], name: str, file: Path) -> None:
    """Copies `state` into `model`; every tensor must be there, fit and be finite."""
    wanted = model.state_dict()
    wrong = [
        _listing("missing", [key for key in wanted if key not in state]),
        _listing("unexpected", [key for key in state if key not in wanted]),
        _listing(
            "of another shape",
            [
                f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
                for key, value in wanted.items()
                if key in state and state[key].shape != value.shape
            ],
        ),
        _listing("not finite", [key for key, value in state.items() if not value.isfinite().all()]),
    ]
    if any(wrong):
        raise UserError(f"weights file {file} does not fit {name}: {'; '.join(filter(None, wrong))}")
    model.load_state_dict(dict(state), strict=True)


def _listing(problem: str, tensors: list[str]) -> str:
    if not tensors:
        return ""
    more = f", ... ({len(tensors)} in all)" if len(tensors) > _NAMED else ""
    return f"{problem} {', '.join(tensors[:_NAMED])}{more}"

"""A calibration as one safetensors file, so that another process runs the very same fake-quantised model.

Tensors are the parameters and those of every codec, the rest is JSON metadata; floats there are exact (the shortest
decimal that reads back as the same double). The model's function is code and does not travel.
"""

import json
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from golden import codecs
from golden.adaround import RoundedCodec
from golden.calibrate import Calibrated
from golden.codecs.base import Codec
from golden.errors import UserError
from golden.model import Model
from golden.scheme import Scheme

FORMAT = "vitrtl-calibration/1"
_CODECS = ("activations", "weights")
"""Fields of a calibration that map names to codecs."""


def save_calibrated(calibrated: Calibrated, path: Path) -> None:
    """Writes what `load_calibrated` reads."""
    tensors = {f"model/{name}": value for name, value in calibrated.model.weights.items()}
    header: dict[str, Any] = {"format": FORMAT, "scheme": calibrated.scheme.model_dump(mode="json")}
    for field in fields(calibrated):
        given = getattr(calibrated, field.name)
        if field.name in _CODECS:
            header[field.name] = {
                name: _take(codec, f"{field.name}/{name}", tensors) for name, codec in given.items()
            }
        elif field.name not in ("model", "scheme"):
            header[field.name] = given
    # The file holds plain arrays: neither strides nor memory that two tensors share.
    whole = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    save_file(whole, path, metadata={"calibration": json.dumps(header, allow_nan=False)})


def load_calibrated(path: Path, model: Model) -> Calibrated:
    """The calibration in `path`; `model` lends its function, not its parameters.

    Raises UserError for a file that `save_calibrated` of this version did not write.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("calibration", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not a readable vitrtl calibration: {error}") from error
    if header.pop("format", None) != FORMAT:
        raise UserError(f"{path} holds no {FORMAT}; calibrate again")
    weights = {
        name.removeprefix("model/"): value for name, value in tensors.items() if name.startswith("model/")
    }
    given: dict[str, Any] = {
        field: {name: _make(how, f"{field}/{name}", tensors) for name, how in header.pop(field).items()}
        for field in _CODECS
    }
    scheme = Scheme.model_validate(header.pop("scheme"))
    return Calibrated(model=model.with_weights(weights), scheme=scheme, **given, **header)


def _take(codec: Codec, place: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Class and plain fields of `codec`; its tensors go into `tensors`, named after `place`."""
    plain: dict[str, Any] = {}
    for field in fields(cast(Any, codec)):
        value = getattr(codec, field.name)
        if isinstance(value, Tensor):
            tensors[f"{place}/{field.name}"] = value
        else:
            plain[field.name] = value
    return {"class": type(codec).__name__, "plain": plain}


def _make(how: Mapping[str, Any], place: str, tensors: Mapping[str, Tensor]) -> Codec:
    kind = _codec_classes()[how["class"]]
    named = {
        field.name: tensors[f"{place}/{field.name}"]
        for field in fields(kind)
        if field.name not in how["plain"]
    }
    return cast(Codec, kind(**named, **how["plain"]))


@cache
def _codec_classes() -> dict[str, Any]:
    """Every codec by the name of its class: those of the formats, and the learned weights."""
    modules = [
        import_module(f"{codecs.__name__}.{module.name}") for module in pkgutil.iter_modules(codecs.__path__)
    ]
    found = [entry for module in modules for entry in vars(module).values() if isinstance(entry, type)]
    return {
        kind.__name__: kind
        for kind in (*found, RoundedCodec)
        if hasattr(kind, "with_zero") and kind is not Codec
    }

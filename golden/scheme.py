"""A scheme is data: which number format sits at which site, and how it is calibrated. Read from TOML."""

import tomllib
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golden.errors import UserError

ACTIVATION_SITES = (
    "patch_input",
    "post_layernorm",
    "q",
    "k",
    "v",
    "softmax",
    "proj_input",
    "gelu",
    "head_input",
)
"""Kinds of activation site in a block, in the order data meets them (`patch_input` and `head_input`: once a model)."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UniformSite(_Strict):
    """Uniform codes at a site."""

    format: Literal["uniform"]
    bits: Annotated[int, Field(ge=2, le=8)] | None = None
    """Fixed width; without it the run's activation bits."""
    granularity: Literal["tensor", "channel_to_tensor"] = "tensor"
    """`channel_to_tensor`: calibrated per channel, then folded into the LayerNorm and the next weights (RepQ-ViT)."""


class Log2Site(_Strict):
    """Log codes at a site of values in (0, 1]."""

    format: Literal["log2"]
    base: Literal["2", "sqrt2"]
    bits: Annotated[int, Field(ge=2, le=8)] | None = None

    @property
    def steps_per_octave(self) -> int:
        """1 for base 2, 2 for base √2."""
        return 1 if self.base == "2" else 2


Site = Annotated[UniformSite | Log2Site, Field(discriminator="format")]


class Sites(_Strict):
    """The format at every site."""

    patch_input: UniformSite
    post_layernorm: UniformSite
    q: UniformSite
    k: UniformSite
    v: UniformSite
    softmax: Log2Site
    proj_input: UniformSite
    gelu: UniformSite
    head_input: UniformSite


class Calibration(_Strict):
    """How ranges are found."""

    percentiles: tuple[Annotated[float, Field(gt=0.5, le=1.0)], ...] = Field(min_length=1)
    images: Annotated[int, Field(ge=1)]


class Scheme(_Strict):
    """Formats and calibration of one quantisation scheme."""

    name: str
    paper: str
    calibration: Calibration
    sites: Sites


def load_scheme(name: str) -> Scheme:
    """The shipped scheme `name`, or the TOML file at that path."""
    path = Path(name)
    if path.suffix == ".toml":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"scheme file {path} cannot be read: {error}") from error
        return _parse(text, str(path))
    shipped = {
        f.name.removesuffix(".toml"): f for f in files("golden.schemes").iterdir() if f.name.endswith(".toml")
    }
    if name not in shipped:
        near = get_close_matches(name, shipped, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(
            f"unknown scheme {name!r}; shipped: {', '.join(sorted(shipped))}, or give a .toml file{hint}"
        )
    return _parse(shipped[name].read_text(encoding="utf-8"), f"{name}.toml")


def _parse(text: str, where: str) -> Scheme:
    try:
        return Scheme.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        near = (
            get_close_matches(str(first["loc"][-1]), ACTIVATION_SITES, n=1)
            if first["type"] == "extra_forbidden"
            else []
        )
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{where}: {key}: {first['msg']}{hint}") from error

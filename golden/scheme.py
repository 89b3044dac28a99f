"""A scheme is data: which number format sits at which site, and how it is calibrated. Read from TOML."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from golden.codecs.base import ACTIVATION_SITES, SiteFormat
from golden.codecs.registry import site_formats
from golden.errors import UserError

RESIDUAL = "residual"
"""The residual stream, which LayerNorm reads: a site where a scheme quantises it, else 16-bit integers."""
SUPPORTED = {
    kind: tuple(name for name, entry in sorted(site_formats().items()) if kind in entry.sites)
    for kind in (*ACTIVATION_SITES, RESIDUAL)
}
"""Kind of site -> formats that it can take, as the formats say."""
Bits = Annotated[int, Field(ge=2, le=8)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Calibration(_Strict):
    """How ranges are found."""

    percentiles: tuple[Annotated[float, Field(gt=0.5, le=1.0)], ...] = Field(min_length=1)
    """Candidate ranges; 1.0 is the whole range (min-max)."""
    images: Annotated[int, Field(ge=1)]
    metric: Literal["tensor", "hessian"] = "tensor"
    """Error that searches minimise: squared error of the tensor, or weighted with squared gradients of the loss."""


class LayerRule(_Strict):
    """Other widths or formats for the sites and layers whose names match; of several rules the last one counts."""

    match: str
    """Shell pattern over the names of sites and layers: `blocks.0.*`, `*.mlp.gelu`, `head`."""
    weight_bits: Bits | None = None
    act_bits: Bits | None = None
    """Of matching sites whose format states no width of its own."""
    sites: Mapping[str, SerializeAsAny[SiteFormat]] = {}
    """Kind of site -> its format at matching sites."""

    @field_validator("sites", mode="before")
    @classmethod
    def _parse_sites(cls, given: Any) -> dict[str, SiteFormat]:
        return _sites(given)


class Reconstruction(_Strict):
    """How rounding and activation scales are learned after calibration (golden.reconstruction); ADFQ-ViT's values."""

    images: Annotated[int, Field(ge=1)] = 1024
    batch: Annotated[int, Field(ge=1)] = 32
    iterations: Annotated[int, Field(ge=1)] = 5000
    """Per module."""
    rounding_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Adam's, of the numbers that decide how each weight is rounded."""
    scale_rate: Annotated[float, Field(ge=0)] = 4e-5
    """Adam's, of the activation scales; falls to 0 along a cosine."""
    mix: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a module's inputs that are taken from the quantised chain, the others from the float chain."""
    rounding_weight: Annotated[float, Field(ge=0)] = 0.01
    temperature: tuple[Annotated[float, Field(ge=1)], Annotated[float, Field(ge=1)]] = (20.0, 2.0)
    """Exponent of AdaRound's regulariser after the warm-up and at the end."""
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the iterations before the regulariser sets in."""
    attention_weight: Annotated[float, Field(ge=0)] = 10.0
    """1 / lambda."""
    attention_temperature: Annotated[float, Field(gt=0)] = 4.0

    def exponent_at(self, iteration: int) -> float | None:
        """Exponent of AdaRound's regulariser, linear between its ends; None during the warm-up."""
        start, (first, last) = self.warm_up * self.iterations, self.temperature
        if iteration < start:
            return None
        return first + (last - first) * (iteration - start) / (self.iterations - start)


class Scheme(_Strict):
    """Formats and calibration of one quantisation scheme."""

    name: str
    paper: str
    calibration: Calibration
    sites: Mapping[str, SerializeAsAny[SiteFormat]]
    """Kind of site -> its format; every kind has one, the residual stream may."""
    layers: tuple[LayerRule, ...] = ()
    """Exceptions by name."""
    reconstruction: Reconstruction | None = None
    """Learning after calibration; the digest of a calibration covers it."""

    @field_validator("sites", mode="before")
    @classmethod
    def _parse_sites(cls, given: Any) -> dict[str, SiteFormat]:
        return _sites(given)

    @model_validator(mode="after")
    def _all_sites(self) -> "Scheme":
        missing = [kind for kind in ACTIVATION_SITES if kind not in self.sites]
        if missing:
            raise ValueError(f"no format for {', '.join(missing)}")
        return self

    def format_at(self, site: str, kind: str) -> SiteFormat | None:
        """Format of `site`, its width filled in where a rule gives one; None for a residual site left as it is."""
        entry, bits = self.sites.get(kind), None
        for rule in self.layers:
            if fnmatchcase(site, rule.match):
                entry = rule.sites.get(kind, entry)
                bits = rule.act_bits or bits
        if entry is None or entry.bits is not None:
            return entry
        return entry.model_copy(update={"bits": bits})

    def weight_bits_at(self, layer: str, run_bits: int) -> int:
        """Width of the weights of `layer`; `run_bits` where no rule says otherwise."""
        given = [r.weight_bits for r in self.layers if r.weight_bits and fnmatchcase(layer, r.match)]
        return given[-1] if given else run_bits

    def check_names(self, activations: Mapping[str, str], layers: tuple[str, ...]) -> None:
        """UserError for a rule that no site (name -> kind) or layer of the model is meant by."""
        for rule in self.layers:
            kinds = {kind for site, kind in activations.items() if fnmatchcase(site, rule.match)}
            if not kinds and not any(fnmatchcase(layer, rule.match) for layer in layers):
                near = _hint(rule.match, [*activations, *layers])
                raise UserError(
                    f"scheme {self.name}: no site or layer of this model matches {rule.match!r}{near}"
                )
            for kind in rule.sites:
                if kind not in kinds:
                    raise UserError(f"scheme {self.name}: {rule.match!r} matches no site of kind {kind}")


def _sites(given: Any) -> dict[str, SiteFormat]:
    if not isinstance(given, dict):
        raise ValueError("must be a table with one entry per site")  # noqa: TRY004 - pydantic reports ValueErrors
    return {kind: _site(kind, entry) for kind, entry in given.items()}


def _site(kind: str, entry: Any) -> SiteFormat:
    """The format of one site; ValueError with one clear line."""
    if kind not in SUPPORTED:
        raise ValueError(f"no site {kind!r}{_hint(kind, SUPPORTED)}; sites: {', '.join(SUPPORTED)}")
    if not isinstance(entry, dict) or "format" not in entry:
        raise ValueError(f"{kind} needs a format, one of {', '.join(SUPPORTED[kind])}")
    name = entry["format"]
    if name not in SUPPORTED[kind]:
        raise ValueError(f"{kind} cannot take format {name!r}; it takes {', '.join(SUPPORTED[kind])}")
    try:
        return site_formats()[name].model_validate(entry)
    except ValidationError as error:
        raise ValueError(f"{kind}: {_problem(error, site_formats()[name].model_fields)}") from error


def _problem(error: ValidationError, known: Any) -> str:
    """The one mistake to tell: an unknown key first, because a misspelt one is missing under its right name too."""
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}{_hint(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"{key} is missing"
    if first["type"] == "value_error":
        message = str(first["msg"]).removeprefix("Value error, ")
        return f"{key}: {message}" if key else message
    return f"{key} is {first['input']!r}: {first['msg']}"


def _hint(word: str, known: Any) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]}?" if near and near[0] != word else ""


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
        near = _hint(name, shipped)
        raise UserError(
            f"unknown scheme {name!r}; shipped: {', '.join(sorted(shipped))}, or give a .toml file{near}"
        )
    return _parse(shipped[name].read_text(encoding="utf-8"), f"{name}.toml")


def _parse(text: str, where: str) -> Scheme:
    try:
        return Scheme.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where} is not valid TOML: {error}") from error
    except ValidationError as error:
        parts = (Scheme, Calibration, LayerRule, Reconstruction)
        known = [name for part in parts for name in part.model_fields]
        raise UserError(f"{where}: {_problem(error, known)}") from error

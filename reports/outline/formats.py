"""Formats and widths that a scheme puts at each site, read from its file without torch."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

from golden.errors import UserError

KINDS = frozenset(
    {"uniform", "log2", "shift_log2", "two_scale", "sign_scale", "tan", "token_uniform", "channel_shift"}
)
"""Formats whose operations are known without a calibration."""
LISTED = "token_uniform"
"""The format whose lists of outliers are as long as calibration finds them to need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """The number format of one site, as far as shapes and cycles depend on it."""

    kind: str
    bits: int
    """Width of a code."""
    steps_per_octave: int
    """Of a log format: 1 for base 2, 2 for base √2."""
    entry_bits: int
    """Of tangent codes: width of a decoded value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """What a scheme says at the widths of a run."""

    scheme: Mapping[str, Any]
    """The scheme's TOML."""
    weight_bits: int
    act_bits: int
    capacity_at: Callable[[str], int] | None = None
    """Site of `token_uniform` codes -> outliers of a row; None: not known."""

    @property
    def name(self) -> str:
        """Of the scheme."""
        return str(self.scheme["name"])

    def at(self, site: str, kind: str) -> Format:
        """The format of `site`, of that kind."""
        found = self.residual(site) if kind == "residual" else self._entry(site, kind)
        if found is None:
            raise UserError(f"scheme {self.name}: no format for {site}")
        form = found["format"]
        if form not in KINDS:
            raise UserError(
                f"scheme {self.name}: the cycles of format {form!r} at {site} need a calibration; use vitrtl simulate"
            )
        return Format(
            kind=form,
            bits=found.get("bits") or self.act_bits,
            steps_per_octave=1 if found.get("base") == "2" else 2,
            entry_bits=found.get("entry_bits", 12),
        )

    def residual(self, site: str) -> Mapping[str, Any] | None:
        """The entry of a site of the residual stream; None where it stays as it is."""
        return self._entry(site, "residual")

    def weight_bits_at(self, layer: str) -> int:
        """Width of the weights of `layer`."""
        rules = [r for r in self.scheme.get("layers", ()) if fnmatchcase(layer, r["match"])]
        given = [r["weight_bits"] for r in rules if r.get("weight_bits")]
        return int(given[-1]) if given else self.weight_bits

    def capacity(self, site: str) -> int:
        """Outliers that a row's list at `site` holds.

        Raises:
            UserError: nobody has said.
        """
        if self.capacity_at is None:
            raise UserError(
                f"scheme {self.name} lists the outliers of {site}, and how many a list holds is found by calibration; "
                "state a length with --outlier-capacity, or use vitrtl simulate"
            )
        return self.capacity_at(site)

    def _entry(self, site: str, kind: str) -> Mapping[str, Any] | None:
        """As `golden.scheme.Scheme.format_at`: of several rules the last that says something counts."""
        entry, bits = self.scheme["sites"].get(kind), None
        for rule in self.scheme.get("layers", ()):
            if fnmatchcase(site, rule["match"]):
                entry = rule.get("sites", {}).get(kind, entry)
                bits = rule.get("act_bits") or bits
        if entry is None or entry.get("bits") is not None:
            return entry  # type: ignore[no-any-return]
        return {**entry, "bits": bits}


def read_scheme(name: str) -> Mapping[str, Any]:
    """The TOML of the shipped scheme `name`, or of the file at that path, which is checked in full first.

    Raises:
        UserError: there is no such scheme, or it is not valid.
    """
    folder = resources.files("golden") / "schemes"
    shipped = folder / f"{name}.toml"
    if "/" not in name and not name.endswith(".toml") and shipped.is_file():
        return tomllib.loads(shipped.read_text(encoding="utf-8"))
    from golden.scheme import load_scheme  # its checks need every format's module, and those torch

    load_scheme(name)
    return tomllib.loads(Path(name).read_text(encoding="utf-8"))

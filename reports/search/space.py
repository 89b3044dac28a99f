"""The search space: what of a scheme may vary, and the scheme that a choice of values makes."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from golden.model import Sites
from golden.scheme import LayerRule, Scheme
from reports.choice import Bits
from reports.search.request import Per

_IN_BLOCK = re.compile(r"^((?:stages\.\d+\.|layers\.\d+\.)?blocks\.\d+)\.(.+)$")
Values = Mapping[str, int | str]
"""Parameter of the space -> its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Layers or sites that share a width."""

    name: str
    members: tuple[str, ...]

    def patterns(self, everything: Sequence[str]) -> tuple[str, ...]:
        """What a scheme's rules match them by: one shell pattern where it takes in nothing else, else their names."""
        wide = f"*.{self.name}"
        alone = tuple(name for name in everything if fnmatchcase(name, wide)) == self.members
        return (wide,) if alone and len(self.members) > 1 else self.members


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Space:
    """Widths of weights and activations by group, and from which scheme each kind of site has its format."""

    schemes: tuple[Scheme, ...]
    """The first one's calibration is everyone's; each lends its formats."""
    sites: Sites
    low: int
    high: int
    weights: tuple[Group, ...]
    activations: tuple[Group, ...]
    formats: Mapping[str, tuple[str, ...]]
    """Kind of site -> schemes whose formats for it differ."""

    @property
    def choices(self) -> dict[str, tuple[int, int] | tuple[str, ...]]:
        """Parameter -> narrowest and widest width, or the schemes to choose from."""
        widths = (self.low, self.high)
        return {
            **{f"weights {group.name}": widths for group in self.weights},
            **{f"codes {group.name}": widths for group in self.activations},
            **{f"format {kind}": names for kind, names in self.formats.items()},
        }

    def uniform(self, scheme: Scheme, bits: Bits) -> dict[str, int | str] | None:
        """Values of `scheme` at one pair of widths; None for widths beyond the space."""
        if not all(self.low <= width <= self.high for width in (bits.weight, bits.act)):
            return None
        lent = {
            f"format {kind}": next(
                name for name in names if _lent(self._named(name), kind) == _lent(scheme, kind)
            )
            for kind, names in self.formats.items()
        }
        return {
            **{f"weights {group.name}": bits.weight for group in self.weights},
            **{f"codes {group.name}": bits.act for group in self.activations},
            **lent,
        }

    def scheme(self, name: str, values: Values) -> Scheme:
        """The scheme called `name` that `values` make: every width is stated in it, whatever the run's."""
        base = self.schemes[0]
        donors = {kind: self._named(str(values[f"format {kind}"])) for kind in self.formats}
        kept = [kind for kind in _kinds(self.schemes) if kind not in donors]
        chosen = dict.fromkeys(kept, base) | donors
        rules = [rule for kind, donor in chosen.items() for rule in _rules(donor, kind)]
        for group in self.weights:
            bits = int(values[f"weights {group.name}"])
            rules += [LayerRule(match=m, weight_bits=bits) for m in group.patterns(self.sites.layers)]
        for group in self.activations:
            bits = int(values[f"codes {group.name}"])
            every = tuple(self.sites.activations)
            rules += [LayerRule(match=match, act_bits=bits) for match in group.patterns(every)]
        found = {kind: donor.sites[kind] for kind, donor in chosen.items() if kind in donor.sites}
        return base.model_copy(
            update={
                "name": name,
                "paper": "vitrtl search, formats of " + ", ".join(scheme.name for scheme in self.schemes),
                "sites": {kind: found[kind] for kind in sorted(found)},
                "layers": tuple(rules),
            }
        )

    def narrower(self, values: Values, draw: random.Random) -> dict[str, int | str]:
        """`values` with some of its widths, one to a third of all, one bit narrower where the space allows it."""
        widths = [name for name, choice in self.choices.items() if isinstance(choice[0], int)]
        changed = draw.sample(widths, draw.randint(1, max(len(widths) // 3, 1)))
        return dict(values) | {name: max(int(values[name]) - 1, self.low) for name in changed}

    def widest(self, name: str, values: Values) -> Bits:
        """The widest widths, which name the run."""
        return Bits(
            weight=max(int(values[f"weights {group.name}"]) for group in self.weights),
            act=max(int(values[f"codes {group.name}"]) for group in self.activations),
            prefix=name,
        )

    def _named(self, name: str) -> Scheme:
        return next(scheme for scheme in self.schemes if scheme.name == name)


def space_of(schemes: Sequence[Scheme], sites: Sites, low: int, high: int, per: Per) -> Space:
    """The space around the first of `schemes`; sites whose width every scheme fixes have none to choose."""
    formats = {}
    for kind in _kinds(schemes):
        different = {_lent(scheme, kind): scheme.name for scheme in reversed(schemes)}
        if kind in sites.activations.values() and len(different) > 1:
            formats[kind] = tuple(s.name for s in schemes if s.name in different.values())
    free = tuple(
        site
        for site, kind in sites.activations.items()
        if any(kind in scheme.sites and scheme.sites[kind].bits is None for scheme in schemes)
    )
    return Space(
        schemes=tuple(schemes),
        sites=sites,
        low=low,
        high=high,
        weights=_groups(sites.layers, per),
        activations=_groups(free, per),
        formats=formats,
    )


def _groups(names: Sequence[str], per: Per) -> tuple[Group, ...]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(group_of(name, per), []).append(name)
    return tuple(Group(name=name, members=tuple(members)) for name, members in found.items())


def group_of(name: str, per: Per) -> str:
    """Group of a layer or site.

    >>> [group_of("blocks.3.attn.qkv", per) for per in ("kind", "block", "layer")]
    ['attn.qkv', 'blocks.3.attn', 'blocks.3.attn.qkv']
    >>> group_of("blocks.3.norm2", "block"), group_of("head", "block"), group_of("blocks.3.attn.k", "kind")
    ('blocks.3.mlp', 'head', 'attn.qkv')
    """
    # One product makes all three, and one requantizer where they have one width.
    name = re.sub(r"\.attn\.[qkv]$", ".attn.qkv", name)
    inside = _IN_BLOCK.match(name)
    if inside is None or per == "layer":
        return name
    block, rest = inside.groups()
    if per == "kind":
        return rest
    # norm2 makes the MLP's codes; every other name outside the MLP is the attention's.
    return f"{block}.{'mlp' if rest == 'norm2' or rest.startswith('mlp.') else 'attn'}"


def _kinds(schemes: Sequence[Scheme]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind for scheme in schemes for kind in scheme.sites))


def _lent(scheme: Scheme, kind: str) -> str:
    """Everything that `scheme` says of the format of `kind`, as text: equal where two schemes say the same."""
    entry = scheme.sites.get(kind)
    return f"{entry!r} {_rules(scheme, kind)!r}"


def _rules(scheme: Scheme, kind: str) -> list[LayerRule]:
    """The exceptions that `scheme` makes for the format of `kind`."""
    return [
        rule.model_copy(update={"weight_bits": None, "act_bits": None, "sites": {kind: rule.sites[kind]}})
        for rule in scheme.layers
        if kind in rule.sites
    ]

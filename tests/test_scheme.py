"""Schemes in TOML: the shipped one says what its paper does, and every mistake is one line that names it."""

from importlib.resources import files
from pathlib import Path

import pytest

from golden.codecs.log2 import Log2Site
from golden.codecs.uniform import UniformSite
from golden.errors import UserError
from golden.scheme import ACTIVATION_SITES, SUPPORTED, load_scheme

Q = 'q = { format = "uniform" }'
REPQ = (files("golden.schemes") / "repq.toml").read_text(encoding="utf-8")


def test_repq_is_the_papers_scheme() -> None:
    scheme = load_scheme("repq")
    assert scheme.calibration.percentiles == (0.999, 0.9999, 0.99999)
    assert scheme.calibration.images == 32
    assert set(scheme.sites) == set(ACTIVATION_SITES)
    softmax, norm = scheme.sites["softmax"], scheme.sites["post_layernorm"]
    assert isinstance(softmax, Log2Site)
    assert isinstance(norm, UniformSite)
    assert (softmax.base, softmax.steps_per_octave, norm.granularity) == ("sqrt2", 2, "channel_to_tensor")
    assert {kind: site.bits for kind, site in scheme.sites.items() if site.bits} == {"patch_input": 8}
    others = set(ACTIVATION_SITES) - {"softmax", "post_layernorm"}
    assert all(site == UniformSite(format="uniform", bits=site.bits) for kind, site in scheme.sites.items()
               if kind in others)  # fmt: skip


def test_a_file_is_as_good_as_a_shipped_scheme(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(REPQ, encoding="utf-8")
    assert load_scheme(str(file)) == load_scheme("repq")


def test_a_users_file_may_set_bits_and_base(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(REPQ.replace('base = "sqrt2"', 'base = "2", bits = 4'), encoding="utf-8")
    softmax = load_scheme(str(file)).sites["softmax"]
    assert isinstance(softmax, Log2Site)
    assert (softmax.steps_per_octave, softmax.bits) == (1, 4)


def test_schemes_are_frozen_values() -> None:
    assert load_scheme("repq") == load_scheme("repq")
    with pytest.raises(ValueError, match="frozen"):
        load_scheme("repq").name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n[sites]", "\n[sits]", r"unknown key sits, did you mean sites\?"),
        ("percentiles", "percentile", r"unknown key calibration\.percentile, did you mean percentiles\?"),
        ('name = "repq"', 'name = "repq"\nnote = 1', "unknown key note"),
        ('name = "repq"', "", "name is missing"),
        ('name = "repq"', "name = 3", "name is 3: .*string"),
        ("images = 32", "images = 0", r"calibration\.images is 0: .*greater than or equal to 1"),
        ("images = 32", 'images = "many"', r"calibration\.images is 'many': .*integer"),
        ("0.999,", "0.4,", r"calibration\.percentiles\.0 is 0\.4: .*greater than 0\.5"),
        ("[0.999, 0.9999, 0.99999]", "[]", r"calibration\.percentiles is \[\]: .*at least 1"),
        ('v = { format = "uniform" }', "", "no format for v"),
        ('gelu = {', 'glue = {', r"no site 'glue', did you mean gelu\?; sites: patch_input"),
        (Q, 'q = { format = "log2", base = "2" }', "q cannot take format 'log2'; it takes uniform"),
        (Q, 'q = "uniform"', "q needs a format, one of uniform"),
        (Q, 'q = { format = "uniform", bit = 4 }', r"q: unknown key bit, did you mean bits\?"),
        (Q, 'q = { format = "uniform", bits = 9 }', r"q: bits is 9: .*less than or equal to 8"),
        ('base = "sqrt2"', 'base = "e"', "softmax: base is 'e': .*'2' or 'sqrt2'"),
        (', base = "sqrt2"', "", "softmax: base is missing"),
        ("\n[sites]", "\n[sites", r"mine\.toml is not valid TOML: "),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert REPQ.count(old) >= 1
    file = tmp_path / "mine.toml"
    file.write_text(REPQ.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=message) as raised:
        load_scheme(str(file))
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"unknown scheme 'repk'; shipped: .*repq.*, or give a \.toml file, did you mean repq\?",
    ):
        load_scheme("repk")
    with pytest.raises(UserError, match=r"scheme file .*nowhere\.toml cannot be read"):
        load_scheme(str(tmp_path / "nowhere.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"scheme file .*binary\.toml cannot be read"):
        load_scheme(str(tmp_path / "binary.toml"))


def test_every_site_names_its_formats() -> None:
    assert set(ACTIVATION_SITES) <= set(SUPPORTED)
    assert all(SUPPORTED.values())

"""Schemes in TOML: the shipped one says what its paper does, and every mistake is one line that names it."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.calibrate import Calibrated, calibrate
from golden.codecs.log2 import Log2Site
from golden.codecs.uniform import UniformSite
from golden.digits import images
from golden.errors import UserError
from golden.families import from_timm
from golden.images import calibration_batch
from golden.lowering import lower
from golden.pretrained import load_model
from golden.reference import execute
from golden.scheme import ACTIVATION_SITES, RESIDUAL, SUPPORTED, Scheme, load_scheme
from golden.vit import Vit
from sim.network import Executor

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


@pytest.fixture(scope="module")
def vit() -> Vit:
    return from_timm(load_model("vitrtl_digits", None))


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return calibration_batch(images("calib"), 32, seed=0)


def with_rules(folder: Path, *rules: str) -> Scheme:
    """`repq` with `[[layers]]` of that text."""
    file = folder / "mine.toml"
    file.write_text(REPQ + "".join(f"\n[[layers]]\n{rule}\n" for rule in rules), encoding="utf-8")
    return load_scheme(str(file))


def calibrated_with(scheme: Scheme, vit: Vit, batch: torch.Tensor) -> Calibrated:
    """Under `scheme` at W3/A4, widths that no rule of these tests asks for."""
    return calibrate(vit, batch, scheme, weight_bits=3, act_bits=4)


def test_of_several_rules_the_last_that_states_something_counts(tmp_path: Path) -> None:
    scheme = with_rules(
        tmp_path,
        'match = "blocks.*"\nweight_bits = 8\nact_bits = 7',
        'match = "blocks.1.*"\nact_bits = 6\nsites = { softmax = { format = "log2", base = "2" } }',
        'match = "*.mlp.*"\nweight_bits = 5\nsites = { gelu = { format = "sign_scale", bits = 3 } }',
    )

    def entry(site: str, kind: str) -> tuple[str, int | None]:
        found = scheme.format_at(site, kind)
        assert found is not None
        return str(found.model_dump()["format"]), found.bits

    assert entry("norm", "head_input") == ("uniform", None)  # none matches: the run's bits
    assert entry("blocks.0.attn.q", "q") == ("uniform", 7)
    assert entry("blocks.1.attn.q", "q") == ("uniform", 6)
    assert entry("blocks.0.mlp.gelu", "gelu") == ("sign_scale", 3)  # its own width, not the first rule's
    assert entry("blocks.1.attn.softmax", "softmax") == ("log2", 6)
    softmax = [scheme.format_at(f"blocks.{block}.attn.softmax", "softmax") for block in (0, 1)]
    assert [site.base for site in softmax if isinstance(site, Log2Site)] == ["sqrt2", "2"]
    assert scheme.format_at("blocks.1.mlp.residual", RESIDUAL) is None
    layers = ("head", "blocks.0.attn.qkv", "blocks.1.mlp.fc1")
    assert [scheme.weight_bits_at(layer, 4) for layer in layers] == [4, 8, 5]


def test_a_width_that_the_scheme_fixes_stays(tmp_path: Path) -> None:
    scheme = with_rules(tmp_path, 'match = "*"\nact_bits = 4')
    image = scheme.format_at("patch_embed.input", "patch_input")
    assert image is not None
    assert image.bits == 8


def test_a_rule_may_give_one_layer_a_residual_format(tmp_path: Path, vit: Vit, batch: torch.Tensor) -> None:
    rule = """match = "blocks.0.attn.residual"
              sites = { residual = { format = "channel_shift", rule = "ptf", bits = 8 } }"""
    found = calibrated_with(with_rules(tmp_path, rule), vit, batch)
    assert {site for site in found.activations if site.endswith("residual")} == {"blocks.0.attn.residual"}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('match = "head"\nweight_bit = 8', r"unknown key layers\.0\.weight_bit, did you mean weight_bits\?"),
        ('match = "head"\nweight_bits = 9', r"layers\.0\.weight_bits is 9: .*less than or equal to 8"),
        ('match = "head"\nact_bits = 1', r"layers\.0\.act_bits is 1: .*greater than or equal to 2"),
        ("weight_bits = 8", r"layers\.0\.match is missing"),
        ('match = "*"\nsites = { glue = { format = "uniform" } }', r"no site 'glue', did you mean gelu\?"),
        ('match = "*"\nsites = { gelu = { format = "tan" } }', r"gelu cannot take format 'tan'; it takes .*uniform"),
        ('match = "*"\nsites = { q = { format = "uniform", bits = 1 } }', r"q: bits is 1: "),
    ],
)  # fmt: skip
def test_mistakes_in_rules_are_named(tmp_path: Path, rule: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        with_rules(tmp_path, rule)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('match = "blocks.0.atn.qkv"\nweight_bits = 8',
         r"scheme repq: no site or layer of this model matches '.*\.atn\.qkv', did you mean blocks\.0\.attn\.qkv\?"),
        ('match = "Blocks.*"\nact_bits = 8', r"no site or layer of this model matches 'Blocks\.\*'"),
        ('match = "head"\nsites = { gelu = { format = "uniform" } }',
         r"scheme repq: 'head' matches no site of kind gelu"),
        ('match = "*.attn.*"\nsites = { v = { format = "uniform" }, gelu = { format = "uniform" } }',
         r"'\*\.attn\.\*' matches no site of kind gelu"),
    ],
)  # fmt: skip
def test_a_rule_that_means_nothing_is_refused_at_calibration(
    tmp_path: Path, vit: Vit, batch: torch.Tensor, rule: str, message: str
) -> None:
    scheme = with_rules(tmp_path, rule)
    with pytest.raises(UserError, match=message) as raised:
        calibrated_with(scheme, vit, batch)
    assert "\n" not in str(raised.value)


def test_widths_by_layer_become_integers(tmp_path: Path, vit: Vit, batch: torch.Tensor) -> None:
    """Head at 8 bits, q, k and v of one block all of different widths: golden equals sim on every integer."""
    found = calibrated_with(
        with_rules(
            tmp_path,
            'match = "head"\nweight_bits = 8',
            'match = "norm"\nact_bits = 8',
            'match = "blocks.0.attn.q"\nact_bits = 3',
            'match = "blocks.0.attn.k"\nact_bits = 7',
            'match = "blocks.0.attn.*"\nsites = { v = { format = "uniform", bits = 5 } }',
            'match = "blocks.0.attn.qkv"\nweight_bits = 6',
        ),
        vit,
        batch,
    )
    weights = {layer: codec.bits for layer, codec in found.weights.items()}
    assert {layer: bits for layer, bits in weights.items() if bits != 3} == {
        "head": 8,
        "blocks.0.attn.qkv": 6,
    }
    program = lower(found, {})
    given = {"norm": 8, "blocks.0.attn.q": 3, "blocks.0.attn.k": 7, "blocks.0.attn.v": 5}
    sites = {
        name: tensor.format.bits for name, tensor in program.tensors.items() if name in found.activations
    }
    assert sites == {site: given.get(site, 8 if site == program.input else 4) for site in sites}
    assert set(given) <= set(sites)
    codes = found.activations[program.input].encode(images("test").images[:4]).numpy()
    simulated = Executor(program).run(codes, capture="all").tensors
    compared = 0
    for name, reference in execute(program, codes):
        np.testing.assert_array_equal(simulated[name], reference, err_msg=name)
        compared += reference.size
    assert compared > 100_000

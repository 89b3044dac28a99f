"""The search's space makes the schemes it says, which their files give back; proxy and needs tell them apart."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from golden.formats import Integer
from golden.model import sites_of
from golden.scheme import load_scheme
from reports.choice import Bits, Choice
from reports.search import request as asked
from reports.search.proxy import Proxy, proxy_of
from reports.search.scheme_file import scheme_text
from reports.search.space import Space, space_of
from reports.tradeoff.needs import joined, needs_of
from reports.workload import load_workload
from sim.accelerator import Accelerator
from sim.units.mac import Mac
from tests.search_sample import digits_space, mixed


@pytest.fixture(scope="module")
def proxy() -> Proxy:
    """The digits, few images."""
    return proxy_of(load_workload(Choice(model="vitrtl_digits")), Accelerator.load(), 16)


@pytest.fixture(scope="module")
def space() -> Space:
    """The digits'."""
    return digits_space()


def test_every_width_and_format_is_the_one_chosen(space: Space) -> None:
    values = mixed(space, weights_mlp_fc1=7, codes_norm1=3, codes_mlp_gelu=5, format_post_layernorm="adfq")
    scheme = space.scheme("mixed-0", values)
    for layer in space.sites.layers:
        assert scheme.weight_bits_at(layer, 2) == (7 if layer.endswith("fc1") else 4)
    chosen = {"norm1": 3, "gelu": 5}
    for site, kind in space.sites.activations.items():
        entry = scheme.format_at(site, kind)
        donor = load_scheme("adfq" if kind == "post_layernorm" else "repq").format_at(site, kind)
        if entry is None or donor is None or donor.bits is not None:
            assert entry == donor
        else:
            assert entry == donor.model_copy(update={"bits": chosen.get(site.rpartition(".")[2], 4)})


@pytest.mark.parametrize("per", ["kind", "block", "layer"])
def test_every_layer_has_exactly_one_width(space: Space, per: asked.Per) -> None:
    made = space_of(space.schemes, space.sites, 3, 8, per)
    assert sorted(name for group in made.weights for name in group.members) == sorted(space.sites.layers)
    for number, group in enumerate(made.weights):
        values = dict.fromkeys(made.choices, 3) | {f"weights {group.name}": 8}
        values |= {f"format {kind}": names[0] for kind, names in made.formats.items()}
        scheme = made.scheme(f"mixed-{number}", values)
        eight = tuple(name for name in space.sites.layers if scheme.weight_bits_at(name, 2) == 8)
        assert eight == group.members


def test_a_uniform_configuration_is_its_scheme(space: Space, proxy: Proxy) -> None:
    bits = Bits(weight=4, act=4)
    own = proxy.estimate(*proxy.lowered(space.schemes[0], bits))
    assert proxy.estimate(*proxy.lowered(space.scheme("mixed-0", mixed(space)), bits)) == own


def test_narrowing_takes_one_bit_from_some_widths(space: Space) -> None:
    values = mixed(space, weights_mlp_fc1=3)
    for seed in range(20):
        narrow = space.narrower(values, random.Random(seed))
        changed = {name for name in values if narrow[name] != values[name]}
        assert len(changed) <= len(space.weights) + len(space.activations)
        assert all(narrow[name] == 3 and values[name] == 4 for name in changed)
    assert changed


@pytest.mark.parametrize("name", ["repq", "adfq", "tsptq", "fqvit", "dopq", "mixed"])
def test_a_scheme_file_is_read_back_as_it_was(name: str, space: Space, tmp_path: Path) -> None:
    values = mixed(space, format_gelu="adfq", format_post_layernorm="adfq", weights_head=8)
    scheme = space.scheme("mixed-3", values) if name == "mixed" else load_scheme(name)
    file = tmp_path / "scheme.toml"
    file.write_text(scheme_text(scheme, "a comment"), encoding="utf-8")
    assert load_scheme(str(file)) == scheme


# The proxy and the needs


def test_the_proxy_knows_fewer_bits_from_more(proxy: Proxy) -> None:
    scheme = load_scheme("repq")
    found = [proxy.estimate(*proxy.lowered(scheme, Bits(weight=bits, act=bits))) for bits in (3, 5, 8)]
    assert found[0].logits_db < found[1].logits_db < found[2].logits_db
    assert found[0].sites_db < found[1].sites_db < found[2].sites_db
    weights = sum(
        proxy.workload.model.weights[f"{n}.weight"].numel() for n in sites_of(proxy.workload.model).layers
    )
    assert found[0].weight_kib == weights * 3 / 8 / 1024


def test_a_need_covers_every_parameter_set() -> None:
    def mac(a: int, w: int, acc: int) -> Mac:
        return Mac(
            a_format=Integer(bits=a, signed=False), w_format=Integer(bits=w, signed=False),
            a_zero_point=1, w_zero_point=2, acc_bits=acc,
        )  # fmt: skip

    both = joined([mac(4, 8, 20), mac(6, 5, 18)])
    assert isinstance(both, Mac)
    assert (both.a_format.bits, both.w_format.bits, both.acc_bits) == (6, 8, 20)
    signed = joined([mac(4, 4, 16), replace(mac(3, 4, 16), a_format=Integer(bits=4, signed=True))])
    assert isinstance(signed, Mac)
    assert signed.a_format == Integer(bits=5, signed=True), "a signed code of 4 bits does not hold 0 to 15"


def test_needs_of_a_mixed_program_cover_its_products(space: Space, proxy: Proxy) -> None:
    values = mixed(space, weights_attn_qkv=8, codes_norm1=3, weights_mlp_fc2=3, codes_mlp_gelu=6)
    _, program = proxy.lowered(space.scheme("mixed-0", values), space.widest("mixed-0", values))
    spec = next(need.spec for need in needs_of(program) if need.unit == "mac" and not need.edge)
    assert isinstance(spec, Mac)
    # A weight of 8 bits less its zero point takes 9.
    assert (spec.a_format.bits, spec.w_format.bits) == (6, 9)

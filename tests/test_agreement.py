"""Every site of the integer program against fake quantisation from the same codes, and planted faults it must see."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from golden.agreement import SiteAgreement, site_agreement
from golden.calibrate import Calibrated
from golden.digits import images
from golden.program import Program
from sim.network import Executor

MOST = 0.005
"""Share of a site's codes that may differ: from 16-bit residual codes, 18-bit factors and table errors."""


def agreement(calibrated: Calibrated, program: Program, count: int = 360) -> dict[str, SiteAgreement]:
    codes = calibrated.activations["patch_embed.input"].encode(images("test").images[:count]).numpy()
    tensors = Executor(program).run(codes, capture="all").tensors
    return {found.site: found for found in site_agreement(calibrated, program, tensors)}


def broken(sites: dict[str, SiteAgreement]) -> list[str]:
    return [s.site for s in sites.values() if s.different > MOST * s.codes or s.largest > 1]


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_every_site_agrees(
    bits: int, digits_calibrated: Callable[[int], Calibrated], digits_program: Callable[[int], Program]
) -> None:
    calibrated, program = digits_calibrated(bits), digits_program(bits)
    sites = agreement(calibrated, program)
    named = {name for name, tensor in program.tensors.items() if tensor.site is not None}
    assert set(sites) == named - {program.input}
    for name, found in sites.items():
        assert found.codes == 360 * int(np.prod(program.tensors[name].shape)) or name == "norm"
        assert found.largest <= 1, name
        assert found.different <= MOST * found.codes, name
    assert broken(sites) == []


Fault = Callable[[NDArray[np.int64]], NDArray[np.int64]]


def one_entry(values: NDArray[np.int64]) -> NDArray[np.int64]:
    changed = values.copy()
    changed[1, 2] += 40
    return changed


def with_fault(program: Program, constant: str, fault: Fault) -> Program:
    return replace(program, constants={**program.constants, constant: fault(program.constants[constant])})


@pytest.mark.parametrize(
    ("constant", "fault", "site"),
    [
        ("blocks.1.mlp.fc1.weight", one_entry, "blocks.1.mlp.gelu"),
        ("blocks.2.attn.qkv.weight", one_entry, "blocks.2.attn.q"),
        ("blocks.0.norm2.gain", lambda gain: gain * 101 // 100, "blocks.0.norm2"),
        ("blocks.3.norm1.offset", lambda offset: offset + offset // 50, "blocks.3.norm1"),
    ],
)
def test_a_wrong_constant_is_seen_where_it_is(
    constant: str,
    fault: Fault,
    site: str,
    digits_calibrated: Callable[[int], Calibrated],
    digits_program: Callable[[int], Program],
) -> None:
    found = broken(agreement(digits_calibrated(8), with_fault(digits_program(8), constant, fault), 40))
    # Later sites start from the program's own codes, so the fault stays where it is.
    assert found == [site]


@pytest.mark.parametrize("operation", ["blocks.0.attn.mix", "blocks.2.mlp.fc2", "blocks.1.attn.qkv"])
def test_a_missing_half_is_seen(
    operation: str, digits_calibrated: Callable[[int], Calibrated], digits_program: Callable[[int], Program]
) -> None:
    """Rounding down instead of HALF_UP: half the codes are one too low."""
    program = digits_program(8)
    half = np.int64(1) << (program.constants[f"{operation}.shift"] - 1)
    faulty = with_fault(program, f"{operation}.offset", lambda offset: offset - half)
    sites = agreement(digits_calibrated(8), faulty, 40)
    seen = broken(sites)
    assert seen
    assert all(name.startswith(operation.rpartition(".")[0]) for name in seen)
    assert 0.3 < max(sites[name].different / sites[name].codes for name in seen) < 0.7


def test_counts_add_up() -> None:
    one = SiteAgreement(site="norm", codes=10, different=2, largest=1)
    assert one + SiteAgreement(site="norm", codes=5, different=0, largest=0) == replace(one, codes=15)

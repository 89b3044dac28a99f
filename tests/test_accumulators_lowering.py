"""Accumulators that wrap or saturate: programs lowered onto narrow ones, and counts of overflows."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from golden.calibrate import Calibrated, calibrate
from golden.digits import images
from golden.errors import UserError
from golden.families import from_timm
from golden.formats import Integer
from golden.images import calibration_batch
from golden.lowering import Accumulators, lower
from golden.lowering.accumulators import UNITS, limited
from golden.lowering.builder import ProgramBuilder
from golden.overflow import OverflowMeter
from golden.pretrained import load_model
from golden.program import Program
from golden.program import Tensor as Activation
from golden.reference import execute
from golden.scheme import load_scheme
from sim.network import Executor

MODES = ("wrap", "saturate")


def accumulators(bits: int, mode: str) -> Accumulators:
    return Accumulators(bits=bits, overflow="wrap" if mode == "wrap" else "saturate")


def multiplied(
    weights: list[list[int]],
    *,
    a_max: int = 3,
    zero_points: tuple[int, ...] = (0,),
    multiplier: int = 1 << 16,
) -> Program:
    """Codes of as many tokens as zero points through dense product, token_scaler, transposition and requantizer."""
    w, b = np.array(weights), ProgramBuilder()
    tokens, shape = len(zero_points), (len(zero_points), len(weights))
    codes = b.tensor("x", (tokens, w.shape[1]), Integer.holding(0, a_max))
    words = b.tensor("list", (tokens, 1), Integer(bits=4, signed=False))
    dense = Integer.holding(
        int(np.minimum(w, 0).sum(1).min()) * a_max, int(np.maximum(w, 0).sum(1).max()) * a_max
    )
    weight = b.constant("w", w)
    acc = b.operation(
        "dense", "mac", {"a": codes, "w": weight}, Activation(shape=shape, format=dense),
        a_zero_point=0, w_zero_point=0, acc_bits=dense.bits,
    )  # fmt: skip
    sparse = Integer.holding(-4 * int(np.abs(w).max()), 4 * int(np.abs(w).max()))
    outlier = b.operation(
        "sparse", "outlier_mac", {"a": words, "w": weight}, Activation(shape=shape, format=sparse),
        value_bits=3, index_bits=1, acc_bits=sparse.bits,
    )  # fmt: skip
    distance = max(max(zero, a_max - zero) for zero in zero_points)
    reach = (int(np.abs(w).sum(1).max()) * distance + 4 * int(np.abs(w).max())) * multiplier
    total = Integer.holding(-reach, reach)
    constants = {"multiplier": [multiplier] * tokens, "zero_point": list(zero_points), "column_sum": w.sum(1)}
    ports = {port: b.constant(port, np.array(values)) for port, values in constants.items()}
    scaled = b.operation(
        "total", "token_scaler", {"acc": acc, "outlier": outlier, **ports},
        Activation(shape=shape, format=total),
        outlier_shift=multiplier.bit_length() - 1, shift=0, out_bits=total.bits,
    )  # fmt: skip
    turned = b.move("turned", scaled, shape[::-1], kind="transpose")
    out = Activation(shape=shape[::-1], format=Integer(bits=8, signed=True))
    b.requantize("y", turned, np.array([0.99 * 2.0**-19]), np.zeros(1), out)
    return b.finish("x", "y", {})


def formats(program: Program) -> dict[str, str]:
    return {name: str(tensor.format) for name, tensor in program.tensors.items()}


def test_a_cut_accumulator_takes_what_follows_with_it() -> None:
    """Weights of one sign and a zero point at the far end: wrapped, a sum lies where no sum of codes does."""
    program = multiplied([[1] * 19], zero_points=(3,))
    proven = {
        "x": "s3", "list": "u4", "dense": "s7", "sparse": "s4", "total": "s23", "turned": "s23", "y": "s8",
    }  # fmt: skip
    assert formats(program) == proven
    for mode in MODES:
        assert limited(program, accumulators(7, mode)) == program
    # 3 · 19 from the zero point and 4 from an outlier were 61 · 2^16; 32 of the wrapped sum more are over 64 · 2^16.
    wrapped, saturated = (limited(program, accumulators(6, mode)) for mode in MODES)
    assert formats(wrapped) == proven | {"dense": "s6", "total": "s24", "turned": "s24"}
    assert wrapped.operations[2].parameters["out_bits"] == 24
    assert formats(saturated) == proven | {"dense": "s6"}
    saturated = limited(program, accumulators(3, "saturate"))
    assert formats(saturated) == proven | {"dense": "s3", "sparse": "s3"}
    assert {o.name: (o.parameters.get("acc_bits"), o.parameters.get("overflow")) for o in saturated.operations} == {
        "dense": (3, "saturate"), "sparse": (3, "saturate"), "total": (None, None), "turned": (None, None),
        "y": (None, None),
    }  # fmt: skip


def test_totals_that_no_requantizer_takes_are_a_users_mistake() -> None:
    """A total of 45 bits times a multiplier below 2^17 is the most that 62 bits hold; one more is too many."""
    program = multiplied([[1] * 19], zero_points=(3,), multiplier=1 << 38)
    assert formats(program)["total"] == "s45"
    limited(program, accumulators(6, "saturate"))
    with pytest.raises(
        UserError, match="accumulators of 6 bits that wrap, y needs more than 62 bits; take fewer"
    ):
        limited(program, accumulators(6, "wrap"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("weights", [[[1] * 19], [[7, 7]], [[5, 3], [-7, 6]], [[-7, -1], [4, 4]]])
def test_no_total_leaves_its_format(weights: list[list[int]], bits: int, mode: str) -> None:
    """Every pair of codes, each for half of the channels, and every outlier, through golden's own range checks."""
    program = limited(multiplied(weights, zero_points=(3, 0, 1)), accumulators(bits, mode))
    half = len(weights[0]) // 2
    rows = [[[p] * half + [q] * (len(weights[0]) - half)] * 3 for p, q in product(range(4), repeat=2)]
    for word in range(16):
        with_word = replace(program, constants={**program.constants, "list": np.full((1, 3, 1), word)})
        assert len(dict(execute(with_word, np.array(rows)))) == 5


FEW = 3
"""Images."""


def codes(calibrated: Calibrated) -> np.ndarray[Any, np.dtype[np.int64]]:
    found: np.ndarray[Any, np.dtype[np.int64]] = (
        calibrated.activations["patch_embed.input"].encode(images("test").images[:FEW]).numpy()
    )
    return found


def test_where_the_bits_are_enough_nothing_changes(digits_calibrated: Callable[[int], Calibrated]) -> None:
    calibrated = digits_calibrated(8)
    proven = lower(calibrated, {})
    widest = max(proven.tensors[o.output].format.bits for o in proven.operations if o.unit in UNITS)
    for mode in MODES:
        same = lower(calibrated, {}, accumulators(widest, mode))
        assert (same.digest(), same.tensors, same.operations) == (
            proven.digest(),
            proven.tensors,
            proven.operations,
        )
    narrower = lower(calibrated, {}, accumulators(widest - 1, "wrap"))
    changed = {o.name for o, p in zip(narrower.operations, proven.operations, strict=True) if o != p}
    assert changed == {
        o.name
        for o in proven.operations
        if o.unit in UNITS and proven.tensors[o.output].format.bits == widest
    }
    assert narrower.digest() != proven.digest()


@pytest.mark.parametrize("mode", MODES)
def test_where_nothing_overflows_every_tensor_is_the_same(
    mode: str, digits_calibrated: Callable[[int], Calibrated]
) -> None:
    """Five bits below what is proven for them, the sums of log2-coded terms of real images still fit."""
    calibrated, meter = digits_calibrated(8), OverflowMeter()
    inputs = codes(calibrated)
    cut = lower(calibrated, {}, accumulators(24, mode))
    proven = dict(execute(lower(calibrated, {}), inputs))
    for name, tensor in execute(cut, inputs, meter.see):
        assert np.array_equal(tensor, proven[name])
    counts = list(meter.counts())
    assert [(count.unit, count.operation) for count in counts] == [
        ("log2_mac", f"blocks.{b}.attn.mix_acc") for b in range(4)
    ]
    assert all(count.overflowed == 0 < count.outputs for count in counts)


SCHEMES = {"repq": 14, "ptq4vit": 16, "dopq": 18, "adfq": 16}
"""Widths at which sums of W8/A8 overflow here and there; between them the schemes use every unit."""


@pytest.fixture(scope="module")
def by_scheme() -> dict[str, Calibrated]:
    vit = from_timm(load_model("vitrtl_digits", None))
    schemes = {name: load_scheme(name) for name in SCHEMES}
    return {
        name: calibrate(
            vit, calibration_batch(images("calib"), scheme.calibration.images, seed=0), scheme,
            weight_bits=8, act_bits=8,
        )
        for name, scheme in schemes.items()
    }  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SCHEMES)
def test_golden_equals_sim_where_sums_overflow(
    name: str, mode: str, by_scheme: dict[str, Calibrated]
) -> None:
    program, meter = lower(by_scheme[name], {}, accumulators(SCHEMES[name], mode)), OverflowMeter()
    inputs = codes(by_scheme[name])
    simulated = Executor(program).run(inputs, capture="all").tensors
    differing = [
        tensor for tensor, found in execute(program, inputs, meter.see)
        if not np.array_equal(found, simulated[tensor])
    ]  # fmt: skip
    assert differing == []
    counts = {count.operation: count for count in meter.counts()}
    assert set(counts) == {o.name for o in program.operations if "overflow" in o.parameters}
    assert 0 < sum(count.overflowed for count in counts.values()) < sum(c.outputs for c in counts.values())


def test_nearly_every_unit_overflows_somewhere(by_scheme: dict[str, Calibrated]) -> None:
    """These few digits have no outliers, so only outlier_mac does not."""
    seen = set()
    for name, bits in SCHEMES.items():
        meter = OverflowMeter()
        for _ in execute(
            lower(by_scheme[name], {}, accumulators(bits, "wrap")), codes(by_scheme[name]), meter.see
        ):
            pass
        seen |= {count.unit for count in meter.counts() if count.overflowed}
    assert seen == UNITS - {"outlier_mac"}

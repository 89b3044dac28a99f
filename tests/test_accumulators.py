"""Accumulators that wrap or saturate: units against plain Python, lowering onto narrow ones, counts of overflows."""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from golden.calibrate import Calibrated, calibrate
from golden.digits import images
from golden.errors import InvariantError, UserError
from golden.families import from_timm
from golden.formats import Integer
from golden.images import calibration_batch
from golden.lowering import Accumulators, lower
from golden.lowering.accumulators import UNITS, limited
from golden.lowering.builder import ProgramBuilder
from golden.overflow import OverflowMeter, overflowed
from golden.pretrained import load_model
from golden.program import Program
from golden.program import Tensor as Activation
from golden.reference import execute
from golden.scheme import load_scheme
from golden.units import log2_mac, mac
from sim.network import Executor

MODES = ("wrap", "saturate")


def accumulators(bits: int, mode: str) -> Accumulators:
    return Accumulators(bits=bits, overflow="wrap" if mode == "wrap" else "saturate")


def held(x: int, bits: int, mode: str) -> int:
    """What an accumulator makes of one sum."""
    top = 1 << (bits - 1)
    return (x + top) % (2 * top) - top if mode == "wrap" else min(max(x, -top), top - 1)


def hardware(start: int, terms: Iterable[int], bits: int, mode: str) -> tuple[int, bool]:
    """(accumulator, whether some sum did not fit), one term after the other."""
    acc = held(start, bits, mode)
    over = acc != start
    for term in terms:
        exact = acc + term
        acc = held(exact, bits, mode)
        over |= acc != exact
    return acc, over


def dot(a: list[int], w: list[int], bias: int, bits: int, overflow: str) -> tuple[int, bool]:
    """The mac unit on one row and one column of 8-bit integers."""
    operands = {"a": torch.tensor([a]), "w": torch.tensor([w]), "bias": torch.tensor([bias])}
    settings: dict[str, Any] = {"a_zero_point": 0, "w_zero_point": 0, "acc_bits": bits}
    acc = mac.golden(**operands, **settings, overflow=overflow)
    return int(acc), bool(overflowed("mac", operands, settings | {"overflow": overflow}))


@pytest.mark.parametrize(
    ("w", "bias", "wrapped", "saturated", "over"),
    [
        # 100, 200, 180: wraps to 180 - 256; saturates at 127 after two terms; saturated at the end it were 127.
        ([100, 100, -20], 0, -76, 107, True),
        # 100, 200, 50: the sum fits, yet one on the way does not.
        ([100, 100, -150], 0, 50, -23, True),
        # The same terms in the order 100, -150, 100: nothing ever leaves.
        ([100, -150, 100], 0, 50, 50, False),
        # The bias alone: 300 - 256 - 100, and 127 - 100.
        ([-100, 0, 0], 300, -56, 27, True),
        ([-200, 0, 0], 300, 100, -73, True),
        ([-100, -28, 0], 0, -128, -128, False),
        ([-100, -29, 0], 0, 127, -128, True),
        ([100, 27, 0], 0, 127, 127, False),
        ([100, 28, 0], 0, -128, 127, True),
    ],
)
def test_sums_worked_by_hand(w: list[int], bias: int, wrapped: int, saturated: int, over: bool) -> None:
    assert dot([1, 1, 1], w, bias, 8, "wrap") == (wrapped, over)
    assert dot([1, 1, 1], w, bias, 8, "saturate") == (saturated, over)


def test_two_accumulators_and_their_joint_worked_by_hand() -> None:
    """Base √2, no fraction bits, 8 bits: code 0 is 1, code 1 is √2 / 2 (a shift by 1 into the odd accumulator)."""

    def mix(codes: list[int], w: list[int], mode: str) -> tuple[int, bool]:
        operands = {"a": torch.tensor([codes]), "w": torch.tensor([[value] for value in w])}
        settings: dict[str, Any] = {"code_bits": 2, "steps_per_octave": 2, "frac_bits": 0, "w_zero_point": 0}
        settings |= {"acc_bits": 8, "overflow": mode}
        return int(log2_mac.golden(**operands, **settings)), bool(overflowed("log2_mac", operands, settings))

    # E = 100, O = 100: 100 + round(141.42) = 241 fits neither, though both accumulators do.
    assert mix([0, 1], [100, 200], "wrap") == (241 - 256, True)
    assert mix([0, 1], [100, 200], "saturate") == (127, True)
    # O = 150: -106, or 127; E = -100 comes to it: -100 - 150, and -100 + round(179.6).
    assert mix([0, 1], [-100, 300], "wrap") == (-250 + 256, True)
    assert mix([0, 1], [-100, 300], "saturate") == (80, True)
    # E passes 127 and comes back; the odd terms between do not count there.
    assert mix([0, 1, 0], [100, -100, 27], "wrap") == (127 - 71, False)
    assert mix([0, 0, 0], [100, 28, -28], "saturate") == (99, True)
    assert mix([3, 0], [10_000, 5], "saturate") == (5, False)


def test_without_the_parameter_a_wide_sum_is_a_broken_invariant() -> None:
    assert dot([1, 1, 1], [100, 100, -150], 0, 8, "none")[0] == 50
    with pytest.raises(InvariantError, match=r"mac accumulator spans \[180, 180\], outside s8"):
        dot([1, 1, 1], [100, 100, -20], 0, 8, "none")
    with pytest.raises(InvariantError, match="overflow is none, wrap or saturate, not 'clip'"):
        dot([1, 1, 1], [1, 1, 1], 0, 8, "clip")


@pytest.mark.parametrize("mode", ["none", *MODES])
def test_sums_beyond_int64_are_refused(mode: str) -> None:
    with pytest.raises(InvariantError, match="not exact in int64"):
        dot([1 << 30] * 4, [1 << 30] * 4, 0, 62, mode)
    operands = (torch.tensor([[1]]), torch.tensor([[1 << 50]]))
    settings: dict[str, Any] = {"code_bits": 2, "steps_per_octave": 2, "w_zero_point": 0, "acc_bits": 62}
    with pytest.raises(InvariantError, match="times √2 is not exact in int64"):
        log2_mac.golden(*operands, frac_bits=0, **settings, overflow=mode)
    with pytest.raises(InvariantError, match="with 13 fraction bits is not exact"):
        log2_mac.golden(*operands, frac_bits=13, **settings, overflow=mode)


SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6))


def matrix(draw: st.DrawFn, rows: int, columns: int, low: int, high: int) -> list[list[int]]:
    row = st.lists(st.integers(low, high), min_size=columns, max_size=columns)
    return draw(st.lists(row, min_size=rows, max_size=rows))


@st.composite
def cases(draw: st.DrawFn, unit: str) -> tuple[dict[str, Any], dict[str, Any], list[list[Any]]]:
    """Operands, parameters, and per output (terms of E, terms of O) as docs/datapath.md states them."""
    m, n, k = draw(SIZES)
    zero, w = draw(st.integers(-3, 9)), matrix(draw, n, k, -8, 15)
    settings: dict[str, Any] = {"w_zero_point": zero}
    decode: Callable[[int], int]
    if unit == "mac":
        a_zero = draw(st.integers(-3, 9))
        a, decode = matrix(draw, m, k, 0, 15), lambda code: code - a_zero
        settings["a_zero_point"] = a_zero
    elif unit == "two_scale_mac":
        shift, signed = draw(st.integers(1, 3)), draw(st.booleans())
        a = matrix(draw, m, k, 0, 15)
        decode = lambda code: (code & 7) << shift if code >> 3 else -code if signed else code  # noqa: E731
        settings |= {"code_bits": 4, "shift": shift, "signed_regions": signed}
    elif unit == "table_mac":
        table = draw(st.lists(st.integers(0, 31), min_size=8, max_size=8))
        a, decode = matrix(draw, m, k, 0, 7), table.__getitem__
        settings |= {"code_bits": 3, "entry_bits": 5, "table": table}
    elif unit == "outlier_mac":
        words = 3
        a = matrix(draw, m, words, 0, 8 * k - 1)
        settings = {"value_bits": 3, "index_bits": max(1, (k - 1).bit_length())}
        value = lambda word: (word & 7) - 8 * (word >> 2 & 1)  # noqa: E731
        terms = [[([value(x) * w[j][x >> 3] for x in a[i]], []) for j in range(n)] for i in range(m)]
        return {"a": a, "w": w}, settings, terms
    else:
        steps, frac = draw(st.sampled_from([1, 2])), draw(st.integers(0, 3))
        a = matrix(draw, m, k, 0, 7)
        settings |= {"code_bits": 3, "steps_per_octave": steps, "frac_bits": frac}

        def log_terms(i: int, j: int, odd: int) -> list[int]:
            pairs = [(a[i][x], w[j][x] - zero) for x in range(k) if a[i][x] < 7]
            return [(v << frac) >> -(-c // steps) for c, v in pairs if (c % steps) == odd]

        terms = [[(log_terms(i, j, 0), log_terms(i, j, 1)) for j in range(n)] for i in range(m)]
        return {"a": a, "w": [list(column) for column in zip(*w, strict=True)]}, settings, terms
    terms = [
        [([decode(a[i][x]) * (w[j][x] - zero) for x in range(k)], []) for j in range(n)] for i in range(m)
    ]
    return {"a": a, "w": w}, settings, terms


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("unit", sorted(UNITS))
@given(data=st.data(), bits=st.integers(3, 10))
def test_units_do_what_plain_python_does(unit: str, mode: str, data: st.DataObject, bits: int) -> None:
    operands, settings, terms = data.draw(cases(unit))
    columns = len(terms[0])
    bias = [0] * columns
    if unit != "log2_mac" and data.draw(st.booleans()):
        bias = data.draw(st.lists(st.integers(-700, 700), min_size=columns, max_size=columns))
        operands["bias"] = bias
    expected: list[list[tuple[int, bool]]] = []
    for row in terms:
        expected.append([])
        for start, (e, o) in zip(bias, row, strict=True):
            (even, over_even), (odd, over_odd) = (hardware(s, t, bits, mode) for s, t in ((start, e), (0, o)))
            joined = even + (odd * 46341 + (1 << 14) >> 15)
            acc = held(joined, bits, mode)
            expected[-1].append((acc, over_even or over_odd or acc != joined))
    # A leading axis, as of batch and heads; weights stay constant where the unit knows no others.
    tensors = {port: torch.tensor(values) for port, values in operands.items()}
    tensors["a"] = tensors["a"].expand(2, -1, -1)
    settings |= {"acc_bits": bits, "overflow": mode}
    golden: Callable[..., Tensor] = importlib.import_module(f"golden.units.{unit}").golden
    for found, which in ((golden(**tensors, **settings), 0), (overflowed(unit, tensors, settings), 1)):
        assert found.tolist() == [[[output[which] for output in row] for row in expected]] * 2


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

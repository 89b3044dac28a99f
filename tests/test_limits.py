"""Limits of every unit's parameters from both sides, and the streams of one spec per unit: format, lanes, last."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from golden.formats import Integer
from reports.registry import entry, unit_names
from sim.unit import Port, Unit

S8, S16 = Integer(bits=8, signed=True), Integer(bits=16, signed=True)
U8 = Integer(bits=8, signed=False)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """One unit: a spec, and what each parameter may be."""

    base: dict[str, Any]
    limits: dict[str, tuple[int, int]]
    ports: str
    """Inputs and outputs of the spec."""
    needs: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """What else a parameter's value, or the one beyond it, takes."""


ROWS: dict[str, Any] = {
    "score_bits": 8, "score_frac_bits": 3, "max_length": 16, "exp_bits": 10, "log_frac_bits": 12,
    "exp_base": (1,), "exp_slope": (0,), "log_base": (0,), "log_slope": (0,),
}  # fmt: skip
ROW_LIMITS = {
    "score_bits": (2, 32), "score_frac_bits": (0, 24), "max_length": (1, 65536), "exp_bits": (1, 30),
    "log_frac_bits": (3, 30),
}  # fmt: skip
ROW_NEEDS: dict[tuple[str, int], dict[str, Any]] = {
    ("score_frac_bits", f): {"log_frac_bits": 25} for f in (24, 25)
}
OUTLIERS: dict[str, Any] = {"in_bits": 8, "in_zero_point": 3, "threshold": 40, "capacity": 4}
OUTLIER_LIMITS = {"in_bits": (2, 16), "in_zero_point": (0, 255), "threshold": (0, 255), "capacity": (1, 64)}
OUTLIER_NEEDS: dict[tuple[str, int], dict[str, Any]] = {
    ("in_bits", n): {"in_zero_point": 0, "threshold": 0} for n in (1, 2)
}
UNITS: dict[str, Limits] = {
    "gelu": Limits(
        base={
            "in_bits": 8, "frac_bits": 2, "table_frac_bits": 1, "table": (4, 2, 0), "table_step": 5,
            "zero_point": 3, "out_bits": 6,
        },
        limits={
            "in_bits": (2, 40), "frac_bits": (0, 40), "table_frac_bits": (0, 20), "table_step": (0, 40),
            "zero_point": (-(1 << 31), (1 << 31) - 1), "out_bits": (1, 24),
        },
        ports="h:s8 -> o:u6",
    ),
    "layernorm": Limits(
        base={
            "channels": 6, "epsilon": 5, "norm_frac_bits": 4, "shift": 7, "in_bits": 8, "offset_format": S16,
            "out_bits": 5,
        },
        limits={
            "channels": (2, 65536), "epsilon": (1, 1 << 60), "norm_frac_bits": (0, 16), "shift": (1, 62),
            "in_bits": (2, 24), "out_bits": (1, 16),
        },
        ports="x:s8 last, gain:s18, offset:s16 -> o:u5 last",
        needs={("channels", n): {"in_bits": 2} for n in (65536, 65537)},  # their variance fits 62 bits
    ),
    "log2_encoder": Limits(
        base={
            "in_bits": 8, "code_bits": 4, "steps_per_octave": 1, "unity": 1, "thresholds": (200,), "max_level": 2,
        },
        limits={
            "in_bits": (2, 24), "code_bits": (2, 8), "steps_per_octave": (1, 2), "unity": (0, 7),
            "max_level": (0, 14),
        },
        ports="x:u8 -> o:u4",
        needs={
            **{("in_bits", n): {"thresholds": (1 << n,)} for n in (1, 2, 24, 25)},
            **{("steps_per_octave", n): {"thresholds": (200,) * n} for n in (0, 2, 3)},
        },
    ),
    "log2_mac": Limits(
        base={
            "code_bits": 4, "steps_per_octave": 2, "frac_bits": 5, "w_format": S8, "w_zero_point": 0, "acc_bits": 30,
        },
        limits={"code_bits": (2, 8), "frac_bits": (0, 30), "acc_bits": (1, 62)},
        ports="a:u4 last, w:s8 -> o:s30",
    ),
    "mac": Limits(
        base={"a_format": U8, "w_format": S8, "a_zero_point": 7, "w_zero_point": 0, "acc_bits": 30},
        limits={"acc_bits": (1, 62)},
        ports="a:u8 last, w:s8, bias:s30 -> o:s30",
    ),
    "outlier_list": Limits(
        base={**OUTLIERS, "channels": 6},
        limits={**OUTLIER_LIMITS, "channels": (2, 4096)},
        ports="x:u8 last -> o:u12 last",
        needs=OUTLIER_NEEDS,
    ),
    "outlier_mac": Limits(
        base={"value_bits": 9, "index_bits": 3, "w_format": S8, "acc_bits": 30},
        limits={"value_bits": (3, 17), "index_bits": (1, 12), "acc_bits": (1, 62)},
        ports="a:u12 last, w:s8, bias:s30 -> o:s30",
    ),
    "probability": Limits(
        base={**ROWS, "prob_bits": 8},
        limits={**ROW_LIMITS, "prob_bits": (1, 10)},
        ports="i:s8 last -> o:u9 last",
        needs={**ROW_NEEDS, **{("exp_bits", n): {"prob_bits": 1} for n in (0, 1)}},
    ),
    "requantizer": Limits(
        base={"acc_format": S16, "offset_format": Integer(bits=40, signed=True), "out_bits": 7, "out_signed": False},
        limits={"out_bits": (1, 32)},
        ports="acc:s16, multiplier:s18, offset:s40, shift:u6 -> o:u7",
    ),
    "residual_adder": Limits(base={"bits": 16}, limits={"bits": (2, 32)}, ports="a:s16, b:s16 -> o:s16"),
    "sign_scale_encoder": Limits(
        base={"in_bits": 10, "code_bits": 6, "shift": 4},
        limits={"in_bits": (2, 40), "code_bits": (2, 16), "shift": (0, 24)},
        ports="x:s10 -> o:u6",
    ),
    "softmax": Limits(
        base={**ROWS, "code_bits": 4, "steps_per_octave": 1, "log2_scale": 0, "lanes": 2},
        limits={**ROW_LIMITS, "code_bits": (2, 8)},
        ports="i:s8x2 last -> o:u4x2 last",
        needs=ROW_NEEDS,
    ),
    "table_mac": Limits(
        base={
            "code_bits": 2, "w_format": S8, "w_zero_point": 0, "acc_bits": 30, "entry_bits": 8, "table": (0, 1, 2, 1),
        },
        limits={"code_bits": (2, 16), "entry_bits": (1, 24), "acc_bits": (1, 62)},
        ports="a:u2 last, w:s8, bias:s30 -> o:s30",
        needs={
            **{("code_bits", n): {"table": (1,) * (1 << n)} for n in (1, 16, 17)},
            **{("entry_bits", n): {"table": (1, 0, 1, 0)} for n in (0, 1)},
        },
    ),
    "threshold_encoder": Limits(
        base={"in_bits": 6, "code_bits": 3, "thresholds": (1, 9)},
        limits={"in_bits": (1, 32), "code_bits": (1, 8)},
        ports="x:u6 -> o:u3",
        needs={
            **{("in_bits", n): {"thresholds": (1,)} for n in (0, 1)},
            **{("code_bits", n): {"thresholds": (1,)} for n in (0, 1)},
        },
    ),
    "token_encoder": Limits(
        base={**OUTLIERS, "code_bits": 6, "offset_format": Integer(bits=40, signed=True)},
        limits={**OUTLIER_LIMITS, "code_bits": (2, 8)},
        ports="x:u8 last, multiplier:s18, offset:s40, shift:u6, zero_code:u6 -> o:u6 last",
        needs=OUTLIER_NEEDS,
    ),
    "token_scaler": Limits(
        base={
            "acc_format": S8, "outlier_format": U8, "column_sum_format": S8, "outlier_shift": 2, "shift": 3,
            "out_bits": 44,
        },
        # The total takes 64 bits at most, which leaves an outlier of one bit a shift of 62.
        limits={"outlier_shift": (0, 62), "shift": (0, 62), "out_bits": (1, 62)},
        ports="acc:s8, outlier:u8, multiplier:u17, zero_point:u16, column_sum:s8 -> o:s44",
        needs={("outlier_shift", n): {"outlier_format": Integer(bits=1, signed=False)} for n in (62, 63)},
    ),
    "two_scale_encoder": Limits(
        base={"in_bits": 9, "code_bits": 6, "shift": 4},
        limits={"code_bits": (2, 16), "shift": (1, 24)},
        ports="x:u9 -> o:u6",
        needs={
            **{("code_bits", n): {"in_bits": n - 1 + 4} for n in (1, 2, 16, 17)},
            **{("shift", n): {"in_bits": 5 + n} for n in (0, 1, 24, 25)},
        },
    ),
    "two_scale_mac": Limits(
        base={
            "code_bits": 6, "w_format": S8, "w_zero_point": 0, "acc_bits": 30, "shift": 4, "signed_regions": False,
        },
        limits={"code_bits": (2, 16), "shift": (0, 24), "acc_bits": (1, 62)},
        ports="a:u6 last, w:s8, bias:s30 -> o:s30",
    ),
}  # fmt: skip


LIMITS = [(unit, name, *ends) for unit, known in UNITS.items() for name, ends in known.limits.items()]
"""Unit, parameter, and both of its limits."""


def spec(unit: str, name: str, value: int) -> Unit:
    """The unit's spec with that value of a parameter."""
    known = UNITS[unit]
    return entry(unit).model(**{**known.base, **known.needs.get((name, value), {}), name: value})


def streams(unit: Unit) -> str:
    """Inputs and outputs in a line."""

    def text(name: str, port: Port) -> str:
        lanes = f"x{port.lanes}" if port.lanes != 1 else ""
        return f"{name}:{port.format}{lanes}{' last' if port.last else ''}"

    sides = (
        ", ".join(text(name, port) for name, port in side.items()) for side in (unit.inputs, unit.outputs)
    )
    return " -> ".join(sides)


def test_every_unit_has_its_limits_here() -> None:
    assert {*UNITS, "systolic_array"} == set(unit_names())  # the array's are in its own tests


@pytest.mark.parametrize(("unit", "name", "low", "high"), LIMITS)
def test_a_limit_is_accepted_and_what_is_beyond_it_refused(unit: str, name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(spec(unit, name, value), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=rf"must be in \[{low}, {high}\], not {value}$"):
            spec(unit, name, value)


@pytest.mark.parametrize(
    ("a", "zero_point", "fits"),
    [
        # Times 2^31 of w: 2^29 and 2^30 − 1 leave 61 bits, 2^30 is one too many, wherever the zero point puts it.
        (Integer(bits=30, signed=True), 0, True),
        (Integer(bits=30, signed=False), 0, True),
        (Integer(bits=31, signed=True), 0, False),
        (Integer(bits=30, signed=True), 1 << 29, False),
        (Integer(bits=30, signed=True), (1 << 29) - 1, True),
        (Integer(bits=30, signed=True), -(1 << 29) - 1, False),
        (Integer(bits=30, signed=True), -(1 << 29), True),
    ],
)
def test_a_product_has_61_bits_at_most(a: Integer, zero_point: int, fits: bool) -> None:
    given = {
        **UNITS["mac"].base,
        "a_format": a,
        "a_zero_point": zero_point,
        "w_format": Integer(bits=32, signed=True),
    }
    if fits:
        assert entry("mac").model(**given)
    else:
        with pytest.raises(ValueError, match=r"a product of a .* and w .* exceeds 62 bits"):
            entry("mac").model(**given)


@pytest.mark.parametrize("unit", UNITS)
def test_streams_are_as_wide_as_they_should_be(unit: str) -> None:
    assert streams(entry(unit).model(**UNITS[unit].base)) == UNITS[unit].ports

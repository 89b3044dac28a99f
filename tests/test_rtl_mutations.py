"""Planted faults in the arithmetic, constants and accumulators: each must make cosimulation fail, in the bits."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal, Value

import rtl.element
import rtl.log_domain
import rtl.units.layernorm
import rtl.units.log2_mac
import rtl.units.residual_adder
import rtl.units.softmax
import rtl.units.token_encoder
from golden.formats import Integer
from reports.registry import entry
from rtl.fixed import saturate
from sim.unit import Unit
from sim.units.gelu import Gelu
from tests.rtl_mutations_sample import SOFTMAX, SPECS, BuiltFrom, check, stimuli, wrapped

pytestmark = pytest.mark.cosim


def entry_off_by_one(spec: Unit, table: str, n: int, step: int) -> Unit:
    entries = getattr(spec, table)
    changed: dict[str, Any] = {table: (*entries[:n], entries[n] + step, *entries[n + 1 :])}
    return replace(spec, **changed)


def off_by(spec: Unit, parameter: str, step: int) -> Unit:
    changed: dict[str, Any] = {parameter: getattr(spec, parameter) + step}
    return replace(spec, **changed)


def entries_off_by_one(spec: Gelu) -> Iterator[Gelu]:
    for n, bump in enumerate(spec.table[:-1]):
        for step in (1, -1) if bump else (1,):
            yield replace(spec, table=(*spec.table[:n], bump + step, *spec.table[n + 1 :]))


def shows(spec: Gelu, fault: Gelu) -> bool:
    """Whether any input at all tells the two apart: at 4 bits few table entries decide a code."""
    every = np.arange(-(1 << (spec.in_bits - 1)), 1 << (spec.in_bits - 1))
    return not np.array_equal(spec.compute(h=every), fault.compute(h=every))


def test_gelu_stimuli_show_every_table_entry_that_is_off_by_one() -> None:
    spec = SPECS["gelu"]
    h = stimuli("gelu", spec)["h"].codes
    faults = [fault for fault in entries_off_by_one(spec) if shows(spec, fault)]
    assert len(faults) > 10
    assert not [fault for fault in faults if np.array_equal(fault.compute(h=h), spec.compute(h=h))]


BUILT = {
    "softmax rounds with half - 1": ("softmax", replace(SOFTMAX, log2_scale=SOFTMAX.log2_scale - 1)),
    "softmax exp base off by one": ("softmax", entry_off_by_one(SOFTMAX, "exp_base", 5, 1)),
    "softmax exp slope off by one": ("softmax", entry_off_by_one(SOFTMAX, "exp_slope", 2, -1)),
    "softmax log base off by one": ("softmax", entry_off_by_one(SOFTMAX, "log_base", 9, -1)),
    "softmax log slope off by one": ("softmax", entry_off_by_one(SOFTMAX, "log_slope", 15, 1)),
    "gelu table entry off by one": ("gelu", None),
    "mac zero point off by one": ("mac", replace(SPECS["mac"], w_zero_point=SPECS["mac"].w_zero_point + 1)),
    "log2_mac zero point off by one": (
        "log2_mac",
        replace(SPECS["log2_mac"], w_zero_point=SPECS["log2_mac"].w_zero_point + 1),
    ),
    **{
        f"{unit} {table} off by one": (unit, entry_off_by_one(SPECS[unit], table, n, 1))
        for unit, table, n in (
            ("probability", "exp_base", 3),
            ("probability", "exp_slope", 6),
            ("probability", "log_base", 11),
            ("table_mac", "table", 9),
            ("threshold_encoder", "thresholds", 4),
            ("log2_encoder", "thresholds", 1),
        )
    },
    **{
        f"{unit} {parameter} off by one": (
            unit,
            replace(SPECS[unit], **{parameter: getattr(SPECS[unit], parameter) - 1}),
        )
        for unit, parameter in (
            ("log2_encoder", "max_level"),
            ("log2_encoder", "unity"),
            ("token_scaler", "outlier_shift"),
            ("token_scaler", "shift"),
        )
    },
    "layernorm epsilon missing": ("layernorm", replace(SPECS["layernorm"], epsilon=1)),
    **{
        f"{unit} {parameter} off by {step}": (unit, off_by(SPECS[unit], parameter, step))
        for unit, parameter, step in (
            ("token_encoder", "threshold", -1),  # ≥ for >
            ("token_encoder", "threshold", 1),
            ("token_encoder", "capacity", 1),
            ("token_encoder", "in_zero_point", 1),
            ("outlier_list", "threshold", -1),
            ("outlier_list", "in_zero_point", 1),
        )
    },
}


@pytest.mark.parametrize("fault", BUILT)
def test_wrong_constants_are_found_in_the_bits(fault: str, tmp_path: Path) -> None:
    name, built = BUILT[fault]
    if built is None:
        gelu = SPECS["gelu"]
        built = next(fault for fault in entries_off_by_one(gelu) if shows(gelu, fault))
    found = check(name, BuiltFrom(name, SPECS[name], built), tmp_path)
    assert found.mismatches > 0
    assert found.cycle_mismatches == found.protocol_errors == 0


def wraps(value: Value, format: Integer) -> Value:
    return value[: format.bits]


def floor_at_top(value: Value, format: Integer) -> Value:
    limit = format.max_code - 1
    return Mux(value > limit, limit, Mux(value < format.min_code, format.min_code, value))


@pytest.mark.parametrize("fault", [wraps, floor_at_top], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize(
    ("name", "module"), [("softmax", rtl.units.softmax), ("residual_adder", rtl.units.residual_adder)]
)
def test_wrong_saturation_is_found(
    name: str, module: object, fault: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "saturate", fault)
    assert check(name, entry(name).component(SPECS[name]), tmp_path).mismatches > 0


NARROW: Mapping[tuple[str, str], Unit] = {
    (name, spec.overflow): spec  # type: ignore[attr-defined]
    for name in ("mac", "two_scale_mac", "table_mac", "log2_mac", "outlier_mac")
    for spec in entry(name).report.SWEEP
}
"""By unit and mode the last of a sweep: sign-scale codes, base √2."""


def saturates_above_only(value: Value, format: Integer) -> Value:
    return Mux(value > format.max_code, format.max_code, value[: format.bits].as_signed())


@pytest.mark.parametrize(
    "fault", [wraps, floor_at_top, saturates_above_only], ids=lambda fault: fault.__name__
)
@pytest.mark.parametrize("name", ["mac", "two_scale_mac", "log2_mac"])
def test_wrong_saturation_of_an_accumulator_is_found(
    name: str, fault: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = NARROW[name, "saturate"]
    monkeypatch.setattr(rtl.element, "saturate", fault)
    found = check(name, entry(name).component(spec), tmp_path)
    assert found.mismatches > 0
    assert found.cycle_mismatches == found.protocol_errors == 0


@pytest.mark.parametrize("name", ["table_mac", "outlier_mac"])
@pytest.mark.parametrize(("mode", "built"), [("wrap", "saturate"), ("saturate", "wrap")])
def test_an_accumulator_of_the_other_mode_is_found(name: str, mode: str, built: str, tmp_path: Path) -> None:
    component = BuiltFrom(name, NARROW[name, mode], NARROW[name, built])
    assert check(name, component, tmp_path).mismatches > 0


class Resized(BuiltFrom):
    """A unit whose ports are wider or narrower inside, its output saturated or cut as the spec says."""

    def elaborate(self, platform: object) -> Module:
        inner = entry(self.name).component(self.built)
        m = wrapped(self, inner, lambda m: None)
        for name in self.spec.inputs:  # by value, sign and all; the last assignment wins
            m.d.comb += getattr(inner, name).payload.code[0].eq(getattr(self, name).payload.code[0])
        code = inner.o.payload.code[0]
        if self.spec.overflow == "saturate":  # type: ignore[attr-defined]
            code = saturate(code, self.spec.acc_format)  # type: ignore[attr-defined]
        m.d.comb += self.o.payload.code[0].eq(code)
        return m


@pytest.mark.parametrize("name", ["mac", "log2_mac"])
def test_a_wider_accumulator_cut_at_the_end_wraps_as_well(name: str, tmp_path: Path) -> None:
    spec = NARROW[name, "wrap"]
    found = check(name, Resized(name, spec, off_by(spec, "acc_bits", 7)), tmp_path)
    assert (found.first_failure is None) is (name == "mac")  # E and O join other than modulo 2^acc_bits


@pytest.mark.parametrize("name", ["mac", "log2_mac"])
def test_an_accumulator_that_wraps_one_bit_early_is_found(name: str, tmp_path: Path) -> None:
    spec = NARROW[name, "wrap"]
    assert check(name, Resized(name, spec, off_by(spec, "acc_bits", -1)), tmp_path).mismatches > 0


@pytest.mark.parametrize("name", ["mac", "two_scale_mac", "log2_mac"])
def test_an_accumulator_that_saturates_at_the_end_alone_is_found(name: str, tmp_path: Path) -> None:
    spec = NARROW[name, "saturate"]
    wide: dict[str, Any] = {"overflow": "none", "acc_bits": 40}
    found = check(name, Resized(name, spec, replace(spec, **wide)), tmp_path)
    assert found.mismatches > 0
    assert found.cycle_mismatches == found.protocol_errors == 0


def test_a_join_that_does_not_saturate_is_found(tmp_path: Path) -> None:
    """Both of its accumulators do."""

    class Wraps(rtl.units.log2_mac.Log2Element):
        def finish(self, *arguments: Any) -> Value:
            self.kept = lambda total: total  # type: ignore[method-assign]
            return super().finish(*arguments)

    class WrapsAtTheEnd(rtl.units.log2_mac.Log2Mac):
        element = Wraps

    found = check("log2_mac", WrapsAtTheEnd(NARROW["log2_mac", "saturate"]), tmp_path)
    assert found.mismatches > 0
    assert found.cycle_mismatches == found.protocol_errors == 0


def test_a_maximum_compared_as_unsigned_is_found(tmp_path: Path) -> None:
    class Unsigned(rtl.units.softmax.Softmax):
        """Offers the row to the comparison with the sign bit as a number's top bit."""

        def elaborate(self, platform: object) -> Module:
            kept = rtl.log_domain.Row
            rtl.log_domain.Row = UnsignedRow  # type: ignore[misc]
            try:
                return super().elaborate(platform)
            finally:
                rtl.log_domain.Row = kept  # type: ignore[misc]

    class UnsignedRow(rtl.log_domain.Row):
        def __init__(self, format: Integer, depth: int, lanes: int) -> None:
            super().__init__(Integer(bits=format.bits, signed=False), depth, lanes)

    assert check("softmax", Unsigned(SOFTMAX), tmp_path).mismatches > 0


def test_a_root_without_its_last_bit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(rtl.units.layernorm.InverseRoot):
        def elaborate(self, platform: object) -> Module:
            kept, self.root = self.root, Signal.like(self.root)
            m = super().elaborate(platform)
            short, self.root = self.root, kept
            m.d.comb += self.root.eq(short & ~1)
            return m

    monkeypatch.setattr(rtl.units.layernorm, "InverseRoot", Short)
    assert check("layernorm", entry("layernorm").component(SPECS["layernorm"]), tmp_path).mismatches > 0


def test_a_count_of_outliers_that_no_row_resets_is_found(tmp_path: Path) -> None:
    class Keeps(rtl.units.token_encoder.TokenEncoder):
        def _count(self, m: Module, take: Value, row_starts: Signal) -> Value:
            return super()._count(m, take, Signal())

    found = check("token_encoder", Keeps(SPECS["token_encoder"]), tmp_path)
    assert found.mismatches > 0
    assert found.cycle_mismatches == found.protocol_errors == 0

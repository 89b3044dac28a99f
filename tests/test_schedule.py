"""The schedule: closed forms against enumeration and a cycle-by-cycle array, monotone in everything, clear errors."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError, UserError
from golden.formats import Integer
from golden.program import Operation, Program, Tensor
from golden.softmax_tables import softmax_tables
from sim.accelerator import Accelerator, Array, Copies, Lanes
from sim.registry import operation_units, unit_of
from sim.schedule import OperationCycles, _operands, cycles_by_unit, cycles_per_image, schedule
from sim.units.mac import Mac

TABLES = {name: list(entries) for name, entries in softmax_tables(15, 12).items()}
U8, S16, ACC = Integer(bits=8, signed=False), Integer(bits=16, signed=True), Integer(bits=32, signed=True)


def program_of(operation: Operation, shapes: dict[str, tuple[int, ...]], formats: dict[str, Integer], **constants: Any) -> Program:  # fmt: skip # noqa: E501
    tensors = {name: Tensor(shape=shape, format=formats[name]) for name, shape in shapes.items()}
    return Program(tensors=tensors, constants=constants, operations=(operation,), input=next(iter(shapes)),
                   output=operation.output, provenance={}, decoding={})  # fmt: skip


def linear(m: int, k: int, n: int, *leading: int) -> Program:
    operation = Operation(name="fc", unit="mac", inputs={"a": "x", "w": "fc.w"}, output="y",
                          parameters={"a_zero_point": 0, "w_zero_point": 0, "acc_bits": 32})  # fmt: skip
    return program_of(
        operation,
        {"x": (*leading, m, k), "y": (*leading, m, n)},
        {"x": U8, "y": ACC},
        **{"fc.w": np.ones((n, k), np.int64)},
    )


def attention(groups: int, m: int, k: int, n: int) -> Program:
    operation = Operation(name="qk", unit="mac", inputs={"a": "q", "w": "k"}, output="y",
                          parameters={"a_zero_point": 9, "w_zero_point": 9, "acc_bits": 32})  # fmt: skip
    shapes = {"q": (groups, m, k), "k": (groups, n, k), "y": (groups, m, n)}
    return program_of(operation, shapes, {"q": U8, "k": U8, "y": ACC})


def mix(steps: int, groups: int, m: int, k: int, n: int) -> Program:
    operation = Operation(name="av", unit="log2_mac", inputs={"a": "p", "w": "v"}, output="y",
                          parameters={"code_bits": 4, "steps_per_octave": steps, "frac_bits": 7, "w_zero_point": 9,
                                      "acc_bits": 32})  # fmt: skip
    shapes = {"p": (groups, m, k), "v": (groups, k, n), "y": (groups, m, n)}
    return program_of(operation, shapes, {"p": Integer(bits=4, signed=False), "v": U8, "y": ACC})


def normed(rows: int, channels: int) -> Program:
    operation = Operation(name="ln", unit="layernorm", inputs={"x": "x", "gain": "g", "offset": "b"}, output="y",
                          parameters={"channels": channels, "epsilon": 1, "norm_frac_bits": 9, "shift": 9,
                                      "in_bits": 16, "out_bits": 8})  # fmt: skip
    ones = np.ones(channels, np.int64)
    return program_of(
        operation, {"x": (rows, channels), "y": (rows, channels)}, {"x": S16, "y": U8}, g=ones, b=ones
    )


def softmaxed(heads: int, tokens: int) -> Program:
    operation = Operation(name="sm", unit="softmax", inputs={"x": "x"}, output="y",
                          parameters={"score_bits": 16, "score_frac_bits": 9, "code_bits": 4, "steps_per_octave": 1,
                                      "max_length": tokens, "log2_scale": 0, "exp_bits": 15, "log_frac_bits": 12,
                                      **TABLES})  # fmt: skip
    shape = (heads, tokens, tokens)
    return program_of(operation, {"x": shape, "y": shape}, {"x": S16, "y": Integer(bits=4, signed=False)})


def added(*shape: int) -> Program:
    operation = Operation(name="add", unit="residual_adder", inputs={"a": "x", "b": "x"}, output="y",
                          parameters={"bits": 16})  # fmt: skip
    return program_of(operation, {"x": shape, "y": shape}, {"x": S16, "y": S16})


def accelerator(**shares: Any) -> Accelerator:
    return Accelerator(clock_mhz=100, shares=shares)


def cost(program: Program, share: Any) -> OperationCycles:
    (entry,) = schedule(program, accelerator(**{program.operations[0].unit: share}))
    return entry


def array_step_by_step(m: int, n: int, sum_cycles: int, array: Array) -> int:
    """Cycles of one product, tile by tile, each by the cycle in which every accumulator leaves its column's port."""
    cycles = 0
    for top in range(0, m, array.rows):
        for left in range(0, n, array.columns):
            rows, columns = min(array.rows, m - top), min(array.columns, n - left)
            leave = 0
            for column in range(columns):
                # Row 0 is next to the port. Operands reach place (row, column) row + column cycles late; a column
                # starts to shift once its farthest place is done, and gives one accumulator per cycle.
                done = max(row + column + sum_cycles for row in range(rows))
                leave = max(leave, done + rows - 1)
            cycles += leave
    return cycles


sizes = st.integers(1, 9)
shares = st.builds(Array, rows=sizes, columns=sizes)


@given(sizes, sizes, sizes, sizes, shares)
def test_array_closed_form_is_the_sum_over_tiles(groups: int, m: int, k: int, n: int, array: Array) -> None:
    unit = unit_of(linear(m, k, n), linear(m, k, n).operations[0])
    assert isinstance(unit, Mac)
    one = array_step_by_step(m, n, unit.cycles(1, k), array)
    assert cost(linear(m, k, n), array).cycles == one
    assert cost(attention(groups, m, k, n), array).cycles == groups * one


def test_array_by_hand() -> None:
    # 5 × 3 outputs of K = 10 on a 4 × 2 array: tiles 4×2, 4×1, 1×2, 1×1. One sum takes 10 + 2 cycles.
    # 4×2: 12 + 3 + 1 + 3 = 19; 4×1: 12 + 3 + 0 + 3 = 18; 1×2: 12 + 0 + 1 + 0 = 13; 1×1: 12. Together 62.
    entry = cost(linear(5, 10, 3), Array(rows=4, columns=2))
    assert Mac.latency == 2
    assert (entry.cycles, entry.work, entry.utilisation) == (62, 150, Fraction(150, 62 * 8))


def test_leading_axes_of_a_shared_weight_are_rows() -> None:
    """6 rows of 3 columns fill two tiles of 4 × 4; as 3 products of 2 rows they would take three."""
    array = Array(rows=4, columns=4)
    assert cost(linear(2, 10, 3, 3), array).cycles == cost(linear(6, 10, 3), array).cycles
    assert cost(linear(2, 10, 3, 3), array).work == 180


@pytest.mark.parametrize("steps", [1, 2])
def test_log2_array_takes_its_own_units_cycles(steps: int) -> None:
    """One tile of one place: K terms, the pipeline, and base √2's join."""
    program = mix(steps, 2, 1, 7, 1)
    unit: Any = unit_of(program, program.operations[0])
    assert cost(program, Array(rows=1, columns=1)).cycles == 2 * unit.cycles(1, 7) == 2 * (7 + unit.latency)


@given(sizes, st.integers(2, 9), st.integers(1, 5))
def test_rows_are_dealt_to_the_copies(rows: int, channels: int, copies: int) -> None:
    """The busiest copy decides: row after row, dealt round."""
    dealt = [len(range(copy, rows, copies)) for copy in range(copies)]
    program = normed(rows, channels)
    unit: Any = unit_of(program, program.operations[0])
    assert cost(program, Copies(copies=copies)).cycles == max(unit.cycles(n, channels) for n in dealt if n)
    program = softmaxed(2, rows)
    unit = unit_of(program, program.operations[0])
    dealt = [len(range(copy, 2 * rows, copies)) for copy in range(copies)]
    assert cost(program, Copies(copies=copies)).cycles == max(unit.cycles(n, rows) for n in dealt if n)


@given(sizes, sizes, st.integers(1, 12))
def test_codes_are_dealt_to_the_lanes(rows: int, channels: int, lanes: int) -> None:
    beats = [len(range(lane, rows * channels, lanes)) for lane in range(lanes)]
    assert cost(added(rows, channels), Lanes(lanes=lanes)).cycles == max(beats) + 1


@given(sizes, sizes, sizes, shares, st.sampled_from("mkn"))
def test_more_work_never_takes_fewer_cycles(m: int, k: int, n: int, array: Array, axis: str) -> None:
    shape = {"m": m, "k": k, "n": n}
    more = shape | {axis: shape[axis] + 1}
    assert cost(linear(**more), array).cycles > cost(linear(**shape), array).cycles
    assert cost(linear(**more), array).work > cost(linear(**shape), array).work


@given(sizes, sizes, st.integers(1, 5))
def test_more_hardware_never_takes_more_cycles(rows: int, channels: int, n: int) -> None:
    assert (
        cost(added(rows, channels), Lanes(lanes=n + 1)).cycles
        <= cost(added(rows, channels), Lanes(lanes=n)).cycles
    )
    program = normed(rows, channels + 1)
    assert cost(program, Copies(copies=n + 1)).cycles <= cost(program, Copies(copies=n)).cycles


@given(sizes, sizes, sizes, shares)
def test_utilisation_is_a_share(m: int, k: int, n: int, array: Array) -> None:
    entry = cost(linear(m, k, n), array)
    assert 0 < entry.utilisation < 1
    assert entry.utilisation * entry.cycles * array.rows * array.columns == m * k * n == entry.work


def test_totals_and_movement() -> None:
    """Movement is the only operation without cycles; all else adds up."""
    first = added(4, 4)
    token = Operation(
        name="token", unit="move", inputs={"x": "y"}, output="z", parameters={"kind": "token", "index": 0}
    )
    again = Operation(
        name="again", unit="residual_adder", inputs={"a": "z", "b": "z"}, output="w", parameters={"bits": 16}
    )
    tensors = {**first.tensors, "z": Tensor(shape=(1, 4), format=S16), "w": Tensor(shape=(1, 4), format=S16)}
    program = Program(tensors=tensors, constants={}, operations=(*first.operations, token, again), input="x",
                      output="w", provenance={}, decoding={})  # fmt: skip
    entries = schedule(program, accelerator(residual_adder=Lanes(lanes=4)))
    assert [(entry.operation, entry.unit, entry.cycles) for entry in entries] == [
        ("add", "residual_adder", 5), ("again", "residual_adder", 2),
    ]  # fmt: skip
    assert cycles_per_image(entries) == 7
    assert cycles_by_unit(entries) == {"residual_adder": 7}


def test_constants_take_the_format_that_holds_them() -> None:
    program = replace(linear(2, 3, 4), constants={"fc.w": np.array([[-9, 0, 30]] * 4)})
    found = _operands(program, program.operations[0])
    assert found.tensors["fc.w"].format == Integer(bits=6, signed=True)
    assert found.tensors["fc.w"].shape == (4, 3)
    assert found.constants == {}


def test_wrong_shares_are_a_users_mistake() -> None:
    with pytest.raises(UserError, match=r"the accelerator has no \[mac\], which fc runs on"):
        schedule(linear(1, 1, 1), accelerator(gelu=Lanes(lanes=1)))
    for program, share, needed in (
        (linear(1, 1, 1), Lanes(lanes=1), "rows and columns"),
        (added(1, 1), Copies(copies=1), "lanes"),
        (softmaxed(1, 2), Lanes(lanes=1), "copies"),
    ):
        with pytest.raises(UserError, match=f"it needs {needed}"):
            cost(program, share)


def test_a_unit_that_costs_nothing_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mac, "cycles", lambda self, rows, length: 0)
    with pytest.raises(InvariantError, match="operation fc on mac cannot take 0 cycles"):
        cost(linear(1, 1, 1), Array(rows=1, columns=1))


def test_default_accelerator_has_every_unit() -> None:
    default = Accelerator.load()
    assert set(default.shares) == set(operation_units())
    assert default.clock_mhz > 0


GOOD = "clock_mhz = 100\n[mac]\nrows = 4\ncolumns = 2\n[gelu]\nlanes = 3\n[softmax]\ncopies = 2\n"


def test_accelerator_file(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(GOOD, encoding="utf-8")
    expected = {"mac": Array(rows=4, columns=2), "gelu": Lanes(lanes=3), "softmax": Copies(copies=2)}
    assert Accelerator.load(file) == Accelerator(clock_mhz=100, shares=expected)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "clock_mhz = 100",
            "clock = 100",
            r"small\.toml: clock_mhz is missing; it must be a whole number from 1",
        ),
        ("clock_mhz = 100", "clock_mhz = 99.5", r"clock_mhz is 99\.5; it must be a whole number from 1"),
        ("clock_mhz = 100", "clock_mhz = true", "clock_mhz is True"),
        ("[gelu]", "[glu]", r"small\.toml: unknown key 'glu'; the nearest known one is 'gelu'"),
        (
            "lanes = 3",
            "lane = 3",
            r"small\.toml: \[gelu\] unknown key 'lane'; the nearest known one is 'lanes'",
        ),
        ("lanes = 3", "lanes = 0", r"small\.toml: \[gelu\] lanes is 0; it must be a whole number from 1"),
        ("columns = 2", "", r"\[mac\] has rows; it needs rows and columns, or lanes, or copies"),
        ("lanes = 3", "", r"\[gelu\] has no key; it needs"),
        ("[gelu]\nlanes = 3", "", None),
        ("clock_mhz = 100", "clock_mhz = 100\ngelu = 3", "not a readable accelerator description"),
        (
            "clock_mhz = 100",
            "clock_mhz = 100\nlayernorm = 3",
            r"\[layernorm\] must be a table, such as lanes = 32",
        ),
        ("clock_mhz = 100", "clock_mhz =", "not a readable accelerator description"),
    ],
)
def test_mistakes_in_an_accelerator_file(tmp_path: Path, old: str, new: str, message: str | None) -> None:
    assert GOOD.count(old) == 1
    file = tmp_path / "small.toml"
    file.write_text(GOOD.replace(old, new), encoding="utf-8")
    if message is None:
        assert "gelu" not in Accelerator.load(file).shares
        return
    with pytest.raises(UserError, match=message) as raised:
        Accelerator.load(file)
    assert "\n" not in str(raised.value)


def test_missing_accelerator_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.toml is not a readable accelerator description"):
        Accelerator.load(tmp_path / "nowhere.toml")


def test_shares_are_checked() -> None:
    with pytest.raises(ValueError, match="mac: columns must be at least 1, not 0"):
        accelerator(mac=Array(rows=1, columns=0))
    with pytest.raises(ValueError, match="clock_mhz must be at least 1, not 0"):
        Accelerator(clock_mhz=0, shares={})

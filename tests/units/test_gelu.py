"""gelu: hand-worked codes, every input, closeness to the real function, planted faults, streams and cycles."""

from math import erfc, exp, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import InvariantError
from sim.unit import Beats
from sim.units import gelu
from sim.units.gelu import Gelu


def unit(**changes: Any) -> Gelu:
    parameters: dict[str, Any] = {
        "in_bits": 12,
        "frac_bits": 4,
        "table_frac_bits": 3,
        "table": (0, 300, 411, 280, 90, 20, 0),
        "table_step": 6,
        "zero_point": 10,
        "out_bits": 7,
    }
    return Gelu(**parameters | changes)


def round_shift(x: int, s: int) -> int:
    return (x + (1 << (s - 1))) >> s if s else x


def definition(spec: Gelu, h: int) -> int:
    """docs/datapath.md, gelu, for one code."""
    u = abs(h)
    i, low = u >> spec.table_step, u & ((1 << spec.table_step) - 1)
    bump = 0
    if i + 1 < len(spec.table):
        bump = spec.table[i] + round_shift((spec.table[i + 1] - spec.table[i]) * low, spec.table_step)
    y = (max(h, 0) << spec.table_frac_bits) - bump
    code = round_shift(y, spec.frac_bits + spec.table_frac_bits) + spec.zero_point
    return min(max(code, 0), 2**spec.out_bits - 1)


def every_input(spec: Gelu) -> Any:
    return np.arange(-(1 << (spec.in_bits - 1)), 1 << (spec.in_bits - 1))


def test_hand_worked() -> None:
    # h = −70: u = 70, segment 1, low 6: G = 300 + round_shift(111 · 6, 6) = 300 + (666 + 32 >> 6) = 310.
    #   y = −310; round_shift(−310, 7) = (−310 + 64) >> 7 = −2; code 8.
    # h = 150: segment 2, low 22: G = 411 + round_shift(−131 · 22, 6) = 411 + (−2882 + 32 >> 6) = 411 − 45 = 366.
    #   y = 1200 − 366 = 834; (834 + 64) >> 7 = 7; code 17.
    # h = 2047: segment 31 is beyond the table: y = 16376; (16376 + 64) >> 7 = 128; 138 saturates at 127.
    assert unit().compute(np.array([-70, 150, 2047])).tolist() == [8, 17, 127]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"frac_bits": 0, "table_frac_bits": 0},
        {"table_step": 0},
        {"table_step": 11},
        {"zero_point": -20},
        {"zero_point": 140},
        {"out_bits": 16, "in_bits": 16, "table_step": 9},
        # No shift at all, so that the last place of the bump shows, beyond the table as well.
        {
            "in_bits": 6,
            "frac_bits": 0,
            "table_frac_bits": 0,
            "table_step": 2,
            "zero_point": 40,
            "out_bits": 7,
        },
    ],
)
def test_every_input(changes: dict[str, Any]) -> None:
    spec = unit(**changes)
    h = every_input(spec)
    assert spec.compute(h).tolist() == [definition(spec, n) for n in h.tolist()]


@pytest.mark.parametrize("changes", [{}, {"out_bits": 16, "in_bits": 16, "table_step": 9}, {"in_bits": 20}])
@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64])
def test_the_table_of_all_codes_gives_what_the_kernel_calculates(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], kind: Any
) -> None:
    spec = unit(**changes)
    # int16 holds every input of up to 16 bits, but the codes of 16 only in int32.
    h = every_input(spec).astype(kind if spec.in_bits <= 16 else np.int32).reshape(2, -1)
    codes = np.int16 if spec.out_bits < 16 else np.int32
    calculated = spec.compute(h, codes)
    monkeypatch.setattr(gelu, "_TABLE_WORTH", 0)
    looked_up = spec.compute(h, codes)
    assert looked_up.dtype == codes
    assert np.array_equal(looked_up, calculated)


@pytest.mark.parametrize("out_bits", [8, 9, 16, 17])
def test_codes_of_any_width_are_looked_up_whole(monkeypatch: pytest.MonkeyPatch, out_bits: int) -> None:
    """Tables are of 8 or 16 bits; a wider code is calculated."""
    spec = unit(in_bits=out_bits + 1, frac_bits=0, table_frac_bits=0, zero_point=0, out_bits=out_bits)
    monkeypatch.setattr(gelu, "_TABLE_WORTH", 0)
    h = [spec.inputs["h"].format.max_code, 0]
    assert spec.compute(np.array(h)).tolist() == [definition(spec, n) for n in h]
    assert definition(spec, h[0]) >= 2 ** (out_bits - 1)


def test_wide_inputs_are_calculated_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of 2^40 codes has no place."""
    spec = unit(in_bits=40)
    monkeypatch.setattr(gelu, "_TABLE_WORTH", 0)
    assert spec.compute(np.array([-70, 150])).tolist() == [definition(spec, n) for n in (-70, 150)]


def test_a_planted_fault_in_the_look_up_is_seen(mutate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = unit()
    h = every_input(spec)[1:]
    expected = [definition(spec, n) for n in h.tolist()]
    monkeypatch.setattr(gelu, "_TABLE_WORTH", 0)
    assert spec.compute(h).tolist() == expected
    mutate(gelu, "_look_up", "- lowest", "- lowest - 1")
    assert spec.compute(h).tolist() != expected


@given(st.integers(2, 40), st.integers(0, 40), st.integers(0, 20), st.integers(0, 40), st.integers(-(2**31), 2**31 - 1),
       st.lists(st.integers(0, 2**20), min_size=1, max_size=9), st.integers(1, 16), st.data())  # fmt: skip
def test_equals_definition(
    in_bits: int, frac_bits: int, table_frac_bits: int, step: int, zero_point: int, entries: list[int],
    out_bits: int, data: st.DataObject,
) -> None:  # fmt: skip
    spec = unit(in_bits=in_bits, frac_bits=frac_bits, table_frac_bits=table_frac_bits, table=(*entries, 0),
                table_step=step, zero_point=zero_point, out_bits=out_bits)  # fmt: skip
    ends = st.integers(-(1 << (in_bits - 1)), (1 << (in_bits - 1)) - 1)
    h = [-(1 << (in_bits - 1)), (1 << (in_bits - 1)) - 1, *data.draw(st.lists(ends, max_size=9))]
    assert spec.compute(np.array(h)).tolist() == [definition(spec, n) for n in h]


def test_close_to_the_real_function() -> None:
    """One output code is 1/32: the unit is within its rounding and the chords' error, h² / 8 · max|g''| ≤ 0.8 / 512."""
    code, frac_bits, step = 32, 7, 9
    table = [round(u * erfc(u / sqrt(2)) / 2 * code * 2 ** (frac_bits + 3)) for u in np.arange(41) / 8]
    spec = unit(
        in_bits=16, frac_bits=frac_bits, table=(*table, 0), table_step=step, zero_point=8, out_bits=16
    )
    h = every_input(spec)
    x = h / 2**frac_bits / code
    exact = x * np.array([erfc(-n / sqrt(2)) / 2 for n in x])
    error = (spec.compute(h) - 8) / code - exact
    assert np.abs(error).max() <= 0.5 / code + 0.8 / 512 + exp(-12)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+ step_half", "+ step_half - 1"),
        ("+ step_half", ""),
        ("rectified + half", "rectified + half - 1"),
        (">> shift)", ">> (shift - 1))"),
        (">> shift)", ">> (shift + 1))"),
        ("<< step) - 1", "<< step) - 2"),
        ("table.size - 1", "table.size - 2"),
        ("<< lift", "<< (lift + 1)"),
        ("+ zero_point, 0), high", "+ zero_point, 0), high - 1"),
        ("+ zero_point, 0), high", "+ zero_point, 1), high"),
        ("abs(part[n]) >>", "abs(part[n] + 1) >>"),
        ("abs(part[n]) &", "abs(part[n] + 1) &"),
        ("base[n] +", "base[0] +"),
    ],
)
def test_planted_faults_are_seen(mutate: Any, old: str, new: str) -> None:
    spec = unit(table_step=3, frac_bits=1, table_frac_bits=0, zero_point=100, out_bits=9)
    h = every_input(spec)
    mutate(
        gelu, "_gelu", old, new
    )  # codes as fine as the table: coarser ones hide the interpolation's rounding
    assert spec.compute(h).tolist() != [definition(spec, n) for n in h.tolist()]


@pytest.mark.parametrize("entry", range(6))
def test_every_table_entry_counts(entry: int) -> None:
    """One unit of one entry moves at least one code when codes are as fine as the table."""
    spec = unit(frac_bits=0, table_frac_bits=0, zero_point=500, out_bits=16)
    changed = unit(frac_bits=0, table_frac_bits=0, zero_point=500, out_bits=16,
                   table=tuple(n + (i == entry) for i, n in enumerate(spec.table)))  # fmt: skip
    h = every_input(spec)
    assert not np.array_equal(spec.compute(h), changed.compute(h))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_bits": 41}, r"in_bits must be in \[2, 40\], not 41"),
        ({"out_bits": 0}, r"out_bits must be in \[1, 24\], not 0"),
        ({"table": (0,)}, "table must have at least 2 entries"),
        ({"table": (3, -1, 0)}, "none negative"),
        ({"table": (3, 1)}, "the last 0"),
        ({"table": (1 << 30, 0), "table_step": 31}, "exceed 62 bits"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit(**changes)


def test_input_outside_its_format_raises() -> None:
    with pytest.raises(InvariantError, match=r"gelu operand h spans \[2048, 2048\], outside s12"):
        unit().compute(np.array([2048]))


def test_formats_hold_what_occurs() -> None:
    spec = unit()
    h = every_input(spec)
    rectified = [(max(n, 0) << 3) for n in h.tolist()]
    assert spec.rectified_format.min_code <= -411
    assert spec.rectified_format.max_code >= max(rectified)
    assert (spec.entry_format.max_code, str(spec.slope_format)) == (511, "s10")


def test_formats_are_no_wider_than_they_must_be() -> None:
    """Slopes of 5, −7 and −2; 2^8 at the top and −9 below 0."""
    spec = unit(in_bits=8, table_frac_bits=1, table=(4, 9, 2, 0))
    formats = (spec.entry_format, spec.slope_format, spec.rectified_format)
    assert [str(format) for format in formats] == ["u4", "s4", "s10"]
    assert str(unit(table=(0, 0)).entry_format) == "u1"
    assert str(unit(table=(1, 0)).slope_format) == "s1"
    # The other end decides: a slope of −9, a bump of 9 over inputs of 2 bits.
    assert str(unit(table=(4, 9, 0)).slope_format) == "s5"
    assert str(unit(in_bits=2, table_frac_bits=0, table=(9, 0)).rectified_format) == "s5"


def test_streams_agree_with_whole_tensors() -> None:
    spec = unit(in_bits=6, table_step=2)
    h = every_input(spec)
    beats = Beats(h[:, None], np.ones(64, np.bool_))
    assert spec.run(h=beats)["o"].codes[:, 0].tolist() == [definition(spec, n) for n in h.tolist()]
    assert spec.timing(h=beats)["h"].tolist() == list(range(64))
    assert spec.timing(h=beats)["o"].tolist() == [n + spec.latency for n in range(64)]
    assert spec.cycles(64) == 64 + spec.latency

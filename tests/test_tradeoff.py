"""The sweep's arithmetic and words: sums, what is not beaten, answers, files. The figures here are made up."""

import csv
import errno
import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from golden.errors import UserError
from reports.cli import main
from reports.results import read, write
from reports.tradeoff.answers import (
    answers,
    bit_steps,
    cheapest_answer,
    costed,
    pareto,
    softmax_answer,
    softmax_rows,
)
from reports.tradeoff.markdown import markdown
from reports.tradeoff.pareto import cheapest, front
from reports.tradeoff.request import parse_targets, parse_widths
from reports.tradeoff.rows import area_of
from reports.tradeoff.write import table_text
from reports.whole_file import write_text
from tests.tradeoff_sample import part, parts, sample

costs = st.dictionaries(
    st.text("abc", min_size=1, max_size=3), st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12
)


@given(costs)
def test_the_front_is_what_nothing_dominates(points: dict[str, tuple[int, int]]) -> None:
    def beaten(name: str) -> bool:
        cost, gain = points[name]
        return any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points.values())

    kept = front({name: (float(cost), float(gain)) for name, (cost, gain) in points.items()})
    assert set(kept) == {name for name in points if not beaten(name)}
    assert [points[name][0] for name in kept] == sorted(points[name][0] for name in kept)


def test_the_cheapest_that_suffices() -> None:
    points = {"a": (3.0, 70.0), "b": (2.0, 69.0), "c": (3.0, 71.0)}
    assert cheapest(points, 70.0) == "c"
    assert cheapest(points, 69.0) == "b"
    assert cheapest(points, 72.0) is None


def test_an_area_is_the_sum_over_copies_and_its_clock_the_slowest() -> None:
    area = area_of(parts("repq W4/A4", "ecp5", broken=False))
    assert area.luts == 10 * 100 + 2 * 9 + 10 * 30 + 10 * 40
    assert area.dsps == 32
    assert (area.fmax_mhz, area.slowest) == (90.0, "mac")
    assert area.area_um2 is None


def test_one_part_without_figures_makes_the_sum_unknown_and_never_less() -> None:
    area = area_of(parts("repq W4/A4", "xcup", broken=True))
    assert area.missing == ("softmax",)
    assert (area.luts, area.dsps, area.fmax_mhz) == (None, None, None)
    with pytest.raises(ValidationError, match="either figures or a failure"):
        part("r", "mac", "ecp5", 3.0, failure="broken")


def test_answers_use_the_sweeps_own_numbers() -> None:
    results = sample()
    assert pareto(results, "ecp5") == ("repq W4/A4", "repq W8/A8")
    assert set(costed(results, "xcup")) == {"repq W8/A8", "uniform W4/A4", "uniform W8/A8"}
    # Best fake-quant accuracy 72.5: 71.5 suffices, which uniform W8/A8 has, but repq W8/A8 is cheaper.
    told = cheapest_answer(results, "ecp5")
    assert told
    assert "is repq W8/A8: 72.0 % [69.0, 75.0], 2,318 LUT4, 32 DSP" in told
    assert "15 % less than the dearest, uniform W8/A8" in told
    rows = {row.run: row for row in softmax_rows(results, "ecp5")}
    assert rows["repq W4/A4"].kind.startswith("logarithm")
    assert (rows["repq W4/A4"].units, rows["repq W4/A4"].element) == (40.0, 30.0)
    assert (rows["uniform W4/A4"].kind, rows["uniform W4/A4"].units) == ("uniform codes", 70.0)
    steps = {step.scheme: step for step in bit_steps(results, "ecp5")}
    assert (steps["repq"].bits, round(steps["repq"].gain, 6)) == (4, 2.0)
    assert steps["repq"].cost == pytest.approx(2318 / 1718 - 1)
    assert len(answers(results)) == 3


@pytest.mark.parametrize(
    ("narrow", "wide", "told"),
    [(64.0, 72.0, "W4/A4"), (62.9, 72.0, "W8/A8"), (31.0, 62.0, "W8/A8"), (32.0, 31.0, "W4/A4")],
)
def test_forms_of_attention_codes_are_compared_where_the_network_works(
    narrow: float, wide: float, told: str
) -> None:
    """Float has 73.0: 63.0 suffices for the narrower width; with nothing usable the more accurate width is told."""
    results = sample()
    designs = tuple(
        row.model_copy(update={"top1": narrow if row.act_bits == 4 else wide})
        for row in results.tables.designs
    )
    tables = results.tables.model_copy(update={"designs": designs})
    answer = softmax_answer(results.model_copy(update={"tables": tables}), "ecp5")
    assert answer
    assert answer.startswith(f"On ecp5 at {told}: ")


def test_no_datapath_is_accurate_enough() -> None:
    results = sample()
    designs = tuple(row.model_copy(update={"top1": 60.0}) for row in results.tables.designs)
    tables = results.tables.model_copy(update={"designs": designs})
    told = cheapest_answer(results.model_copy(update={"tables": tables}), "ecp5")
    assert told
    assert told.startswith("On ecp5 no datapath")


def test_files_are_complete_and_read_back(tmp_path: Path) -> None:
    results = sample()
    assert read(write(results, tmp_path)).tables == results.tables
    lines = list(csv.DictReader(io.StringIO(table_text(results))))
    assert len(lines) == 8
    unknown = next(line for line in lines if (line["run"], line["target"]) == ("repq W4/A4", "xcup"))
    assert unknown["luts"] == ""
    assert [line["run"] for line in lines if line["pareto"] == "1" and line["target"] == "ecp5"] == [
        "repq W4/A4", "repq W8/A8",
    ]  # fmt: skip
    told = markdown(results, {"adfq W3/A3": "ValueError: too few"})
    assert "| **repq W8/A8** | 72.0 [69.0, 75.0] |" in told
    assert "unknown" in told
    assert "- adfq W3/A3: ValueError: too few" in told
    assert "- softmax on xcup: softmax on xcup: nextpnr: no place" in told
    assert results.metrics["design__repq_w8_a8__ecp5__luts"].value == 2318


@pytest.mark.parametrize("text", ["4x", "", "4/", "x/4", "9", "4/1"])
def test_wrong_widths(text: str) -> None:
    with pytest.raises(UserError, match="--"):
        parse_widths([text])


def test_targets() -> None:
    library = Path("cells.lib")
    assert parse_targets([], None) == ("ecp5", "xcup")
    assert parse_targets(["xcup"], library) == ("xcup", "asic")
    with pytest.raises(UserError, match="must be one of"):
        parse_targets(["ecp4"], None)
    with pytest.raises(UserError, match="--target asic needs --liberty FILE"):
        parse_targets(["asic"], None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bits", "17"], "must be from 2 to 8"),
        (["--target", "stratix"], "must be one of"),
        (["--scheme", "rebq"], "rebq"),
        (["--accelerator", "none.toml"], "not a readable accelerator"),
        (["--jobs", "0"], "--jobs must be at least 1"),
    ],
)
def test_a_users_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: list[str],
    said: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["vitrtl", "tradeoff", "--out", str(tmp_path / "out"), *options])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not any((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> int:
    monkeypatch.setattr(
        "sys.argv",
        ["vitrtl", "tradeoff", "--scheme", "repq", "--bits", "4", "--target", "xcup", "--jobs", "1",
         "--check-images", "1", "--batch-size", "90", "--cache", str(out / "cache"), "--out", str(out),
         *(options or ["--no-verify"])],
    )  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_a_sweep_from_images_to_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The digits at one point: a unit whose synthesis fails is told, kept apart, and made good by a second run."""
    import reports.tradeoff.hardware as hardware
    from reports.synthesis import Area, SynthesisError

    asked: list[str] = []

    def synthesised(jobs: Any, cache: Path, processes: int, advance: Any) -> Any:
        for job in jobs:
            asked.append(job.unit)
            failed = job.unit == "gelu" and len(asked) < 10
            size = {"luts": 7.0, "dsps": 0.0, "cells": {}, "tools": {"yosys": "0: x"}}
            yield (
                job,
                SynthesisError("gelu on xcup: out of memory") if failed else Area(target="xcup", **size),
            )

    monkeypatch.setattr(hardware, "synthesize_all", synthesised)
    assert run(monkeypatch, tmp_path) == 1
    assert "no area: gelu on xcup: out of memory" in capsys.readouterr().err
    first = read(tmp_path / "results.json").tables
    assert (first.areas[0].missing, first.areas[0].luts) == (("gelu",), None)
    assert len({(p.unit, p.edge) for p in first.parts}) == len(first.parts) == len(asked)
    assert ("mac", True) in {(p.unit, p.edge) for p in first.parts}
    assert first.designs[0].exact
    assert "out of memory" in (tmp_path / "report.html").read_text()
    assert "out of memory" in (tmp_path / "tradeoff.md").read_text()
    # Again: no image is run a second time, and now all is known.
    import reports.tradeoff.points as points

    monkeypatch.setattr(points, "needs_of", lambda program: pytest.fail("measured again"))
    asked.extend([""] * 10)
    assert run(monkeypatch, tmp_path) == 0
    second = read(tmp_path / "results.json").tables
    assert second.areas[0].luts == sum(7 * p.copies for p in second.parts)
    assert second.designs == first.designs


@pytest.mark.parametrize(
    "file", ["points/repq-w4-a4.json", "results.json", "report.html", "designs.csv", "tradeoff.md"]
)
def test_a_full_disk_is_one_line_and_leaves_files_as_they_were(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("as it was")
    written = Path.write_text

    def full(self: Path, text: str, **options: Any) -> int:
        """Half of the text, then no more room."""
        written(self, text[: len(text) // 2], **options)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(
        UserError, match=rf"^cannot write {re.escape(str(path))}: No space left on device; make room"
    ):
        write_text(path, "what is new")
    assert path.read_text() == "as it was"
    assert [each.name for each in path.parent.iterdir() if each.is_file()] == [path.name]


def test_a_disk_that_fills_up_keeps_the_points(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No room for results.json: exit code 2, one line; the point is there for the next run."""
    import reports.tradeoff.hardware as hardware
    from reports.synthesis import Area

    def synthesised(jobs: Any, cache: Path, processes: int, advance: Any) -> Any:
        for job in jobs:
            yield job, Area(target="xcup", luts=7.0, dsps=0.0, cells={}, tools={"yosys": "0: x"})

    monkeypatch.setattr(hardware, "synthesize_all", synthesised)
    replaced = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "results.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replaced(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert run(monkeypatch, tmp_path) == 2
    said = capsys.readouterr().err
    assert f"cannot write {tmp_path / 'results.json'}: No space left on device" in said.replace("\n", "")
    assert not list(tmp_path.glob("*.partial"))
    assert not (tmp_path / "results.json").exists()
    assert run(monkeypatch, tmp_path) == 0
    assert "1 of 1 points taken from" in capsys.readouterr().err

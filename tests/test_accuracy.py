"""`vitrtl accuracy`: the table says what results.json says, no finished point is lost, every mistake is one line."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.errors import InvariantError, UserError
from golden.scheme import load_scheme
from reports import evaluation
from reports.accuracy import shipped_defaults, short
from reports.accuracy_margin import mcnemar
from reports.choice import Bits
from reports.cli import main
from reports.evaluation import Evaluation, Run
from reports.results import read
from tests.accuracy_sample import write_digits

GRID = "--scheme repq --scheme uniform --bits 4 --bits 3"
LABELS = ["repq W4/A4", "repq W3/A3", "uniform W4/A4", "uniform W3/A3"]
ONE = "--scheme uniform --bits 3"


def vitrtl(*arguments: str) -> int | str | None:
    """Runs the command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vitrtl", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
    return stopped.value.code


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four test digits of each class as image files."""
    return write_digits(tmp_path_factory.mktemp("digits") / "val")


@pytest.fixture(scope="module")
def accuracy(images: Path) -> Callable[..., int | str | None]:
    """`accuracy(options, out)` runs the command on the image files; its exit code."""
    return lambda options, out: vitrtl(
        "accuracy", "--images", str(images), "--batch-size", "40", *options.split(), "--out", str(out)
    )


@pytest.fixture(scope="module")
def whole(accuracy: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that went through: not to be changed."""
    out = tmp_path_factory.mktemp("whole")
    assert accuracy(GRID, out) == 0
    return out


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of the runs that were really evaluated."""
    ran: list[str] = []
    real = Evaluation.run

    def run(self: Evaluation, bits: Bits) -> Run:
        ran.append(bits.label)
        return real(self, bits)

    monkeypatch.setattr(Evaluation, "run", run)
    return ran


def breaks_at(monkeypatch: pytest.MonkeyPatch, label: str, error: BaseException) -> None:
    """Makes the run `label` fail with `error`."""
    real = Evaluation.run

    def run(self: Evaluation, bits: Bits) -> Run:
        if bits.label == label:
            raise error
        return real(self, bits)

    monkeypatch.setattr(Evaluation, "run", run)


def kept(out: Path) -> set[str]:
    return {path.name for path in (out / "points").iterdir()}


def table(text: str, first_header: str) -> list[dict[str, str]]:
    """Rows of the Markdown table whose header starts so, by column."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_header}"))
    body = itertools.takewhile(lambda line: line.startswith("|"), lines[start:])
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in body)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_the_table_says_what_results_json_says(whole: Path, images: Path) -> None:
    assert {path.name for path in whole.iterdir()} == {
        "accuracy.md", "results.json", "report.html", "points",
    }  # fmt: skip
    results, text = read(whole / "results.json"), (whole / "accuracy.md").read_text(encoding="utf-8")
    assert (results.command, results.config.scheme) == ("accuracy", "repq, uniform")
    assert results.tables.runs == tuple(LABELS)
    accuracy = {(row.run, row.level): row for row in results.tables.accuracy}
    percents = {(row.run, row.pair): row.percent for row in results.tables.agreement}
    rows = table(text, "scheme | W/A | fake-quant")
    assert [f"{row['scheme'].strip('`')} W{row['W/A'].replace('/', '/A')}" for row in rows] == LABELS
    for row, label in zip(rows, LABELS, strict=True):
        for level, column in (
            ("fakequant", "fake-quant"),
            ("fakequant_hardware", "hardware zero"),
            ("integer", "integer"),
        ):
            found = accuracy[label, level]
            assert found.n == 40
            assert row[column] == f"{found.top1:.1f} ({found.low:.1f} to {found.high:.1f})"
        assert row["agreement, %"] == f"{percents[label, 'integer/fakequant_hardware']:.1f}"
        sites = [
            r for r in results.tables.fidelity if r.run == label and r.code_mismatch_fraction is not None
        ]
        worst = max(r.code_mismatch_fraction or 0 for r in sites)
        share, site = row["codes that differ, % (site)"].split(" ", 1)
        assert share == f"{100 * worst:.2f}"
        assert site.strip("()") in {r.site for r in sites if r.code_mismatch_fraction == worst}
        assert row["largest distance"] == str(max(r.code_mismatch_max or 0 for r in sites))
        assert row["published, fake-quant"] == ""
    base = accuracy["float", "float"]
    assert f"float32: {base.top1:.1f} ({base.low:.1f} to {base.high:.1f})" in text
    compared = sum(row.integers for row in results.tables.exactness)
    assert f"{compared:,} integers compared, 0 differ" in text


def test_margins_are_over_uniform_at_the_same_width(whole: Path) -> None:
    accuracy = {(row.run, row.level): row for row in read(whole / "results.json").tables.accuracy}
    rows = table((whole / "accuracy.md").read_text(encoding="utf-8"), "scheme | W/A | level")
    assert [(row["scheme"], row["W/A"], row["level"]) for row in rows] == [
        ("`repq`", width, level) for width in ("4/4", "3/3") for level in ("fake-quant", "integer")
    ]
    for row in rows:
        bits, level = row["W/A"][0], {"fake-quant": "fakequant", "integer": "integer"}[row["level"]]
        ours, other = (accuracy[f"{name} W{bits}/A{bits}", level] for name in ("repq", "uniform"))
        assert float(row["points"].replace("−", "-")) == pytest.approx(ours.top1 - other.top1, abs=0.05)
        ahead, behind = int(row["only it right"]), int(row["only `uniform` right"])
        assert (ahead - behind) / 40 == pytest.approx((ours.top1 - other.top1) / 100)
        assert float(row["p"].removeprefix("< ")) == pytest.approx(float(mcnemar(ahead, behind)), rel=0.05)


def test_no_folder_of_this_machine_is_told(whole: Path, images: Path) -> None:
    text = (whole / "accuracy.md").read_text(encoding="utf-8")
    assert f"--images {images.parent.name}/val" in text
    assert f"on 40 images of {images.parent.name}/val" in text
    for name in ("accuracy.md", "results.json", "report.html"):
        assert str(images.parent.parent) not in (whole / name).read_text(encoding="utf-8")
    assert short(Path("/data")) == "data"
    assert short(Path("../a/b/c.toml")) == "b/c.toml"


def test_a_second_run_takes_everything_from_disk(
    whole: Path,
    accuracy: Callable[..., int],
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Evaluation, "float_baseline", lambda _: pytest.fail("float model evaluated again"))
    before = {name: (whole / name).read_bytes() for name in ("accuracy.md", "results.json")}
    began = time.monotonic()
    assert accuracy(GRID, whole) == 0
    assert time.monotonic() - began < 5
    assert measured == []
    out, err = capsys.readouterr()
    assert "4 of 4 points taken from" in err
    assert "uniform" in out
    assert {name: (whole / name).read_bytes() for name in before} == before


def test_a_killed_run_goes_on(
    whole: Path,
    accuracy: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    measured: list[str],
) -> None:
    with monkeypatch.context() as patch:
        breaks_at(patch, LABELS[1], KeyboardInterrupt())
        assert accuracy(GRID, tmp_path) == 130
    assert kept(tmp_path) == {"float.json", "repq_w4_a4.json"}
    assert not (tmp_path / "results.json").exists()
    (tmp_path / "points" / "uniform_w4_a4.json").write_text('{"key": "half a fi')
    del measured[:]
    capsys.readouterr()
    assert accuracy(GRID, tmp_path) == 0
    assert measured == LABELS[1:]
    err = capsys.readouterr().err
    assert "1 of 4 points taken from" in err
    assert "point 2 of 4: repq W3/A3, about" in err
    tables = [read(out / "results.json").tables for out in (whole, tmp_path)]
    assert tables[0].accuracy == tables[1].accuracy
    assert tables[0].fidelity == tables[1].fidelity


def test_what_decides_a_point_voids_it(
    accuracy: Callable[..., int], tmp_path: Path, measured: list[str]
) -> None:
    for options, again in ((ONE, 1), (f"{ONE} --bits 3 --scheme uniform", 0), (f"{ONE} --seed 1", 1)):
        del measured[:]
        assert accuracy(options, tmp_path) == 0
        assert measured == ["uniform W3/A3"] * again
    assert kept(tmp_path) == {"float.json", "uniform_w3_a3.json"}


def test_a_failing_point_loses_no_other(
    accuracy: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    measured: list[str],
) -> None:
    options = "--scheme uniform --bits 4 --bits 3"
    with monkeypatch.context() as patch:
        breaks_at(patch, "uniform W4/A4", InvariantError("a sum of\n[35] bits"))
        assert accuracy(options, tmp_path) == 1
    assert "uniform W4/A4: InvariantError: a sum of [35] bits" in capsys.readouterr().err.replace("\n", " ")
    text = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert "Not measured:\n\n- uniform W4/A4: InvariantError: a sum of [35] bits" in text
    assert [row["W/A"] for row in table(text, "scheme")] == ["3/3"]
    assert read(tmp_path / "results.json").tables.runs == ("uniform W3/A3",)
    assert kept(tmp_path) == {"float.json", "uniform_w3_a3.json"}
    del measured[:]
    assert accuracy(options, tmp_path) == 0
    assert measured == ["uniform W4/A4"]


def test_a_users_mistake_ends_the_command_and_keeps_what_is_done(
    accuracy: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_at(monkeypatch, "uniform W4/A4", UserError("no [mac]"))
    assert accuracy("--scheme uniform --bits 3 --bits 4", tmp_path) == 2
    assert kept(tmp_path) == {"float.json", "uniform_w3_a3.json"}


def test_an_integer_that_differs_is_a_failure(
    accuracy: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = evaluation.execute

    def wrong(*arguments: Any) -> Iterator[tuple[str, np.ndarray]]:
        for place, (name, codes) in enumerate(real(*arguments)):
            yield name, codes + (place == 3)

    monkeypatch.setattr(evaluation, "execute", wrong)
    assert accuracy(ONE, tmp_path) == 1
    assert " differ. Measured by" in (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert ", 0 differ" not in (tmp_path / "accuracy.md").read_text(encoding="utf-8")


def test_hardware_zero_runs_only_where_a_format_has_a_choice(
    accuracy: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    real = evaluation.predict_all
    monkeypatch.setattr(
        evaluation, "predict_all", lambda what, *others: (passes.append(what), real(what, *others))[1]
    )
    assert accuracy("--scheme repq --scheme uniform --bits 3", tmp_path) == 0
    assert passes == [
        "float", "repq W3/A3 fake-quant", "repq W3/A3 fake-quant, hardware zero", "repq W3/A3 integer",
        "uniform W3/A3 fake-quant", "uniform W3/A3 integer",
    ]  # fmt: skip
    rows = {(r.run, r.level): r.top1 for r in read(tmp_path / "results.json").tables.accuracy}
    assert rows["uniform W3/A3", "fakequant_hardware"] == rows["uniform W3/A3", "fakequant"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--bits 1", ["--bits", "from 2 to 8", "not 1"]),
        ("--bits 4 --bits 9", ["--bits", "from 2 to 8", "not 9"]),
        ("--bits four", ["--bits", "integer"]),
        ("--scheme repqvit", ["'repqvit'", ".toml", "did you mean repq?"]),
        ("--scheme repq --scheme nowhere.toml", ["nowhere.toml", "cannot be read"]),
        ("--scheme uniform --scheme twin.toml", ["uniform", "twin.toml", "both named 'uniform'", "another name"]),
        ("--scheme repq --scheme learns.toml", ["scheme learns needs 1024 images", "only 160", "--calib"]),
        ("--scheme lost.toml", ["scheme lost", "'blocks.9.*'", "no site or layer"]),
        ("--model deit_tny_patch16_224 --images . --calib .", ["mean deit_tiny_patch16_224"]),
        ("--images nowhere", ["image folder nowhere", "does not exist"]),
        ("--seed -1", ["--seed", "not be negative"]),
        ("--limit 0", ["--limit", "at least 1"]),
        ("--batch-size 0", ["--batch-size", "at least 1"]),
        ("--check-images 0", ["--check-images", "at least 1"]),
        ("--out twin.toml", ["--out twin.toml", "cannot be written", "another directory"]),
        ("stray", ["stray"]),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_one_line(
    arguments: str,
    says: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    uniform = (files("golden.schemes") / "uniform.toml").read_text(encoding="utf-8")
    Path("twin.toml").write_text(uniform, encoding="utf-8")
    lost = uniform.replace('"uniform"', '"lost"', 1) + '[[layers]]\nmatch = "blocks.9.*"\nweight_bits = 8\n'
    Path("lost.toml").write_text(lost, encoding="utf-8")
    learns = uniform.replace('"uniform"', '"learns"', 1) + "[reconstruction]\n"
    Path("learns.toml").write_text(learns, encoding="utf-8")
    words = arguments.split()
    assert vitrtl("accuracy", *words, *([] if "--out" in words else ["--out", "out"])) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("vitrtl: error: ")
    for part in says:
        assert part in line
    if Path("out").is_dir():
        assert list(Path("out").iterdir()) == []


def test_default_schemes_are_those_that_ship() -> None:
    assert {"repq", "tsptq", "dopq", "uniform", "fqvit", "ptq4vit"} <= set(shipped_defaults())
    for name in shipped_defaults():
        assert load_scheme(name).name == name

"""`vitrtl accuracy`: the table says what results.json says, no finished point is lost, every mistake is one line."""

import itertools
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from golden.digits.dataset import indices, pixels_and_labels
from golden.errors import InvariantError, UserError
from golden.scheme import Reconstruction, load_scheme
from reports import evaluation
from reports.accuracy import shipped_defaults, short
from reports.accuracy_margin import margin, mcnemar
from reports.accuracy_point import Cell, Clock, Plan
from reports.accuracy_published import Published, load_published
from reports.accuracy_survey import Survey
from reports.accuracy_table import markdown
from reports.choice import Bits, Choice
from reports.cli import main
from reports.evaluation import Evaluation, Run
from reports.results import Accuracy, Agreement, Config, Results, SiteFidelity, Tables, read
from reports.workload import load_workload
from sim.accelerator import Accelerator

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
    folder = tmp_path_factory.mktemp("digits") / "val"
    pixels, labels = pixels_and_labels()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for n in [i for i in indices("test") if labels[i] == digit][:4]:
            grey = (pixels[n] * 255 / 16).round().astype("uint8")
            Image.fromarray(grey).save(folder / str(digit) / f"{n:04}.png")
    return folder


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


def test_keys_tell_points_apart(images: Path, tmp_path: Path) -> None:
    accelerator, repq, uniform = Accelerator.load(), load_scheme("repq"), load_scheme("uniform")
    given: dict[str, Any] = {
        "accelerator": accelerator,
        "batch_size": 4,
        "checked_images": 1,
        "float64_images": 0,
        "out": tmp_path,
    }
    faster = Accelerator(clock_mhz=accelerator.clock_mhz + 1, shares=accelerator.shares)
    bits, digits = Bits(weight=4, act=4, prefix="repq"), Choice(model="vitrtl_digits")

    default = Cell(repq, bits)

    def key(cell: Cell | None = default, choice: Choice = digits, **change: Any) -> str:
        return Plan(**given | change).key(load_workload(choice), cell)

    keys = [
        key(),
        key(None),
        key(Cell(repq, Bits(weight=4, act=3, prefix="repq"))),
        key(Cell(uniform, bits)),
        key(Cell(repq.model_copy(update={"reconstruction": Reconstruction()}), bits)),
        key(batch_size=5),
        key(checked_images=2),
        key(float64_images=5),
        key(accelerator=faster),
        key(choice=replace(digits, seed=1)),
        key(choice=replace(digits, images=images)),
        key(choice=replace(digits, images=images, limit=12)),
        key(choice=replace(digits, calib=images)),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]
    # The float model is one for all schemes.
    assert key(None, choice=replace(digits, scheme="uniform"), checked_images=2) == keys[1]


def test_the_time_left_is_judged_by_points_of_the_same_scheme() -> None:
    slow, quick, new = (
        [Bits(weight=bits, act=bits, prefix=scheme) for bits in (8, 4)] for scheme in ("slow", "quick", "new")
    )
    assert Clock({}).left(slow) == ""
    clock = Clock({slow[0]: 600.0, quick[0]: 20.0})
    assert clock.left(quick[1:]) == ", about 20 s left"
    assert clock.left([*slow[1:], *quick[1:]]) == ", about 10 min left"
    assert clock.left(new) == ", about 10 min left"  # 2 x 310 s


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


def test_a_workload_takes_as_many_calibration_images_as_its_scheme_asks_for() -> None:
    work = load_workload(Choice(model="vitrtl_digits", seed=5))
    few = load_scheme("uniform").model_copy(
        update={"calibration": load_scheme("uniform").calibration.model_copy(update={"images": 16})}
    )
    assert work.with_scheme(few).calibration.equal(work.calibration[:16])
    assert work.with_scheme(few).with_scheme(work.scheme).calibration.equal(work.calibration)
    assert work.with_scheme(load_scheme("uniform")).calibration is work.calibration


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


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, Fraction(1)),
        (1, 0, Fraction(1)),  # 2 * 1/2
        (0, 5, Fraction(1, 16)),  # 2 * 1/32
        (1, 5, Fraction(7, 32)),  # 2 * (1 + 6)/64
        (2, 8, Fraction(7, 64)),  # 2 * (1 + 10 + 45)/1024
        (3, 3, Fraction(1)),  # 2 * (1 + 6 + 15 + 20)/64 is above 1
        (12, 2, Fraction(53, 4096)),  # 2 * (1 + 14 + 91)/16384
    ],
)
def test_mcnemar_by_hand(only_first: int, only_second: int, p: Fraction) -> None:
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first) == p


def test_mcnemar_by_enumeration() -> None:
    """Of all ways in which 9 images can favour either, those at least as lopsided."""
    for first in range(10):
        lopsided = sum(
            abs(2 * sum(ways) - 9) >= abs(2 * first - 9) for ways in itertools.product((0, 1), repeat=9)
        )
        assert mcnemar(first, 9 - first) == Fraction(lopsided, 2**9)
    assert 0 < mcnemar(9_000, 10_000) < Fraction(1, 10**11)  # exact where floats are not, and quick
    with pytest.raises(ValueError, match="must not be negative, not -1 and 2"):
        mcnemar(-1, 2)


def test_a_margin_counts_images_that_one_alone_gets_right() -> None:
    labels = (0, 1, 2, 3, 4, 5, 6, 7)
    first, second = (0, 1, 2, 9, 9, 5, 6, 8), (0, 9, 9, 3, 8, 9, 6, 9)
    found = margin(first, second, labels)
    assert (found.only_first, found.only_second, found.n, found.points) == (3, 1, 8, 25.0)
    assert found.p == Fraction(5, 8)  # 2 * (1 + 4)/16
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        margin(first[:-1], second, labels)


def test_published_figures() -> None:
    published = load_published()
    found = published.figures("deit_tiny_patch16_224", "repq", 4, 4)
    assert [(str(f.top1), f.source.kind, f.source.images) for f in found] == [
        ("57.43", "own", 50_000),
        ("57.0", "rerun", 1_000),
    ]
    assert [str(f.top1) for f in published.figures("deit_base_patch16_224.fb_in1k", "dopq", 3, 3)] == [
        "74.91"
    ]
    assert published.figures("vit_base_patch16_224", "adfq", 4, 4)[0].source.kind == "derived"
    for model, scheme, bits in (
        ("deit_tiny_patch16_224", "uniform", 4), ("vitrtl_digits", "repq", 4), ("deit_tiny_patch16_224", "repq", 5),
    ):  # fmt: skip
        assert published.figures(model, scheme, bits, bits) == ()
    for row in published.rows:
        for name, top1 in row.top1.items():
            float32 = published.sources[row.source].float32.get(name)
            assert float32 is None or top1 <= float32 + Decimal("0.2")
    assert {row.scheme for row in published.rows} <= {*shipped_defaults(), "adfq"}
    # A figure's source is something that a reader can find.
    assert not any("/work" in source.cite or ".md" in source.cite for source in published.sources.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "gmpq_te"', 'source = "gmpq"', "unknown or unused sources: gmpq"),
        ("DeiT-T = 57.0 }", "DeiT-Tiny = 57.0 }", "model DeiT-Tiny has no timm names"),
        ("DeiT-T = 57.0 }", "DeiT-T = 570.0 }", "less than 100"),
        ('kind = "own"', 'kind = "hearsay"', "kind"),
        ("act_bits = 8", "act_bits = 9", "act_bits"),
        ('note = "attention map at 4 bits"', "", "stated twice: fqvit 8/8 fqvit_readme"),
        ("[sources.survey]", "[sources.unread]\ncite = 'x'\nkind = 'own'\nimages = 1\n[sources.survey]", "unread"),
        ("images = 50_000", "images = 0", "images"),
        ("float32 = {", "float = {", "float"),
    ],
)  # fmt: skip
def test_a_wrong_published_file_is_refused(old: str, new: str, message: str) -> None:
    text = (files("reports") / "published.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(ValidationError, match=message):
        Published.model_validate(tomllib.loads(text.replace(old, new, 1), parse_float=Decimal))


def test_published_figures_stand_beside_ours_with_their_source() -> None:
    label = "repq W4/A4"
    levels = ("fakequant", "fakequant_hardware", "integer")
    tables = Tables(
        accuracy=(
            Accuracy.of(run="float", level="float", correct=8, n=10),
            *(Accuracy.of(run=label, level=level, correct=7, n=10) for level in levels),  # type: ignore[arg-type]
        ),
        agreement=(Agreement(run=label, pair="integer/fakequant_hardware", percent=90.0, n=10),),
        fidelity=(
            SiteFidelity(run=label, layer=0, site="a|b", code_mismatch_fraction=0.0125, code_mismatch_max=2),
            SiteFidelity(run=label, layer=1, site="c", code_mismatch_fraction=0.01, code_mismatch_max=7),
        ),
    )
    survey = Survey(
        results=Results(
            command="accuracy",
            config=Config(model="deit_tiny_patch16_224"),
            tables=tables,
            tools={"torch": "2"},
        ),
        images="10 images",
        command="vitrtl accuracy",
        grid=(Bits(weight=4, act=4, prefix="repq"),),
        points={label: None},  # type: ignore[dict-item] - margins alone read a point, and there is nothing to compare
        labels=(0,) * 10,
        failures={},
        published=load_published(),
    )
    text = markdown(survey)
    assert "| 1.25 (a\\|b) | 7 | 57.43 [1]; 57.0 [2] |" in text
    assert "- [1] README of github.com/zkkli/RepQ-ViT (RepQ-ViT, ICCV 2023, arXiv 2212.08254); " in text
    assert "; 50,000 images, float32 72.21\n- [2] " in text
    assert "- [2] run again elsewhere: RepQ-ViT's released code" in text
    assert "McNemar" not in text

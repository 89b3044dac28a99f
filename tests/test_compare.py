"""vitrtl compare: directions, intervals, missing metrics, what the user gets wrong."""

from pathlib import Path

import pytest

from reports.cli import main
from reports.compare import changes, verdict
from reports.metrics import Metric
from reports.results import Accuracy, Config, LayerCycles, Results, Tables, write


def metric(value: float, better: bool | None = True, **more: float) -> Metric:
    return Metric(value=value, unit="x", higher_is_better=better, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (metric(1), metric(2), "better"),
        (metric(2), metric(1), "worse"),
        (metric(1, False), metric(2, False), "worse"),
        (metric(2, False), metric(1, False), "better"),
        (metric(1, None), metric(2, None), "changed"),
        (metric(1), metric(1), "same"),
        (None, metric(1), "new"),
        (metric(1), None, "gone"),
        # An accuracy moves for certain only beyond both intervals.
        (metric(70, low=66.0, high=74.0), metric(72, low=68.0, high=76.0), "within the interval"),
        (metric(60, low=56.0, high=64.0), metric(72, low=68.0, high=76.0), "better"),
    ],
)
def test_verdict(before: Metric | None, after: Metric | None, expected: str) -> None:
    assert verdict(before, after) == expected


def test_what_got_worse_comes_first() -> None:
    found = changes(
        {"a": metric(1), "b": metric(1), "c": metric(1)}, {"a": metric(2), "b": metric(0), "d": metric(1)}
    )
    assert [(change.name, change.verdict) for change in found] == [
        ("b", "worse"), ("a", "better"), ("c", "gone"), ("d", "new"),
    ]  # fmt: skip


def results(folder: Path, cycles: int, correct: int = 50, model: str = "m") -> Path:
    tables = Tables(
        accuracy=(Accuracy.of(run="W4/A4", level="integer", correct=correct, n=100),),
        cycles=(LayerCycles(run="W4/A4", layer="l", unit="mac", cycles=cycles),),
    )
    write(Results(command="simulate", config=Config(model=model), tables=tables), folder)
    return folder


def compare(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> int:
    monkeypatch.setattr("sys.argv", ["vitrtl", "compare", *map(str, paths)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    one, other = results(tmp_path / "a", 100), results(tmp_path / "b", 90, model="n")
    assert compare(monkeypatch, one, other / "results.json") == 0
    out = capsys.readouterr().out
    assert "cycles__per_image" in out
    assert "not the same model: m, then n" in out
    assert "1 better" in out
    assert compare(monkeypatch, other, one) == 1
    assert "1 worse" in capsys.readouterr().out


def test_mistakes_take_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = results(tmp_path / "a", 100)
    write(Results(command="merge"), tmp_path / "empty")
    for other, said in ((tmp_path / "none", "cannot read"), (tmp_path / "empty", "no metric in common")):
        assert compare(monkeypatch, known, other) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1

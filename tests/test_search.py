"""The search: its survivors, its verdict on everything measured, and the command."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from golden.scheme import Scheme, load_scheme
from reports.cli import main
from reports.results import read
from reports.search import request as asked
from reports.search import run as running
from reports.search.area_model import size
from reports.search.proxy import Estimate
from reports.search.survivors import front, survivors
from reports.search.verdict import Candidate, best_uniform, dominated, rank_correlation, verdict
from reports.tradeoff.hardware import Fitting
from reports.tradeoff.needs import fit
from reports.tradeoff.rows import DesignPart
from sim.accelerator import Accelerator
from tests.search_sample import found


def test_survivors_are_challengers_and_the_front() -> None:
    every = [
        found(0, 9, 90),
        found(1, 20, 300),
        found(2, 8, 80),
        found(3, 5, 70),
        found(4, 4, 75),
        found(5, 7, 100),
    ]
    assert [each.number for each in front(every, ("area",))] == [1, 0, 2, 3]
    rival = {"area": 100.0, "weight_kib": 1.0, "cycles": 100.0}
    assert [each.number for each in survivors(every, ("area",), rival, 4)] == [0, 1, 2, 3]
    assert [each.number for each in survivors(every, ("area",), rival | {"cycles": 99.0}, 2)] == [1, 3]


def candidate(
    run: str, top1: float, area: float, kib: float = 10.0, dsps: float = 0, *, mixed: bool = True
) -> Candidate:
    """A configuration of such figures."""
    estimate = Estimate(logits_db=1, sites_db=1, agreement=1, weight_kib=kib, cycles=100)
    return Candidate(run=run, mixed=mixed, top1=top1, area=area, dsps=dsps, estimate=estimate, predicted=area)


def test_dominance_compares_everything() -> None:
    base = candidate("u", 98.0, 100, dsps=4, mixed=False)
    assert candidate("m", 98.0, 99, dsps=4).dominates(base)
    assert candidate("m", 98.0, 100, kib=9, dsps=4).dominates(base)
    assert not candidate("m", 98.0, 100, dsps=4).dominates(base), "equal in everything"
    assert not candidate("m", 97.9, 50, dsps=4).dominates(base)
    assert not candidate("m", 99.0, 50, kib=11, dsps=4).dominates(base)
    assert not candidate("m", 99.0, 50, dsps=5).dominates(base)


def test_the_verdict_is_on_the_best_uniform_point() -> None:
    low, best = candidate("u3", 95.0, 50, mixed=False), candidate("u4", 98.0, 100, mixed=False)
    none = [low, best, candidate("m1", 97.0, 40)]
    assert best_uniform(none) is best
    assert dominated(none) == {"u3": ("m1",)}
    assert verdict(none, "LUT").startswith("No mixed configuration of this search dominates the best")
    told = verdict([*none, candidate("m2", 98.0, 90, 8.0)], "LUT")
    assert told.startswith("m2 dominates the best uniform-width point, u4")
    assert "10.0 % less LUT" in told
    assert "20.0 % less weight memory for +0.00 points" in told


def test_rank_correlation_without_a_rank_is_unknown() -> None:
    assert rank_correlation([1, 2, 3], [5, 4, 1]) == -1
    assert rank_correlation([1, 2, 3], [5, 5, 5]) is None
    assert rank_correlation([1, 2], [1, 2]) is None


# The command


def vitrtl(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Runs the command in this process; its exit code."""
    monkeypatch.setattr("sys.argv", ["vitrtl", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--range 8-3", "--range must be two widths from 2 to 8, such as 3-8"),
        ("--range 3", "--range must be"),
        ("--per head", "--per must be one of kind, block, layer"),
        ("--budget luts=4", "--budget must be such as area=50000"),
        ("--budget cycles=0", "--budget must be"),
        ("--minimise power", "--minimise must be one of area, weight_kib, cycles"),
        ("--target gold", "--target must be one of"),
        ("--target asic", "--liberty FILE"),
        ("--trials 0", "--trials must be at least 1"),
        ("--uniform 9", "--weight-bits must be from 2 to 8"),
        ("--scheme adfq", "name another scheme first"),
        ("--scheme repqq", "did you mean repq?"),
    ],
)
def test_mistakes_are_one_line(
    options: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert vitrtl(monkeypatch, "search", *options.split(), "--out", str(tmp_path / "out")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert says in lines[0]


def test_a_missing_optuna_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asked.importlib.util, "find_spec", lambda name: None)
    assert vitrtl(monkeypatch, "search", "--out", str(tmp_path / "out")) == 2
    assert "pip install 'vitrtl[search]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def sized(
    points: dict[str, object], accelerators: dict[str, Accelerator], wanted: SimpleNamespace
) -> Fitting:
    """Stands for synthesis: ten LUTs for each bit that the area model counts."""
    (accelerator,), (target,) = accelerators.values(), wanted.targets
    return Fitting(
        parts={
            (run, target): tuple(
                DesignPart(
                    run=run, unit=need.unit, edge=need.edge, spec="spec", specs=need.specs, copies=count,
                    operations=need.operations, target=target, luts=10 * size(need.spec), tools="none 1",
                )
                for need, count in fit(point.needs, accelerator)  # type: ignore[attr-defined]
            )
            for run, point in points.items()
        },
        failures=(),
    )  # fmt: skip


def test_a_search_of_the_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "fitted", sized)
    out = tmp_path / "out"
    command = (
        f"search --scheme repq --range 3-5 --uniform 4 --survivors 1 --proxy-images 8 --out {out} --trials"
    )
    assert vitrtl(monkeypatch, *command.split(), "3") == 0
    results = read(out / "results.json")
    run = next(design.run for design in results.tables.designs if design.run.startswith("mixed-"))
    assert results.command == "search"
    assert {design.run for design in results.tables.designs} == {"repq W4/A4", run}
    file = out / "schemes" / f"{run.partition(' ')[0]}.toml"
    design = next(design for design in results.tables.designs if design.run == run)
    assert Scheme.model_validate(design.config["scheme"]) == load_scheme(str(file))
    summary = (out / "search.md").read_text(encoding="utf-8")
    assert "the best uniform-width point, repq W4/A4" in summary
    assert "rank correlation of SQNR of the logits with integer top-1" in summary
    before = results.tables.designs
    capsys.readouterr()
    assert vitrtl(monkeypatch, *command.split(), "3") == 0
    assert "1 of 1 points taken from" in capsys.readouterr().err, "a finished search measures nothing again"
    assert read(out / "results.json").tables.designs == before

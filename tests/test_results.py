"""results.json: the schema round trip, metrics that follow from the tables, and refusals."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from golden.errors import UserError
from reports.results import (
    Accuracy,
    Agreement,
    Config,
    Exactness,
    LayerCycles,
    Metric,
    Results,
    SiteFidelity,
    Speed,
    Tables,
    UnitArea,
    UnitVerification,
    read,
    wilson,
    write,
)

RUNS = ("W4/A4", "W8/A8")


def verification(**change: Any) -> UnitVerification:
    row: dict[str, Any] = {"unit": "mac", "spec": "s8", "simulator": "Icarus Verilog 11.0", "beats": 500,
                           "mismatches": 0, "cycle_mismatches": 0, "protocol_errors": 0,
                           "seconds": 2.5, "passed": True}  # fmt: skip
    return UnitVerification(**(row | change))


def area(**change: Any) -> UnitArea:
    row: dict[str, Any] = {
        "unit": "mac",
        "spec": "s8",
        "target": "ecp5",
        "luts": 120,
        "tools": "Yosys 0.70",
        "flags": "-abc9",
    }
    return UnitArea(**(row | change))


def complete(runs: tuple[str, ...] = RUNS) -> Results:
    """A row of every kind; made up."""
    return Results(
        command="demo",
        config=Config(model="vit_test", clock_mhz=200.0, seed=3, bits=[4, 8], nested={"a": 1}),
        tools={"torch": "2.13.0"},
        tables=Tables(
            accuracy=(
                Accuracy.of(run="float", level="float", correct=97, n=100),
                *(Accuracy.of(run=run, level="integer", correct=90 + k, n=100) for k, run in enumerate(runs)),
            ),
            agreement=tuple(Agreement(run=run, pair="integer/fakequant", percent=99.0, n=100) for run in runs),
            fidelity=tuple(
                SiteFidelity(run=run, layer=layer, site=site, sqnr_integer_db=20.5 + layer,
                             code_mismatch_fraction=0.01 * layer, code_mismatch_max=layer)
                for run in runs for layer, site in enumerate(("patch_embed", "head"))
            ),
            exactness=tuple(Exactness(run=run, tensors=2, integers=640, differing=0) for run in runs),
            cycles=tuple(
                LayerCycles(run=run, layer=layer, unit="mac", cycles=cycles)
                for run in runs for layer, cycles in (("patch_embed", 1000), ("head", 500))
            ),
            verification=(verification(), verification(spec="s4", beats=300, passed=False, mismatches=2)),
            area=(area(brams=0, fmax_mhz=151.5), area(spec="s4", luts=None)),
            speed=(
                Speed(run="float", implementation="float", images=100, seconds=2.0),
                Speed(run=runs[0], implementation="sim", images=100, seconds=1.0),
            ),
        ),
    )  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for results in (complete(), complete(("W6/A6",)), Results(command="verify")):
        path = write(results, tmp_path / "new" / "folder")
        assert [p.name for p in path.parent.iterdir()] == ["results.json"]
        assert read(path) == results
        assert read(path).metrics == results.metrics


def test_the_document_has_the_keys_of_the_schema() -> None:
    document = complete().document()
    assert list(document) == ["schema", "command", "config", "tools", "metrics", "tables"]
    assert document["schema"] == "vitrtl-results/1"
    for metric in document["metrics"].values():
        assert {"value", "unit", "higher_is_better"} <= set(metric)
    assert document["metrics"]["images__count"]["higher_is_better"] is None
    assert list(Results(command="verify").document()["tables"]) == []


def test_an_unknown_is_absent() -> None:
    def nulls(node: Any, path: str = "") -> list[str]:
        if isinstance(node, dict):
            return [found for key, value in node.items() for found in nulls(value, f"{path}/{key}")]
        if isinstance(node, list):
            return [found for value in node for found in nulls(value, path)]
        return [path] if node is None else []

    document = complete().document()
    assert {path.rsplit("/", 1)[1] for path in nulls(document)} == {"higher_is_better"}
    assert "sqnr_fakequant_db" not in document["tables"]["fidelity"][0]
    assert "luts" not in document["tables"]["area"][1]
    metrics = complete().metrics
    assert "area__mac__ecp5__s4__luts" not in metrics
    assert "area__mac__ecp5__s8__dsps" not in metrics
    assert metrics["area__mac__ecp5__s8__brams"].value == 0
    assert not any("fakequant__worst_sqnr" in name for name in metrics)
    without_clock = complete().model_copy(update={"config": Config(model="vit_test")})
    assert not any(name.startswith("time__") for name in without_clock.metrics)


def test_one_unknown_count_makes_the_sum_unknown() -> None:
    hung = verification(spec="s2", beats=0, passed=False, cycle_mismatches=None, protocol_errors=None)
    metrics = Results(command="verify", tables=Tables(verification=(verification(), hung))).metrics
    assert metrics["verify__mismatches"].value == 0
    assert "verify__cycle_mismatches" not in metrics
    assert metrics["verify__failed"].value == 1


def test_metrics_follow_from_the_tables() -> None:
    values = {name: metric.value for name, metric in complete().metrics.items()}
    low, high = wilson(90, 100)
    assert complete().metrics["accuracy__integer__top1__w4a4"] == Metric(
        value=90.0, unit="%", higher_is_better=True, n=100, low=low, high=high
    )
    assert values == {
        "accuracy__float__top1": 97.0, "accuracy__integer__top1__w4a4": 90.0, "accuracy__integer__top1__w8a8": 91.0,
        "images__count": 100,
        "agreement__integer_fakequant__w4a4": 99.0, "agreement__integer_fakequant__w8a8": 99.0,
        "fidelity__integer__worst_sqnr__w4a4": 20.5, "fidelity__integer__worst_sqnr__w8a8": 20.5,
        "fidelity__codes__worst_mismatch_fraction__w4a4": 0.01,
        "fidelity__codes__worst_mismatch_fraction__w8a8": 0.01,
        "fidelity__codes__largest_difference__w4a4": 1, "fidelity__codes__largest_difference__w8a8": 1,
        "exactness__differing__w4a4": 0, "exactness__differing__w8a8": 0,
        "exactness__compared__w4a4": 640, "exactness__compared__w8a8": 640,
        "cycles__per_image__w4a4": 1500, "cycles__per_image__w8a8": 1500,
        "time__per_image__w4a4": 0.0075, "time__per_image__w8a8": 0.0075,
        "verify__failed": 1, "verify__vectors": 800, "verify__mismatches": 2, "verify__cycle_mismatches": 0,
        "verify__protocol_errors": 0,
        "area__mac__ecp5__s8__luts": 120, "area__mac__ecp5__s8__brams": 0, "fmax__mac__ecp5__s8": 151.5,
        "float__images_per_second": 50.0, "sim__images_per_second__w4a4": 100.0, "sim__speed_vs_float__w4a4": 2.0,
    }  # fmt: skip


def test_one_run_and_one_spec_need_no_suffix() -> None:
    names = set(complete(("W6/A6",)).metrics)
    assert {"accuracy__integer__top1", "cycles__per_image", "agreement__integer_fakequant"} <= names
    assert set(Results(command="area", tables=Tables(area=(area(),))).metrics) == {"area__mac__ecp5__luts"}


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # Newcombe 1998, table I (81/263, 15/148, 0/20, 1/29), four decimals.
    [(81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05), (0, 20, 0.0, 16.11), (1, 29, 0.61, 17.18)],
)
def test_wilson_gives_the_published_intervals(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=0.005)
    mirrored = wilson(n - correct, n)
    assert mirrored == pytest.approx((100 - high, 100 - low), abs=0.005)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        wilson(correct, n)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused_everywhere(value: float) -> None:
    for make in (
        lambda: SiteFidelity(run="W4/A4", layer=0, site="head", sqnr_integer_db=value),
        lambda: verification(seconds=value),
        lambda: area(fmax_mhz=value),
        lambda: Config(clock_mhz=value),
        lambda: Config(extra=value),
        lambda: Config(extra={"deep": [value]}),
        lambda: Metric(value=value, unit="1", higher_is_better=None),
    ):
        with pytest.raises(ValidationError, match=r"finite|greater than"):
            make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Accuracy(run="W4/A4", level="float", top1=1.0, n=1, low=0.0, high=2.0), "go together"),
        (lambda: Accuracy(run="float", level="integer", top1=1.0, n=1, low=0.0, high=2.0), "go together"),
        (lambda: Accuracy(run="W4/A4", level="integer", top1=3.0, n=1, low=0.0, high=2.0), "must lie in"),
        (lambda: verification(beats=0), "cannot have passed with 0 beats"),
        (lambda: verification(mismatches=1), "cannot have passed"),
        (lambda: verification(cycle_mismatches=None), "cannot have passed"),
        (lambda: verification(protocol_errors=1), "cannot have passed"),
        (lambda: Exactness(run="W4/A4", tensors=1, integers=0, differing=0), "greater than or equal to 1"),
        (lambda: SiteFidelity(run="r", layer=0, site="s", code_mismatch_fraction=0.1, code_mismatch_max=0), "most 0"),
        (lambda: area(luts=-1), "greater than or equal to 0"),
        (lambda: area(luts=1.0), "valid integer"),
        (lambda: area(lut=1), "Extra inputs"),
        (lambda: Tables(area=(area(), area())), "area has two rows"),
        (lambda: Results(command="x", tables=Tables(area=(area(spec="S-8"), area(spec="s 8")))), "two rows give"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


def test_rows_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        area().luts = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="vitrtl-results/9"), r"has schema 'vitrtl-results/9', this version reads"),
        (lambda d: d.pop("schema"), "has schema None"),
        (lambda d: d.pop("command"), "is not valid at command"),
        (lambda d: d["tables"]["accuracy"][0].update(n=-1), r"is not valid at tables\.accuracy\.0\.n"),
        (lambda d: d["tables"].update(extra=[]), r"is not valid at tables\.extra"),
        (lambda d: d["tables"]["verification"][1].update(passed=True), r"cannot have passed"),
        (
            lambda d: d["metrics"]["verify__mismatches"].update(value=0),
            "metric verify__mismatches is not what",
        ),
        (
            lambda d: d["metrics"].update(made__up=d["metrics"]["verify__failed"]),
            "metric made__up is not what",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(tmp_path: Path, change: Any, message: str) -> None:
    path = write(complete(), tmp_path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\x00"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is not a JSON object"):
        read(path)


def test_missing_files_and_unwritable_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*results\.json: No such file"):
        read(tmp_path / "results.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .* give --out a directory"):
        write(complete(), tmp_path / "file")


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(complete(), tmp_path)
    before = path.read_bytes()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reports.whole_file.os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write(Results(command="verify"), tmp_path)
    assert path.read_bytes() == before

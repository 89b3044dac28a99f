"""Accumulators of a width of the user's choice: the command's options, counts of overflows in results and report."""

import sys
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from golden.digits.dataset import indices, pixels_and_labels
from golden.program import Program
from reports.cli import main
from reports.overflow_table import Overflow
from reports.page import render
from reports.results import Results, Tables, read

ROWS = (
    Overflow(run="W8/A8", operation="patch_embed.proj_acc", unit="mac", outputs=4000, overflowed=1),
    Overflow(run="W8/A8", operation="blocks.0.attn.mix_acc", unit="log2_mac", outputs=1000, overflowed=250),
    Overflow(run="W8/A8", operation="head_acc", unit="mac", outputs=20, overflowed=0),
)


def test_metrics_say_how_often_and_how_many() -> None:
    results = Results(command="simulate", tables=Tables(overflows=ROWS))
    assert {name: metric.value for name, metric in results.metrics.items()} == {
        "overflow__outputs": 251, "overflow__fraction": 251 / 5020, "overflow__worst_fraction": 0.25,
        "overflow__operations": 2, "overflow__counted": 5020,
    }  # fmt: skip
    both = tuple(row.model_copy(update={"run": "W4/A4"}) for row in ROWS[:1])
    metrics = Results(command="simulate", tables=Tables(overflows=ROWS + both)).metrics
    assert metrics["overflow__outputs__w4a4"].value == 1
    assert metrics["overflow__outputs__w8a8"].value == 251


def test_the_page_says_where_worst_first() -> None:
    page = render(Results(command="simulate", tables=Tables(overflows=ROWS)))
    assert "251 of 5,020 outputs, 5.000 %" in page
    assert page.index("blocks.0.attn.mix_acc") < page.index("patch_embed.proj_acc") < page.index("head_acc")
    assert "25.000" in page
    assert 'id="overflows"' not in render(Results(command="simulate"))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"overflowed": 4001}, "4001 of 4000 outputs"), ({"outputs": 0}, "greater than or equal to 1")],
)
def test_counts_that_cannot_be_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Overflow(**ROWS[0].model_dump() | change)
    with pytest.raises(ValidationError, match="overflows has two rows"):
        Tables(overflows=ROWS[:1] * 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--acc-bits 16", ["--acc-bits 16", "--acc-overflow wrap or saturate"]),
        ("--acc-overflow wrap", ["--acc-overflow wrap", "--acc-bits"]),
        ("--acc-bits 7 --acc-overflow wrap", ["--acc-bits", "from 8 to 62", "not 7"]),
        ("--acc-bits 63 --acc-overflow wrap", ["--acc-bits", "from 8 to 62", "not 63"]),
        ("--acc-bits 16 --acc-overflow clip", ["--acc-overflow", "wrap or saturate", "not clip"]),
        ("--acc-bits few --acc-overflow wrap", ["--acc-bits", "integer"]),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    arguments: str,
    says: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert vitrtl(monkeypatch, f"simulate {arguments}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vitrtl: error: ")
    assert all(part in line for part in says)
    assert list(tmp_path.iterdir()) == []


def vitrtl(monkeypatch: pytest.MonkeyPatch, arguments: str) -> int | str | None:
    """Runs the command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["vitrtl", *arguments.split()])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_simulate_counts_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels, labels = pixels_and_labels()
    for digit in range(10):
        (tmp_path / "images" / str(digit)).mkdir(parents=True)
        first = next(i for i in indices("test") if labels[i] == digit)
        grey = (pixels[first] * 255 / 16).round().astype("uint8")
        Image.fromarray(grey).save(tmp_path / "images" / str(digit) / "0.png")
    monkeypatch.chdir(tmp_path)
    arguments = (
        "simulate --images images --limit 4 --batch-size 1 --out out --acc-bits 17 --acc-overflow saturate"
    )
    assert vitrtl(monkeypatch, arguments) == 0
    results = read(tmp_path / "out" / "results.json")
    config = results.config.model_dump()
    assert (config["acc_bits"], config["acc_overflow"]) == (17, "saturate")
    provenance = Program.load(tmp_path / "out" / "program_w8a8.safetensors").provenance
    assert (provenance["acc_bits"], provenance["acc_overflow"]) == (17, "saturate")
    assert results.metrics["exactness__differing"].value == 0
    rows = {row.operation: row for row in results.tables.overflows}
    program = Program.load(tmp_path / "out" / "program_w8a8.safetensors")
    assert list(rows) == [o.name for o in program.operations if "overflow" in o.parameters]
    # Two checked images, 17 tokens, 48 channels.
    assert rows["blocks.0.attn.proj_acc"].outputs == 2 * 17 * 48
    assert results.metrics["overflow__outputs"].value > 0
    said = capsys.readouterr().out
    assert "Accumulators that overflowed" in said
    assert f"{results.metrics['overflow__outputs'].value:,}" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert "accumulator of 17 bits, where it saturates" in page

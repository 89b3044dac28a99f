"""`vitrtl cycles`: what simulate counts, from sizes alone, without torch, in less than a second."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from golden.program import Program
from reports.cli import main
from reports.outline import outline
from reports.outline.formats import Formats, read_scheme
from reports.outline.sizes import sizes_of
from reports.results import read
from sim.accelerator import Accelerator
from sim.schedule import cycles_per_image, schedule

MEMORY = """
[memory]
bandwidth_bytes_per_cycle = 16
weight_buffer_kib = 64
activation_buffer_kib = 128
double_buffered = true
"""


@pytest.fixture
def vitrtl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Runs the command in an empty folder; its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["vitrtl", "cycles", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        return int(done.value.code or 0)

    return run


def with_memory(folder: Path) -> Path:
    """The shipped description with a memory."""
    source = Path(__file__).parents[1] / "sim" / "accelerators" / "default.toml"
    file = folder / "board.toml"
    file.write_text(source.read_text(encoding="utf-8") + MEMORY, encoding="utf-8")
    return file


def test_the_digits_model_as_simulated(
    vitrtl: Callable[..., int], digits_program: Callable[[int], Program], capsys: pytest.CaptureFixture[str]
) -> None:
    assert vitrtl("--model", "vitrtl_digits", "--weight-bits", "4", "--act-bits", "4", "--out", "out") == 0
    entries = schedule(digits_program(4), Accelerator.load())
    results = read(Path("out/results.json"))
    assert [(row.layer, row.unit, row.cycles, row.operations) for row in results.tables.cycles] == [
        (entry.operation, entry.unit, entry.cycles, entry.work) for entry in entries
    ]
    assert results.tables.runs == ("W4/A4",)
    said = capsys.readouterr().out
    assert f"{cycles_per_image(entries):,} cycles" in said
    assert "memory is not modelled" in said
    assert "cycles of one image" in Path("out/report.html").read_text(encoding="utf-8").lower()
    assert not list(Path("out").glob("*.partial"))
    with Path("out/cycles.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["cycles"]) for row in rows] == [entry.cycles for entry in entries]
    assert {(row["memory_cycles"], row["constant_bytes"], row["bound"]) for row in rows} == {
        ("", "", "compute")
    }


def test_with_a_memory(
    vitrtl: Callable[..., int], digits_program: Callable[[int], Program], capsys: pytest.CaptureFixture[str]
) -> None:
    file = with_memory(Path.cwd())
    bits = ("--weight-bits", "4", "--act-bits", "4")
    assert vitrtl("--model", "vitrtl_digits", *bits, "--out", "out", "--accelerator", str(file)) == 0
    entries = schedule(digits_program(4), Accelerator.load(file))
    with Path("out/cycles.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row, entry in zip(rows, entries, strict=True):
        assert entry.traffic is not None
        assert int(row["cycles"]) == entry.cycles
        assert int(row["memory_cycles"]) == entry.memory_cycles
        assert int(row["constant_bytes"]) == entry.traffic.constants
        assert int(row["activation_bytes"]) == entry.traffic.activations
        assert row["bound"] == entry.bound
    config = json.loads(Path("out/results.json").read_text(encoding="utf-8"))["config"]
    assert config["accelerator"] == "board.toml"
    assert config["memory"]["bandwidth_bytes_per_cycle"] == 16
    assert config["constant_bytes"] == sum(e.traffic.constants for e in entries if e.traffic is not None)
    assert f"{config['memory_bound_operations']} of {len(entries)} operations" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "deit_bass_patch16_224"), "nearest known names are deit_base_patch16_224"),
        (("--scheme", "repk"), "unknown scheme 'repk'"),
        (("--scheme", "adfq"), "state a length with --outlier-capacity"),
        (("--scheme", "adfq", "--outlier-capacity", "65"), "--outlier-capacity must be from 1 to 64, not 65"),
        (("--weight-bits", "9"), "--weight-bits must be from 2 to 8, not 9"),
        (("--accelerator", "none.toml"), "none.toml is not a readable accelerator description"),
    ],
)
def test_mistakes_are_one_line(
    vitrtl: Callable[..., int], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert vitrtl(*arguments, "--out", "out") == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("out/results.json").exists()


def test_lists_of_a_stated_length(vitrtl: Callable[..., int]) -> None:
    """The longer the lists, the longer outlier_mac takes."""
    total = []
    for capacity in ("1", "8"):
        assert vitrtl("--model", "vitrtl_digits", "--scheme", "adfq", "--outlier-capacity", capacity) == 0
        rows = read(Path("out/cycles/results.json")).tables.cycles
        total.append(sum(row.cycles for row in rows if row.unit == "outlier_mac"))
    assert total[0] < total[1]


def test_deit_base_from_the_shell_without_torch(tmp_path: Path) -> None:
    """Neither torch nor timm in the process: each of them alone takes longer to import than all the rest."""
    code = (
        "import sys; from reports.cli import main; sys.argv[1:] = ['cycles', '--weight-bits', '4', "
        "'--act-bits', '4']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'timm'} & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    formats = Formats(scheme=read_scheme("repq"), weight_bits=4, act_bits=4)
    entries = schedule(outline(sizes_of("deit_base_patch16_224"), formats), Accelerator.load())
    assert f"{cycles_per_image(entries):,} cycles" in done.stdout

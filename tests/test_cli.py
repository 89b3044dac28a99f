"""The command: every mistake is one line and exit code 2, nothing is left half written, help is instant."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from golden import digits
from golden.digits.dataset import indices, pixels_and_labels
from reports.cli import main
from reports.results import read

ALL_TEN = tuple(str(digit) for digit in range(10))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def images(folder: Path) -> Path:
    """Two test digits of each class as image files, whole pixels of the model's input."""
    pixels, labels = pixels_and_labels()
    for digit in range(10):
        (folder / "images" / str(digit)).mkdir(parents=True)
        for n in [i for i in indices("test") if labels[i] == digit][:2]:
            grey = (pixels[n] * 255 / 16).round().astype("uint8")
            Image.fromarray(grey).save(folder / "images" / str(digit) / f"{n:04}.png")
    return folder / "images"


def vitrtl(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Runs the command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["vitrtl", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    *says: str,
    late: int = 0,
) -> None:
    """`vitrtl arguments --out out` answers with one line that says all of `says`, and leaves nothing behind.

    Where the mistake shows only later, the bars of at most `late` pieces of work stand above that line.
    """
    capsys.readouterr()
    words = arguments.split()
    assert vitrtl(monkeypatch, *words, *([] if "--out" in words else ["--out", "out"])) == 2
    out, err = capsys.readouterr()
    *before, line = err.splitlines()
    assert all(bar.rstrip().endswith(("left 0:00:00", "left -:--:--")) for bar in before), err
    assert len(before) <= late
    assert line.startswith("vitrtl: error: ")
    assert "Traceback" not in out + err
    for part in says:
        assert part in line
    if Path("out").is_dir():
        assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("simulate --weight-bits 1", ["--weight-bits", "from 2 to 8", "not 1"]),
        ("simulate --weight-bits 9", ["--weight-bits", "from 2 to 8", "not 9"]),
        ("verify --act-bits 0", ["--act-bits", "from 2 to 8", "not 0"]),
        ("simulate --act-bits four", ["--act-bits", "integer"]),
        ("simulate --scheme repqvit", ["'repqvit'", "repq", ".toml", "did you mean repq?"]),
        ("simulate --scheme nowhere.toml", ["nowhere.toml", "cannot be read"]),
        ("simulate --model deit_tny_patch16_224 --images . --calib .", ["deit_tny", "mean deit_tiny_patch16_224"]),
        ("simulate --model deit_tiny_patch16_224", ["--images and --calib", "deit_tiny_patch16_224"]),
        ("simulate --weights nowhere.safetensors", ["nowhere.safetensors", "does not exist"]),
        ("simulate --images nowhere", ["image folder nowhere", "does not exist"]),
        ("simulate --calib nowhere", ["image folder nowhere", "does not exist"]),
        ("simulate --seed -1", ["--seed", "not be negative", "-1"]),
        ("simulate --limit 0", ["--limit", "at least 1", "not 0"]),
        ("simulate --batch-size 0", ["--batch-size", "at least 1", "not 0"]),
        ("simulate --check-images 0", ["--check-images", "at least 1", "not 0"]),
        ("verify --rows 0", ["--rows", "at least 1", "not 0"]),
        ("verify sofmax", ["'sofmax'", "softmax"]),
        ("simulate --accelerator nowhere.toml", ["nowhere.toml", "accelerator description"]),
        ("simulate --optoin 3", ["--optoin"]),
        ("simulate stray", ["stray"]),
        ("simulat", ["simulat"]),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_one_line(
    arguments: str,
    says: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused(monkeypatch, capsys, arguments, *says)


def test_wrong_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def simulate(file: str, *says: str) -> None:
        refused(monkeypatch, capsys, f"simulate --weights {file}", file, *says)

    (folder / "noise.safetensors").write_bytes(bytes(range(256)) * 8)
    simulate("noise.safetensors", "not a readable safetensors file")
    whole = digits.WEIGHTS.read_bytes()
    for length in (0, 5, 4000, len(whole) - 1):
        (folder / "cut.safetensors").write_bytes(whole[:length])
        simulate("cut.safetensors", "safetensors" if length else "empty")
    (folder / "noise.pth").write_bytes(b"not a pickle at all")
    simulate("noise.pth", "torch file")

    state = load_file(digits.WEIGHTS)
    wrong = {name: value for name, value in state.items() if name != "norm.bias"}
    wrong["blocks.0.mlp.fc1.weight"] = torch.zeros(7, 48)
    wrong["extra"] = torch.zeros(1)
    save_file(wrong, folder / "other.safetensors")
    simulate(
        "other.safetensors", "missing norm.bias", "unexpected extra",
        "blocks.0.mlp.fc1.weight (7, 48) instead of (192, 48)",
    )  # fmt: skip
    save_file(state | {"norm.bias": torch.full((48,), torch.nan)}, folder / "nan.safetensors")
    simulate("nan.safetensors", "not finite norm.bias")


def test_wrong_images(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def simulate(options: str, *says: str, late: int = 0) -> None:
        refused(monkeypatch, capsys, f"simulate --images images {options}", *says, late=late)

    def class_map(*lines: str) -> str:
        Path("map.txt").write_text("\n".join(lines), encoding="utf-8")
        return "--class-map map.txt"

    simulate("--limit 0", "--limit", "at least 1")
    simulate(class_map("other", *ALL_TEN[1:]), "images/0", "not in class map map.txt")
    simulate(class_map(*ALL_TEN[:9], "3"), "map.txt", "names 3 twice", "class 9")
    simulate(class_map(*ALL_TEN[:9]), "map.txt has 9 classes", "10")
    simulate("--class-map nowhere.txt", "nowhere.txt", "cannot be read")

    (images / "7" / "0000.png").write_text("no image")
    simulate("", "images/7/0000.png", "cannot be decoded", late=1)
    (images / "more").mkdir()
    simulate("", "11 class folders", "10 classes", "--class-map")
    Path("empty").mkdir()
    refused(monkeypatch, capsys, "simulate --images empty", "empty holds no images", "<class folder>/<file>")
    refused(monkeypatch, capsys, "simulate --calib empty", "empty holds no images")
    refused(monkeypatch, capsys, "simulate --images map.txt", "map.txt is not a folder")


def test_too_few_images_to_calibrate(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(monkeypatch, capsys, "simulate --calib images", "needs 32 images", "only 20")


def test_wrong_toml_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def given(option: str, text: str, *says: str) -> None:
        Path("file.toml").write_text(text, encoding="utf-8")
        refused(monkeypatch, capsys, f"simulate --{option} file.toml", "file.toml", *says)

    given("accelerator", "clock_mhz = 100\n[sofmax]\ncopies = 1\n", "'sofmax'", "'softmax'")
    given("accelerator", "clock_mhz = 100\n[mac]\nrow = 4\ncolumns = 2\n", "[mac]", "'row'", "'rows'")
    given("accelerator", "clock", "accelerator description")
    given("scheme", 'name = "x"\nnote = 1\n', "note")
    given("scheme", "name = ", "not valid TOML")


def test_an_accelerator_without_a_unit(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("small.toml").write_text("clock_mhz = 100\n[softmax]\ncopies = 1\n", encoding="utf-8")
    arguments = "simulate --images images --accelerator small.toml"
    # The model must be lowered to know its units; nothing is evaluated or saved before they are found missing.
    refused(monkeypatch, capsys, arguments, "accelerator", "no [mac]", "patch_embed.proj", late=2)


def test_a_folder_that_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").write_text("kept", encoding="utf-8")
    for out in ("file", "file/below"):
        for command in ("simulate", "verify", "demo"):
            refused(
                monkeypatch, capsys, f"{command} --out {out}", f"--out {out}", "cannot be written", "another"
            )
    assert (folder / "file").read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize("command", ["verify", "demo"])
def test_no_simulator(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("rtl.cosim.runner.importlib.util.find_spec", lambda name: None)
    refused(monkeypatch, capsys, command, "no RTL simulator found", "iverilog")


def test_a_model_of_another_kind(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from golden.pretrained import timm

    save_file(timm.create_model("resnet10t", num_classes=10).state_dict(), "resnet.safetensors")
    refused(
        monkeypatch, capsys,
        "simulate --model resnet10t --weights resnet.safetensors --images images --calib images",
        "ResNet is not supported", "VisionTransformer",
    )  # fmt: skip


def test_simulate_writes_results_and_report(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = "simulate --images images --weight-bits 4 --act-bits 6 --limit 12 --batch-size 5 --out out"
    assert vitrtl(monkeypatch, *arguments.split()) == 0
    assert "report.html" in "".join(capsys.readouterr())
    out = Path("out")
    assert {path.name for path in out.iterdir()} == {
        "results.json",
        "report.html",
        "program_w4a6.safetensors",
    }

    results = read(out / "results.json")
    metrics = results.metrics
    assert (results.command, results.config.model, results.config.scheme) == (
        "simulate",
        "vitrtl_digits",
        "repq",
    )
    for level in ("float", "fakequant", "fakequant_hardware", "integer"):
        accuracy = metrics[f"accuracy__{level}__top1"]
        assert accuracy.n == 12
        assert accuracy.value in {100 * right / 12 for right in range(13)}
        assert accuracy.low is not None
        assert accuracy.high is not None
        assert accuracy.low <= accuracy.value <= accuracy.high
    assert metrics["images__count"].value == 12
    assert metrics["accuracy__float__top1"].value > 80
    assert metrics["cycles__per_image"].value > 1000
    assert metrics["exactness__differing"].value == 0
    assert metrics["exactness__compared"].value > 10_000
    assert metrics["fidelity__codes__largest_difference"].value <= 1
    assert {"agreement__integer_fakequant", "sim__images_per_second", "sim__speed_vs_float"} <= set(metrics)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "W4/A6" in page
    assert "vitrtl_digits" in page


def test_help_is_instant_and_loads_nothing_heavy() -> None:
    """As a user meets it: a process of its own, with the command's entry point."""
    check = (
        "import sys; sys.argv = ['vitrtl', '--help']\n"
        "from reports.cli import main\n"
        "try: main()\n"
        "finally: print(*sorted({'torch', 'numba', 'numpy', 'timm', 'amaranth', 'plotly'} & set(sys.modules)),"
        " file=sys.stderr)\n"
    )
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - began)
        assert done.returncode == 0
        assert all(command in done.stdout for command in ("simulate", "verify", "demo"))
        assert done.stderr == "\n"
    assert min(seconds) < 1.0


def test_without_arguments_comes_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vitrtl(monkeypatch) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: ")
    assert err == ""


def test_a_process_answers_the_same(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from reports.cli import main; main()", "simulate", "--act-bits", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "vitrtl: error: --act-bits must be from 2 to 8, not 1\n"

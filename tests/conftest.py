"""Options, hypothesis profiles and the rule for missing tools."""

import inspect
import os
import shutil
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # torch is imported by the tests that need it
    from golden.calibrate import Calibrated
    from golden.program import Program

if "PYTEST_XDIST_WORKER" in os.environ:
    # One worker per core: OpenMP threads of several workers would spin waiting for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

# Kernels compile during the first example, so no example has a deadline.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=200, print_blob=True)
settings.register_profile("dev", derandomize=False, deadline=None, max_examples=50, print_blob=True)
settings.load_profile("ci" if IN_CI else "dev")

Mutate = Callable[[ModuleType, str, str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", type=Path, metavar="DIR", help="folder of real weights and ImageNet images")


def pytest_report_header() -> str:
    profile = "ci: the same examples every run" if IN_CI else "dev: fresh examples, a failure prints its blob"
    return f"hypothesis profile {profile}; every other stimulus is seeded in its test"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("data") and item.config.getoption("--data") is None:
        pytest.skip("needs real ImageNet files: --data DIR")
    if item.get_closest_marker("cosim") and shutil.which("iverilog") is None:
        message = "needs an RTL simulator: install iverilog (Icarus Verilog)"
        if IN_CI:
            pytest.fail(message, pytrace=False)
        pytest.skip(message)


@pytest.fixture(scope="session")
def data(request: pytest.FixtureRequest) -> Path:
    """Folder with `deit_tiny_patch16_224.safetensors` and `imagenet/{val,calib,class_map.txt}`."""
    folder: Path = request.config.getoption("--data")
    return folder


@pytest.fixture(scope="session")
def digits_calibrated() -> Callable[[int], "Calibrated"]:
    """The digits model calibrated under `repq` with that many bits for weights and activations, once per process."""
    from golden.calibrate import calibrate
    from golden.digits import images
    from golden.families import from_timm
    from golden.images import calibration_batch
    from golden.pretrained import load_model
    from golden.scheme import load_scheme

    scheme = load_scheme("repq")
    batch = calibration_batch(images("calib"), scheme.calibration.images, seed=0)
    vit = from_timm(load_model("vitrtl_digits", None))
    return cache(lambda bits: calibrate(vit, batch, scheme, weight_bits=bits, act_bits=bits))


@pytest.fixture(scope="session")
def digits_program(digits_calibrated: Callable[[int], "Calibrated"]) -> Callable[[int], "Program"]:
    """The program lowered from `digits_calibrated`, once per process."""
    from golden.lowering import lower

    return cache(lambda bits: lower(digits_calibrated(bits), {"model": "vitrtl_digits"}))


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Mutate:
    """`mutate(module, kernel, old, new)` replaces the kernel by its own source with `old` changed to `new`."""

    def apply(module: ModuleType, kernel: str, old: str, new: str) -> None:
        source = textwrap.dedent(inspect.getsource(getattr(module, kernel).py_func))
        body = "\n".join(line for line in source.splitlines() if not line.startswith("@"))
        assert body.count(old) == 1, f"{old!r} occurs {body.count(old)} times in {kernel}"
        scope: dict[str, Any] = dict(vars(module))
        exec(compile(body.replace(old, new), f"<{kernel} with {new!r}>", "exec"), scope)
        monkeypatch.setattr(module, kernel, scope[kernel])

    return apply

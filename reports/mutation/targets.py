"""What the mutation run plants faults in, and which units judge a file: all that import it."""

import ast
from collections.abc import Sequence
from pathlib import Path

EXEMPT = ("sim/checks.py", "sim/products_torch.py", "rtl/verilog.py", "rtl/testbench.py")
"""Files without arithmetic or control of a unit: range checks of operands, another device's kernels, netlists' text."""

AXI, AXI_UNITS = "rtl/axi.py", ("mac", "token_encoder")
"""The wrapper, which no unit imports, and the units that judge it: both have several streams, with rows and without."""


def imports(root: Path, path: str) -> set[str]:
    """Files of `sim` and `rtl` that the file at `path` imports, by any import in it."""
    found = set()
    for node in ast.walk(ast.parse((root / path).read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.partition(".")[0] in ("sim", "rtl")
        ):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.partition(".")[0] in ("sim", "rtl")]
        else:
            continue
        found |= {file for name in names if (root / (file := f"{name.replace('.', '/')}.py")).exists()}
    return found


def files_of(root: Path, unit: str) -> set[str]:
    """Files that make the unit's model and hardware, its own and those it shares."""
    waiting, found = [f"rtl/units/{unit}.py", f"sim/units/{unit}.py"], set()
    while waiting:
        path = waiting.pop()
        if path not in found and path not in EXEMPT:
            found.add(path)
            waiting += imports(root, path)
    return found


def targets(root: Path, units: Sequence[str]) -> dict[str, list[str]]:
    """File -> the units that judge its faults, that of its own name first: the units' own files and shared ones.

    Another unit's own file is a target only where that unit is among `units`.
    """
    judges: dict[str, list[str]] = {}
    for unit in units:
        for path in files_of(root, unit):
            judges.setdefault(path, []).append(unit)
    kept = {
        path: sorted(names, key=lambda name: (Path(path).stem != name, name))
        for path, names in judges.items()
        if Path(path).parent.name != "units" or Path(path).stem in units
    }
    wrapped = [name for name in AXI_UNITS if name in units]
    kept |= {AXI: wrapped} if wrapped else {}
    return dict(sorted(kept.items(), key=lambda item: (item[0].partition("/")[0] != "rtl", item[0])))

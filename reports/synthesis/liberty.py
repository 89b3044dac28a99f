"""A Liberty file as Yosys reads it: area and logic of its cells, and its two-input NAND."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.synthesis.area import SynthesisError, ToolStoppedError
from reports.synthesis.fpga import read_json
from reports.synthesis.functions import Logic, UnknownFunctionError, logic_of
from reports.synthesis.tools import workspace, yosys

FILE = "cells.lib"
"""Name of the copy that tools read."""
NAND = 0b0111
"""Truth table: 0 only when both inputs are 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Liberty:
    """Cells of one file."""

    name: str
    """File name, without its folder."""
    text: str
    modules: Mapping[str, Mapping[str, Any]]
    """Cell -> its module in Yosys' JSON."""

    @property
    def digest(self) -> str:
        """Start of the SHA-256 of the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def about(self) -> str:
        """Name, digest and the cell that areas are divided by."""
        nand = self.nand2
        unit = f"NAND2 is {nand}, by function" if nand else "no two-input NAND"
        return f"{self.name}: sha256 {self.digest}, {unit}"

    def area(self, cell: str) -> float:
        """Area of one cell; SynthesisError for an unknown cell or one without an area."""
        if cell not in self.modules:
            raise SynthesisError(f"{self.name} has no cell {cell}")
        try:
            area = float(self.modules[cell]["attributes"]["area"])
        except (KeyError, ValueError):
            area = 0.0
        if area <= 0:
            raise SynthesisError(f"{self.name} states no area of cell {cell}")
        return area

    def logic(self, cell: str) -> Logic:
        """What one cell computes; SynthesisError where two-valued logic cannot say."""
        try:
            return logic_of(self.modules[cell])
        except UnknownFunctionError as error:
            raise SynthesisError(f"cell {cell} of {self.name} cannot be simulated: {error}") from error

    def is_flip_flop(self, cell: str) -> bool:
        """Whether a cell holds a bit from edge to edge, of whatever kind."""
        return any(gate["type"].startswith("$_DFF") for gate in self.modules[cell]["cells"].values())

    @property
    def nand2(self) -> str | None:
        """The smallest cell whose only function is that of a two-input NAND; None when there is none."""
        found = [(self.area(cell), cell) for cell in self.modules if self._is_nand2(cell)]
        return min(found)[1] if found else None

    def _is_nand2(self, cell: str) -> bool:
        ports = sorted(port["direction"] for port in self.modules[cell]["ports"].values())
        if ports != ["input", "input", "output"]:
            return False
        try:
            (function,) = logic_of(self.modules[cell]).outputs.values()
            return len(function.inputs) == 2 and function.table == NAND and self.area(cell) > 0
        except (UnknownFunctionError, SynthesisError):
            return False


def read_liberty(path: Path) -> Liberty:
    """Reads a Liberty file; SynthesisError, with the line, when it is missing or not one."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SynthesisError(f"cannot read the Liberty file {path}: {error.strerror}") from error
    return Liberty(name=path.name, text=text, modules=json.loads(_modules(text, str(path))))


@functools.lru_cache(maxsize=4)
def _modules(text: str, path: str) -> str:
    """Yosys' JSON of the cells, kept for the next unit."""
    with workspace() as folder:
        (folder / FILE).write_text(text)
        try:
            yosys(folder, f"read_liberty -ignore_miss_func {FILE}", "write_json cells.json")
        except ToolStoppedError:
            raise
        except SynthesisError as error:
            raise SynthesisError(f"{path} is no Liberty file that Yosys reads: {error}") from error
        modules = read_json(folder / "cells.json")["modules"]
    if not modules:
        raise SynthesisError(f"{path} has no cells")
    return json.dumps(modules)

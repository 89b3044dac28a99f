"""One unit on one target: the cache, else the target's tools."""

from dataclasses import asdict
from pathlib import Path
from typing import get_args

from golden.errors import UserError
from reports.registry import entry
from reports.synthesis.area import TOP, Area, SynthesisError, Target
from reports.synthesis.asic import asic_tools, measure_asic
from reports.synthesis.cache import key_of, load, store
from reports.synthesis.cells import RULES
from reports.synthesis.fpga import fpga_tools, measure_fpga
from reports.synthesis.liberty import Liberty, read_liberty
from reports.synthesis.tools import TIMEOUT_S
from rtl.verilog import rtlil_text
from sim.unit import Unit


def synthesize(
    name: str,
    spec: Unit,
    target: Target,
    cache: Path,
    liberty: Path | None = None,
    timeout: float = TIMEOUT_S,
) -> Area:
    """Area of unit `name` with `spec` on `target`; results are kept in `cache` by the content that decides them.

    That is the RTLIL, the tools' versions and their flags, the Liberty file, and the rules that count cells.
    `liberty` is read for target asic only; no tool runs longer than `timeout` seconds.

    Raises:
        SynthesisError: a tool fails, is missing or takes too long, the Liberty file is bad, the disk is full.
        UserError: target asic without a Liberty file.
        ValueError: an unknown target.
    """
    if target not in get_args(Target):
        raise ValueError(f"target must be one of {', '.join(get_args(Target))}, not {target!r}")
    library = _liberty(liberty) if target == "asic" else None
    tools = asic_tools(library) if library else fpga_tools(target)
    source = rtlil_text(entry(name).component(spec), TOP)
    rules = {} if library else {cell: asdict(cost) for cell, cost in RULES[target].items()}
    path = cache / f"{name}-{target}-{key_of(source, tools, rules)}.json"
    kept = _kept(path)
    if kept is not None:
        return kept
    try:
        area = (
            measure_asic(source, library, tools, timeout)
            if library
            else measure_fpga(source, target, tools, timeout)
        )
    except SynthesisError as error:
        raise SynthesisError(f"{name} on {target}: {error}") from error
    store(path, asdict(area))
    return area


def _liberty(path: Path | None) -> Liberty:
    if path is None:
        raise UserError("target asic needs the cells to map to: name a Liberty file with --liberty FILE")
    return read_liberty(path)


def _kept(path: Path) -> Area | None:
    """The kept result; one of another version of Area is made again."""
    found = load(path)
    try:
        return Area(**found) if found is not None else None
    except TypeError:
        return None

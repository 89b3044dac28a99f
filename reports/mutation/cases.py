"""Cases of the mutation run: a unit at one spec with its stimuli, what is due, and the netlist without a fault."""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from inspect import signature
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from golden.formats import Integer
from reports.mutation.batches import batches
from reports.registry import Entry
from rtl.axi import AxiStream
from rtl.testbench import verilog_testbench
from rtl.verilog import rtlil_text, verilog
from sim.unit import Beats, Unit

TOP = "unit"
LENGTHS = (1, 2, 3, 5, 16, 24, 64, 192, 197)
"""Arguments at which a spec's closed form of cycles is held to what it was."""
SHORT = 12
"""Longest row of a case beside those of the sweep: its memory is small enough for proofs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One unit at one spec, prepared in a folder of its own."""

    unit: str
    label: str
    folder: Path
    digest: str
    """Hash of the stimuli, of all that is due and of the netlist: a verdict of this case holds as long as it does."""
    cycles: int
    """Clock cycles from the first beat to the last: what the case costs."""

    @property
    def name(self) -> str:
        """Unit and label."""
        return f"{self.unit}/{self.label}"


def prepare(unit: Entry, out: Path, seed: int, *, axi: bool = False) -> Iterator[Case]:
    """The case of each spec of the unit's sweep, shortest first; with `axi` of the unit behind AXI4-Stream ports.

    Outputs due are those of golden's reference, cycles due those of the model, which the simulator holds to the RTL.
    """
    specs = [*unit.report.SWEEP, *_short(unit.report.SWEEP)]
    found = [_prepare(unit, spec, out / "cases" / unit.name, seed, axi) for spec in specs]
    yield from sorted(found, key=lambda case: case.cycles)


def _short(sweep: Sequence[Any]) -> list[Any]:
    """The first and the last spec with rows of at most `SHORT` scores, where they have longer ones."""
    ends = [sweep[0], sweep[-1]]
    return [replace(spec, max_length=SHORT) for spec in ends if getattr(spec, "max_length", 0) > SHORT]


def _prepare(unit: Entry, spec: Unit, out: Path, seed: int, axi: bool) -> Case:
    label = unit.report.label(spec)
    folder = out / (f"{label}-axi" if axi else label)
    # The stimuli of `vitrtl verify` with this seed.
    rng = np.random.default_rng([seed, zlib.crc32(f"{unit.name} {label}".encode())])
    inputs = dict(unit.report.stimuli(spec, rng))
    outputs, timing = unit.report.reference(spec, inputs), spec.timing(**inputs)
    component = AxiStream(unit.component(spec)) if axi else unit.component(spec)
    folder.mkdir(parents=True, exist_ok=True)
    files = testbench(spec, inputs, seed, axi)
    files |= {"baseline.il": rtlil_text(component, TOP), "baseline.v": verilog(component, TOP)}
    files["case.json"] = json.dumps(
        {
            "unit": unit.name,
            "spec": encoded(spec),
            "inputs": list(inputs),
            "outputs": list(outputs),
            "closed_forms": closed_forms(spec),
            "seed": seed,
            "axi": axi,
        }
    )
    for name, text in files.items():
        (folder / name).write_text(text)
    arrays: dict[str, NDArray[Any]] = {f"{name}.cycles": when for name, when in timing.items()}
    for name, beats in (inputs | dict(outputs)).items():
        arrays |= {f"{name}.codes": beats.codes, f"{name}.last": beats.last}
    products = {
        f"batch_{n}.{name}": operand
        for n, batch in enumerate(batches(unit, spec, rng))
        for name, operand in batch.items()
    }
    np.savez(folder / "beats.npz", allow_pickle=False, **arrays, **products)
    digest = hashlib.sha256()
    for name in sorted(files.keys() - {"case.json"}):
        digest.update(f"{name}\n{files[name]}".encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return Case(
        unit=unit.name,
        label=folder.name,
        folder=folder,
        digest=digest.hexdigest()[:16],
        cycles=max(int(when[-1]) for when in timing.values()) + 1,
    )


def testbench(spec: Any, inputs: Mapping[str, Beats], seed: int, axi: bool) -> dict[str, str]:
    """Files of the testbench, with the ports as imported now."""
    ports = {"connect": import_module("rtl.axi").axi_instance} if axi else {}
    return verilog_testbench(spec, inputs, top=TOP, seed=seed, **ports)


def closed_forms(spec: Any) -> list[list[int]]:
    """`spec.cycles` of small numbers of rows and lengths: arguments, then the result; -1 where it refuses them."""
    if not hasattr(spec, "cycles"):
        return []
    names = list(signature(spec.cycles).parameters)
    rows = []
    for arguments in product(*[(1, 3) if name == "rows" else LENGTHS for name in names]):
        try:
            found = int(spec.cycles(*arguments))
        except (InvariantError, ValueError):
            found = -1
        rows.append([*arguments, found])
    return rows


def encoded(value: Any) -> Any:
    """A field of a spec as JSON."""
    if isinstance(value, Unit):
        kept = {field.name: encoded(getattr(value, field.name)) for field in fields(value)}
        return {"module": type(value).__module__, "kind": type(value).__name__, "fields": kept}
    if isinstance(value, Integer):
        return {"bits": value.bits, "signed": value.signed}
    return list(value) if isinstance(value, tuple) else value


def decoded(value: Any) -> Any:
    """The field back again."""
    if isinstance(value, dict) and "kind" in value:
        kind = getattr(import_module(value["module"]), value["kind"])  # as imported now
        return kind(**{name: decoded(kept) for name, kept in value["fields"].items()})
    if isinstance(value, dict):
        return Integer(bits=value["bits"], signed=value["signed"])
    return tuple(value) if isinstance(value, list) else value


def read_beats(folder: Path, names: list[str], beats: type[Beats]) -> Mapping[str, Beats]:
    """Streams of a case; `beats` is the class of the process that asks, which may have imported it anew."""
    with np.load(folder / "beats.npz") as file:
        return {name: beats(file[f"{name}.codes"], file[f"{name}.last"]) for name in names}


def read_batches(folder: Path) -> list[dict[str, NDArray[Any]]]:
    """Batches of a case: operands of `compute`, its result `due` and its `overflows`."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    with np.load(folder / "beats.npz") as file:
        for key in file.files:
            batch, _, name = key.partition(".")
            if batch.startswith("batch_"):
                found.setdefault(batch, {})[name] = file[key]
    return list(found.values())

"""The oracle: whether a faulty module still computes what is due, in the model and in the hardware, bits and cycles."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from reports.mutation.cases import TOP, closed_forms, decoded, read_batches, read_beats, testbench
from reports.mutation.loading import plant
from reports.mutation.proof import equivalent
from reports.registry import class_name
from sim.unit import Codes

TOOL_SECONDS = 300
"""Longest run of one tool on one case; a hundred times what the longest case takes on an idle machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the oracle saw of one mutant."""

    killed: bool
    how: str
    """Of a killed one: refused, bits, cycles or simulation. Of another: empty."""
    text: str
    """The first finding, in a line."""
    case: str
    """Folder of the case that killed it; empty for another."""
    alike: tuple[str, ...]
    """Cases whose netlist differs from the original and whose testbench passes all the same."""
    reached: bool
    """Whether the fault's place was run in any case."""


class Killed(Exception):  # a finding, not a failure of this program
    """Carries a finding out of a check."""

    def __init__(self, how: str, text: str) -> None:
        super().__init__(text)
        self.how, self.text = how, text


def judge(
    root: Path, path: str, number: int, cases: Sequence[str], scratch: Path, before_case: Callable[[], None]
) -> Seen:
    """What the case folders say of fault `number` of the file `path`, up to the first that fails.

    For a process that ends afterwards (`reports.mutation.worker`): the faulty module stays imported.
    """
    finder, alike = plant(root, path, number), []
    for case in cases:
        before_case()
        try:
            if _check(Path(case), scratch, model=path.startswith("sim/")):
                alike.append(case)
        except Exception as error:  # whatever a faulty module raises, it was seen to fail
            how = error.how if isinstance(error, Killed) else "refused"
            text = error.text if isinstance(error, Killed) else f"{type(error).__name__}: {error}"
            line = (text.splitlines() or [""])[0]
            return Seen(killed=True, how=how, text=line, case=case, alike=tuple(alike), reached=True)
    return Seen(killed=False, how="", text="", case="", alike=tuple(alike), reached=finder.reached)


def prove(root: Path, path: str, number: int, cases: Sequence[str], scratch: Path) -> bool:
    """Whether the netlist with the fault is proven equal to the original in every one of the cases; as `judge`.

    That another testbench is as good as the case's own cannot be proven from netlists.
    """
    plant(root, path, number)
    scratch.mkdir(parents=True, exist_ok=True)
    faulty = scratch / "faulty.il"
    for case in map(Path, cases):
        spec = _spec(case)
        if _about(case)["axi"] and _is_other_testbench(spec, case, scratch):
            return False
        component = _component(case, spec)
        faulty.write_text(import_module("rtl.verilog").rtlil_text(component, TOP))
        if not equivalent(case / "baseline.il", faulty):
            return False
    return True


def _check(case: Path, scratch: Path, *, model: bool) -> bool:
    """Whether the hardware differs and passes all the same; raises for a finding. `model`: checks that, too."""
    spec = _spec(case)
    if model:
        _check_model(spec, _about(case), case, import_module("sim.unit").Beats)
    differs = _check_hardware(_component(case, spec), case, scratch)
    if _about(case)["axi"]:
        with tempfile.TemporaryDirectory(prefix="vitrtl-") as folder:
            if _is_other_testbench(spec, case, Path(folder)):
                simulate((case / "baseline.v").read_text(), Path(folder), scratch)
                differs = True
    return differs


def _is_other_testbench(spec: Any, case: Path, folder: Path) -> bool:
    """Whether the faulty module makes another testbench than the case's, into `folder`."""
    about = _about(case)
    inputs = read_beats(case, about["inputs"], import_module("sim.unit").Beats)
    files = testbench(spec, inputs, about["seed"], axi=True)
    if all((case / name).read_text() == text for name, text in files.items()):
        return False
    for name, text in files.items():
        (folder / name).write_text(text)
    return True


def _about(case: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((case / "case.json").read_text())
    return found


def _spec(case: Path) -> Any:
    """The case's spec, of the class as this process imports it."""
    return decoded(_about(case)["spec"])


def _component(case: Path, spec: Any) -> Any:
    """The hardware of the case's unit."""
    unit = _about(case)["unit"]
    component = getattr(import_module(f"rtl.units.{unit}"), class_name(unit))(spec)
    return import_module("rtl.axi").AxiStream(component) if _about(case)["axi"] else component


def _check_model(spec: Any, about: dict[str, Any], case: Path, beats: Any) -> None:
    """Codes against golden's reference, cycles against those of the model without the fault."""
    inputs = read_beats(case, about["inputs"], beats)
    found, timing = spec.run(**inputs), spec.timing(**inputs)
    for name, due in read_beats(case, about["outputs"], beats).items():
        if not np.array_equal(found[name].codes, due.codes) or not np.array_equal(found[name].last, due.last):
            raise Killed("bits", f"the model's {name} differs from the reference")
    with np.load(case / "beats.npz") as file:
        for name in about["inputs"] + about["outputs"]:
            if not np.array_equal(timing[name], file[f"{name}.cycles"]):
                raise Killed("cycles", f"the model's cycles of {name} differ from the hardware's")
    for batch in read_batches(case):
        _check_batch(spec, batch)
    if closed_forms(spec) != about["closed_forms"]:
        raise Killed("cycles", "the closed form of the cycles differs")


def _check_batch(spec: Any, batch: Mapping[str, Codes]) -> None:
    """Products of matrices, the weights as they are and prepared, and the count of overflows."""
    operands = {name: codes for name, codes in batch.items() if name not in ("due", "overflows")}
    prepared = operands | ({"w": spec.prepare("w", operands["w"])} if operands["w"].ndim == 2 else {})
    for given in (operands, prepared):
        if not np.array_equal(spec.compute(**given), batch["due"]):
            raise Killed("bits", "products of matrices differ from the reference")
        if spec.overflows(**given) != batch["overflows"][0]:
            raise Killed("bits", "the count of overflows differs")


def _check_hardware(component: Any, case: Path, scratch: Path) -> bool:
    """Whether there is a difference that the testbench does not see."""
    tools = import_module("rtl.verilog")
    if tools.rtlil_text(component, TOP) == (case / "baseline.il").read_text():
        return False
    text = tools.verilog(component, TOP)
    if text == (case / "baseline.v").read_text():
        return False
    simulate(text, case, scratch)
    return True


def simulate(text: str, case: Path, scratch: Path) -> None:
    """Runs the Verilog in the case's testbench; raises Killed with its first finding."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    source, program = scratch / f"{TOP}.v", scratch / "tb.vvp"
    source.write_text(text)
    # A port of another width than the spec's is padded without more than this warning.
    built = _tool(
        ["iverilog", "-g2005", "-Wportbind", "-o", str(program), "-s", "tb", str(case / "tb.v"), str(source)],
        case,
    )
    if built.returncode or " expects " in built.stderr:
        raise Killed("refused", (built.stderr.strip() or "iverilog failed").splitlines()[0])
    ran = _tool(["vvp", "-n", str(program)], case)
    if not ran.stdout.startswith("PASS"):
        lines = [line for line in ran.stdout.splitlines() if line.startswith("FAIL")]
        raise Killed("simulation", lines[0] if lines else f"vvp ended with {ran.returncode}")


def _tool(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=TOOL_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Killed("simulation", f"{command[0]} did not end in {TOOL_SECONDS} s") from error

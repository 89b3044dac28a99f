"""Formal proofs: a unit's hardware against a specification of its own, for all inputs and any back-pressure.

`rtl/proof/units/NAME.py` holds the specification of unit NAME, written from docs/datapath.md and not from the
hardware, the simulator or the helpers of `rtl.fixed`. docs/proofs.md says how they are proven and what that leaves out.
"""

import pkgutil
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from rtl.proof.correspondence import correspondence
from rtl.proof.harness import Harness
from rtl.proof.solver import Clock, Model, models, programs, smtbmc, still
from rtl.proof.trace import one_line
from rtl.stream import StreamUnit
from sim.unit import Unit

SECONDS = 300.0
"""What one proof may take."""
SPARE = 2
"""Cycles of a bounded check beyond the first code: stalls, a code behind a code."""
DEEP = 24
"""Cycles that are searched for a counterexample where induction does not close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came of one proof."""

    unit: str
    passed: bool | None
    """True when proven, False when refuted from reset, None when neither: out of time, or induction does not close."""
    method: str
    """How, and how far."""
    seconds: float
    counterexample: str | None
    """One line, with the path of its waves, when refuted."""


def proof_names() -> list[str]:
    """Names of all units with a specification, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(import_module("rtl.proof.units").__path__))


def prove(unit: str, spec: Unit, folder: Path, *, seconds: float = SECONDS) -> Proof | None:
    """Proves the hardware of `unit` at `spec`, with its files in `folder`; None where the unit has no specification.

    Raises UserError when a tool is not installed.
    """
    if unit not in proof_names():
        return None
    programs()  # before any work
    return prove_component(
        unit, import_module(f"rtl.proof.units.{unit}").COMPONENT(spec), folder, seconds=seconds
    )


def prove_component(unit: str, component: StreamUnit, folder: Path, *, seconds: float = SECONDS) -> Proof:
    """Proves or refutes that `component` is the `unit` of its spec.

    In order: from reset, every trace of as many cycles as induction will take, any ready and valid, any reset
    (bounded check); that a stalled cycle changes nothing; that no cycle breaks a rule after so many that advance
    and break none (k-induction). A trace with stalls is one without them in which states repeat, so the three
    together cover every trace.
    """
    began, clock = time.monotonic(), Clock.of(seconds)
    folder.mkdir(parents=True, exist_ok=True)
    harness: Harness = import_module(f"rtl.proof.units.{unit}").Specification(component)
    passed, method, counterexample = _decide(harness, folder, clock)
    return Proof(
        unit=unit,
        passed=passed,
        method=method,
        seconds=time.monotonic() - began,
        counterexample=counterexample,
    )


def _decide(harness: Harness, folder: Path, clock: Clock) -> tuple[bool | None, str, str | None]:
    depth, vcd = harness.spec.latency + SPARE, folder / "counterexample.vcd"
    exact, simpler = models(harness, folder)
    if simpler is not None:
        passed, method = _attempt(simpler, depth, clock)
        if passed:
            return True, f"{method}; whatever the products", None
    passed, method = _attempt(exact, depth, clock)
    if passed is None and clock.left and smtbmc(exact, DEEP, clock) is False:
        passed, depth, method = False, DEEP, f"bounded check of {DEEP} cycles from reset"
    return passed, method, _counterexample(harness, exact, depth, vcd, clock) if passed is False else None


def _attempt(smt: Model, depth: int, clock: Clock) -> tuple[bool | None, str]:
    """Verdict on one model, and how it came about."""
    bounded = f"bounded check of {depth} cycles from reset"
    holds = smtbmc(smt, depth, clock)
    if not holds:
        return holds, bounded if holds is False else f"out of time in the {bounded}"
    waits = still(smt, clock)
    steps, known = _induction(smt, depth, clock)
    if steps and waits:
        return True, f"{depth}-induction{known} and stillness, any stalls and resets"
    out_of_time = "out of time in the induction" if None in (steps, waits) else None
    return (
        None,
        f"{bounded}; {out_of_time or ('induction does not close' if waits else 'stalls change something')}",
    )


def _induction(smt: Model, depth: int, clock: Clock) -> tuple[bool | None, str]:
    """Whether the rules hold in a cycle after `depth` that advance, and what of the state that takes."""
    advance = "assume [advance]"
    steps = smtbmc(smt, depth, clock, induction=True, always=[advance])
    if steps is not False:
        return steps, ""
    pairs = correspondence(smt, depth, clock)
    if not pairs:
        return (None if pairs is None else False), ""
    known = [f"assert {pair}" for pair in pairs]
    begins = smtbmc(smt, depth, clock, always=known)
    steps = begins and smtbmc(smt, depth, clock, induction=True, always=[advance, *known])
    return steps, f" with {len(pairs)} registers matched"


def _counterexample(harness: Harness, smt: Model, depth: int, vcd: Path, clock: Clock) -> str:
    """One line on the shortest trace to a broken rule; for a wrong code one in which some code would have fitted."""
    fitting = smtbmc(smt, depth, clock, always=["assume (=> [due] [rival_fits])"], vcd=vcd)
    if fitting is not False:
        smtbmc(smt, depth, clock, vcd=vcd)
    return one_line(harness, vcd)

"""Registers of a unit that always hold what a register of its specification holds: what induction must know.

Register correspondence (van Eijk, IEEE TCAD 19(7), 2000): of all pairs those are dropped that differ
somewhere near reset, then, again and again, those that differ after cycles in which all that are left are equal.
Nothing is trusted here: what is found becomes part of the induction and of its base.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise, product

from rtl.proof.solver import Clock, Model, z3

WORD = 12
"""Fewest bits of registers that are compared though they differ in width, as signed numbers."""
EFFORT = 20_000_000
"""z3's own count of steps for one pair, some seconds; a pair without an answer is dropped."""


def correspondence(model: Model, depth: int, clock: Clock) -> list[str] | None:
    """Equalities `(= [register of the unit] [register of the line])`, as smtbmc reads them, that seem inductive.

    None when the clock ran out.
    """
    inner = [r for r in model.registers if r.startswith("dut.")]
    outer = [r for r in model.registers if not r.startswith("dut.")]
    pairs = [pair for d, r in product(inner, outer) for pair in _candidates(model.registers, d, r)]
    steps = range(depth + 1)
    for base in (True, False):
        before: list[str] | None = None
        while pairs and pairs != before:
            before = pairs
            lines = _unrolled(depth, ["(|top_i| s0)"] if base else [f"(|top_n advance| s{n})" for n in steps])
            if not base:
                lines += [f"(assert {_at(n, pair)})" for pair in pairs for n in range(depth)]
            where = steps if base else [depth]
            verdicts = z3(model, [*lines, *_queries(pairs, where)], clock)
            if verdicts is None:
                return None
            # Near reset, where each was asked about alone, one without an answer may stay: the base is proven later.
            kept = ("unsat", "unknown") if base else ("unsat",)
            pairs = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict in kept]
            if base:
                break
    return pairs


def _candidates(widths: Mapping[str, int], d: str, r: str) -> list[str]:
    """What two registers may have to do with each other: a word may be wider in one than it has to be."""
    spare = widths[d] - widths[r]
    if not spare:
        return [
            f"(= [{d}] {value})" for value in ([f"[{r}]", f"(not [{r}])"] if widths[r] == 1 else [f"[{r}]"])
        ]
    if min(widths[d], widths[r]) < WORD:
        return []
    wide, narrow = (d, r) if spare > 0 else (r, d)
    return [f"(= [{wide}] ((_ sign_extend {abs(spare)}) [{narrow}]))"]


def _unrolled(depth: int, holds: Iterable[str]) -> list[str]:
    states = [f"s{n}" for n in range(depth + 1)]
    return [
        f"(set-option :rlimit {EFFORT})",
        *(f"(declare-fun {s} () |top_s|)" for s in states),
        *(f"(assert (and (|top_h| {s}) (|top_u| {s})))" for s in states),
        *(f"(assert (|top_t| {a} {b}))" for a, b in pairwise(states)),
        *(f"(assert {one})" for one in holds),
    ]


def _queries(pairs: Iterable[str], steps: Iterable[int]) -> list[str]:
    where = list(steps)
    lines = []
    for pair in pairs:
        all_hold = " ".join(_at(n, pair) for n in where)
        lines += ["(push 1)", f"(assert (not (and true {all_hold})))", "(check-sat)", "(pop 1)"]
    return lines


def _at(step: int, pair: str) -> str:
    return pair.replace("[", "(|top_n ").replace("]", f"| s{step})")

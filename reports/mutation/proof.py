"""Proof that a faulty netlist does what the original does: for all inputs and all states that agree, or not at all."""

from collections.abc import Sequence
from pathlib import Path

from reports.mutation.cases import TOP
from rtl.verilog import YosysError, yosys

DEPTH = 2
"""Cycles of the induction; most proofs close in the first."""
WORDS = ("memory_map", "opt_clean")
"""Memories as registers, and every register a word: quick, but registers of two widths are no pair."""
BITS = (
    *WORDS,
    *("wreduce", "opt -full", "simplemap t:$dff t:$dffe t:$sdff t:$sdffe t:$sdffce", "opt_merge"),
    *("opt_dff -sat", "opt_clean", "opt_expr", "opt_merge"),
    *("splitnets -format __", "opt_clean"),
)
"""The same bit by bit: a register that is wider for nothing loses the bits that repeat its sign or never change."""


def equivalent(original: Path, faulty: Path) -> bool:
    """Whether Yosys proves the two RTLIL files equal.

    Registers and wires of one name in both are taken for pairs; from equal pairs, every next pair and every output must
    be equal for all inputs (equiv_simple, equiv_induct). What it cannot prove need not differ: a state that no
    input reaches is a state here.
    """
    return any(_equivalent(original, faulty, prepared) for prepared in (WORDS, BITS))


def _equivalent(original: Path, faulty: Path, prepared: Sequence[str]) -> bool:
    try:
        yosys(
            *_loaded(original, "original", prepared),
            *_loaded(faulty, "faulty", prepared),
            "design -copy-from original -as original original",
            "design -copy-from faulty -as faulty faulty",
            *("equiv_make original faulty pair", "hierarchy -top pair", "opt_clean"),
            *("equiv_struct", "equiv_simple -short", f"equiv_induct -seq {DEPTH}", "equiv_status -assert"),
        )
    except YosysError:
        return False
    return True


def _loaded(source: Path, name: str, prepared: Sequence[str]) -> list[str]:
    """Reads one netlist as one module `name`."""
    return [
        *(f"read_rtlil {source}", f"hierarchy -top {TOP}", "proc", "flatten", *prepared),
        *(f"rename -top {name}", f"design -stash {name}"),
    ]

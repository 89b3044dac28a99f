"""Proof that a faulty netlist does what the original does, for all inputs: from a reset on, or from any state."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyosys

from golden.errors import InvariantError
from reports.mutation.cases import TOP
from rtl.verilog import YosysError, yosys

ABC = Path(pyosys.__file__).with_name("yosys-abc")
SECONDS = 120
"""Longest time of a search for an invariant; where the processor's time is limited, that limit comes first."""
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
GATES = (
    *("opt -full", "wreduce", "opt -full", "async2sync", "dffunmap", "techmap", "opt -full"),
    *("simplemap", "dffunmap", "aigmap", "opt_clean"),
)
"""From words to AND gates, inverters and registers."""


def equivalent(original: Path, faulty: Path) -> bool:
    """Whether the two RTLIL files are proven equal, by one of two arguments.

    From a reset on (ABC): whatever the inputs and further resets, every `valid` and `ready` is equal in every cycle,
    and every payload while it is valid.

    From any state (Yosys): registers and wires of one name in both are taken for pairs; from equal pairs, every next
    pair and every output must be equal for all inputs (equiv_simple, equiv_induct).

    What neither can prove need not differ.
    """
    return _from_reset(original, faulty) or any(
        _from_any_state(original, faulty, prepared) for prepared in (WORDS, BITS)
    )


def _from_reset(original: Path, faulty: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="vitrtl-") as folder:
        gate, pair, left = (Path(folder, name) for name in ("gate.v", "pair.aig", "left.aig"))
        gate.write_text(gated(original.read_text()))
        offered = ("memory_map", "opt_clean")
        try:
            yosys(
                *_loaded([f"read_rtlil {original}", f"read_verilog {gate}"], "gate", "original", offered),
                *_loaded([f"read_rtlil {faulty}", f"read_verilog {gate}"], "gate", "faulty", offered),
                *(
                    "design -copy-from original -as original original",
                    "design -copy-from faulty -as faulty faulty",
                    "miter -equiv -flatten original faulty pair",
                    "hierarchy -top pair",
                ),
                *(*GATES, f"write_aiger -zinit {pair}"),
            )
        except YosysError:  # other ports, say
            return False
        # Nodes equal in every state that inputs reach become one (scorr); pdr looks for an invariant of the rest.
        _abc(f"read_aiger {pair}; strash; scorr; dc2; scorr; write_aiger {left}")
        if not left.exists():
            return False
        if _is_never(left.read_bytes()):
            return True
        return "Property proved" in _abc(f"read_aiger {left}; pdr -T {SECONDS}")


def _abc(commands: str) -> str:
    return subprocess.run([str(ABC), "-q", commands], capture_output=True, text=True, check=False).stdout


def _is_never(aiger: bytes) -> bool:
    """Whether the one output of a binary AIGER file is the constant 0, and never says that the two differ."""
    header, output = aiger.split(b"\n", 1)
    _, _, _, latches, outputs, _ = header.split(maxsplit=5)
    return int(outputs) == 1 and output.split(b"\n")[int(latches)] == b"0"


def gated(rtlil: str) -> str:
    """Verilog module `gate` around the top module: as it, but a payload that is given while not valid is 0."""
    top = rtlil[rtlil.index(f"module \\{TOP}\n") :]
    ports = re.findall(r"^  wire (?:width (\d+) )?(in|out)put \d+ +(?:signed )?\\(\w+)$", top, re.MULTILINE)
    if {way for _, way, _ in ports} != {"in", "out"}:
        raise InvariantError("the netlist to prove equal has no ports that this reads")
    declared = [f"{way}put [{int(width or 1) - 1}:0] {name}" for width, way, name in ports]
    given = {name: width for width, way, name in ports if way == "out" and name.endswith("__payload")}
    masks = [
        f"  wire [{int(width or 1) - 1}:0] {name}_given;\n"
        f"  assign {name} = {name.removesuffix('__payload')}__valid ? {name}_given : 0;\n"
        for name, width in given.items()
    ]
    connected = [f".{name}({name}{'_given' if name in given else ''})" for _, _, name in ports]
    return (
        f"module gate({', '.join(declared)});\n{''.join(masks)}"
        f"  {TOP} inner({', '.join(connected)});\nendmodule\n"
    )


def _from_any_state(original: Path, faulty: Path, prepared: Sequence[str]) -> bool:
    try:
        yosys(
            *_loaded([f"read_rtlil {original}"], TOP, "original", prepared),
            *_loaded([f"read_rtlil {faulty}"], TOP, "faulty", prepared),
            "design -copy-from original -as original original",
            "design -copy-from faulty -as faulty faulty",
            *("equiv_make original faulty pair", "hierarchy -top pair", "opt_clean"),
            *("equiv_struct", "equiv_simple -short", f"equiv_induct -seq {DEPTH}", "equiv_status -assert"),
        )
    except YosysError:
        return False
    return True


def _loaded(sources: Sequence[str], top: str, name: str, prepared: Sequence[str]) -> list[str]:
    """Reads one netlist as one module `name`."""
    return [
        *(*sources, f"hierarchy -top {top}", "proc", "flatten", *prepared),
        *(f"rename -top {name}", f"design -stash {name}"),
    ]

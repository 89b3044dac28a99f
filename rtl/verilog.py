"""A component as Verilog text: Amaranth to RTLIL, then Yosys in a child process; deterministic."""

import re
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Protocol

from amaranth.back import rtlil

from sim.unit import Unit

_SCRIPT = (
    "import sys; from pyosys import libyosys as ys; design = ys.Design(); "
    "[ys.run_pass(line, design) for line in sys.stdin.read().splitlines()]"
)
YOSYS = (sys.executable, "-c", _SCRIPT)
"""Command of a process that runs the commands on its input, a line each, on one design."""

_TABLE = re.compile(
    r"  initial begin\n((?:    (?P<memory>\\\S+ |\w+)\[\d+\] = \d+'h[0-9a-f]+;\n)(?:    (?P=memory)\[.*\n)*)  end\n"
)
"""Yosys' way to write a memory's first contents, a word a line in the order of the addresses."""


class Hardware(Protocol):
    """An Amaranth component that says what it was made from: a unit, or a wrapper around one."""

    spec: Unit


class YosysError(RuntimeError):
    """Yosys ended with an error; the text is its last line of log."""


def yosys(*commands: str) -> str:
    """Log of Yosys `commands` run on one design.

    In a child process: an error inside Yosys ends its process, and a fresh one makes results repeatable.
    """
    done = subprocess.run(YOSYS, input="\n".join(commands), text=True, capture_output=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        raise YosysError(errors[-1] if errors else f"Yosys ended with {done.returncode} and no message")
    return done.stdout


def rtlil_text(component: Hardware, name: str) -> str:
    """RTLIL of `component` with `name` as its top module, without source positions."""
    return str(rtlil.convert(component, name=name, emit_src=False))


def verilog(component: Hardware, name: str) -> str:
    """Verilog of `component` with `name` as its top module, under a comment that lists its spec.

    A loop of combinational logic (Amaranth's check), an undriven or a multiply driven wire (Yosys') is an error
    here, not a hang in a simulator.
    """
    with tempfile.TemporaryDirectory(prefix="vitrtl-") as folder:
        source, target = Path(folder, "top.il"), Path(folder, "top.v")
        source.write_text(rtlil_text(component, name))
        yosys(
            f"read_rtlil {source}",
            "proc",
            "opt -full",
            "memory_collect",
            "opt_clean -purge",
            "check -assert",
            f"write_verilog -noattr -simple-lhs {target}",
        )
        text = target.read_text()
    return header(component, name) + text.partition("\n")[2]  # in place of the generator's line


def header(component: Hardware, name: str) -> str:
    """Comment with the unit's parameters, one a line, in the order of the spec."""
    spec = component.spec
    lines = [f"{name}: made by vitrtl from {type(spec).__name__} with"]
    lines += [f"  {field.name} = {getattr(spec, field.name)}" for field in fields(spec)]
    return "".join(f"// {line}\n" for line in lines)


def with_table_files(text: str, name: str) -> tuple[str, dict[str, str]]:
    """Verilog that reads each of its tables by `$readmemh`, and the files `<name>_<n>.mem` that it reads, by name.

    A table is a memory whose first contents are not all 0. `text` is what `verilog` gave.
    """
    files: dict[str, str] = {}

    def by_file(block: re.Match[str]) -> str:
        words = re.findall(r"'h([0-9a-f]+);", block[1])
        if not any(int(word, 16) for word in words):
            return block[0]  # a memory of the datapath, which is only zero at power-up
        file = f"{name}_{len(files)}.mem"
        files[file] = "".join(f"{word}\n" for word in words)
        # With both addresses, for Verilog of before and after 2005 differ in which end comes first without them.
        return f'  initial $readmemh("{file}", {block["memory"]}, 0, {len(words) - 1});\n'

    return _TABLE.sub(by_file, text), files

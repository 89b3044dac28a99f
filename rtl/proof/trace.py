"""The last cycle of a counterexample: which rule it breaks, and the integers that show it."""

from collections.abc import Mapping
from pathlib import Path

from amaranth.hdl import Signal

from rtl.proof.harness import WRONG_CODE, Harness


def one_line(harness: Harness, vcd: Path) -> str:
    """The rule that the last cycle breaks, and for a wrong code what it was due by, the code expected and that given.

    Without a trace, as when time ran out before it was written, only that there is one.
    """
    last = last_values(vcd) if vcd.exists() else {}
    rule = next(
        (what for what, signal in harness.rules.items() if last.get(signal.name) == 1), "a rule is broken"
    )
    if rule != WRONG_CODE:
        return f"{rule}; {vcd}"
    shown = {name: _signed(last, signal) for name, signal in harness.shown.items()}
    expected, got = shown.pop("expected"), shown.pop("got")
    facts = " ".join(f"{name}={value}" for name, value in shown.items())
    wanted = f"expected {expected}" if last.get("rival_fits") else "no code fits"
    return f"{rule} for {facts}: {wanted}, got {got}; {vcd}"


def last_values(vcd: Path) -> dict[str, int]:
    """Values of the top module's signals at the end of a trace, as unsigned integers; a bit without a value is 0."""
    names: dict[str, str] = {}
    values: dict[str, int] = {}
    for line in vcd.read_text().splitlines():
        words = line.split()
        if words[:1] == ["$var"]:
            names.setdefault(words[4], words[3])  # "$var wire 8 n12 got $end"
        elif line.startswith("b"):
            values[words[1]] = int(words[0][1:].replace("x", "0"), 2)
    return {name: values[code] for name, code in names.items() if code in values}


def _signed(values: Mapping[str, int], signal: Signal) -> int:
    value, shape = values.get(signal.name, 0), signal.shape()
    return value - (1 << shape.width) if shape.signed and value >> (shape.width - 1) else value

"""Self-checking testbench of a unit in plain Verilog-2005, with its vectors as hexadecimal files; runs without Python.

Its rules are those of `rtl.cosim.bench`: bits and the cycle of every handshake without stalls; bits and the
handshake's rules under random stalls on every stream; both again after each of several resets in mid-row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.errors import InvariantError
from rtl.cosim.bench import QUIET_CYCLES
from rtl.cosim.vectors import RESETS, first_rows, payloads
from sim.unit import Beats, Codes, Port, Unit

ENDS = Path(__file__).with_suffix(".v")
"""What drives a stream and what takes from one: the fixed part of every testbench."""
RESET_CYCLES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """How the testbench connects to a unit: by wires `clk`, `rst`, `<stream>__valid`, `__payload` and `__ready`."""

    text: str
    """Declarations and the instantiation."""
    widths: Mapping[str, int]
    """Bits of each `<stream>__payload`; those above the port's own payload are expected to be 0."""
    taken: Callable[[Codes], Codes] = lambda cycles: cycles
    """Cycles in which an input takes its beats without stalls, from those in which the unit does."""


Connect = Callable[[Unit, str], Instance]
"""Makes the instance from the spec and the name of the top module."""


def payload_bits(port: Port) -> int:
    """Width of a stream's payload: the lanes, and `last` on top where the stream has rows."""
    return port.format.bits * port.lanes + port.last


def bare(spec: Unit, top: str) -> Instance:
    """Instance of a unit as it is: ports `<stream>__valid`, `<stream>__payload`, `<stream>__ready`, `clk`, `rst`."""
    ports = dict(spec.inputs) | dict(spec.outputs)
    names = ["clk", "rst", *(f"{name}__{part}" for name in ports for part in ("valid", "payload", "ready"))]
    connections = ", ".join(f".{name}({name})" for name in names)
    return Instance(
        text=f"  {top} dut ({connections});\n",
        widths={name: payload_bits(port) for name, port in ports.items()},
    )


def verilog_testbench(
    spec: Unit, inputs: Mapping[str, Beats], *, top: str, seed: int, connect: Connect = bare
) -> dict[str, str]:
    """Files of the testbench of module `top`, by name: `tb.v`, and two of hexadecimal words for every stream.

    `<stream>.beats.hex` holds the payloads (`rtl.cosim.runner.payloads`), `<stream>.cycles.hex` the cycle of each
    handshake without stalls, counted from the first one on any stream. The simulation prints `PASS <n> beats`, n
    the output beats compared, or one line `FAIL ...` and ends with `$fatal`. Raises InvariantError for a stream
    without beats, and where the first rows behave otherwise when others follow them.
    """
    instance, beats = connect(spec, top), dict(inputs) | spec.run(**inputs)
    cycles, few = spec.timing(**inputs), _few(spec, inputs, beats)
    cycles |= {name: instance.taken(cycles[name]) for name in spec.inputs}
    few_end = max(int(cycles[name][count - 1]) for name, count in few.items())
    moves = np.unique(np.concatenate(list(cycles.values())))
    about = _About(
        seed=seed,
        patience=2 * int(np.diff(moves).max(initial=1)) + 1000,
        resets=np.random.default_rng(seed).integers(1, few_end + 1, RESETS).tolist(),
        counts={name: len(beat.last) for name, beat in beats.items()},
        few=few,
    )
    files = {"tb.v": ENDS.read_text() + _top(spec, instance, about)}
    for name, port in (dict(spec.inputs) | dict(spec.outputs)).items():
        files[f"{name}.beats.hex"] = "".join(f"{word}\n" for word in payloads(beats[name], port))
        files[f"{name}.cycles.hex"] = "".join(f"{cycle:x}\n" for cycle in cycles[name].tolist())
    return files


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What the generated part states beside the ports."""

    seed: int
    patience: int
    """Cycles without a handshake that count as a hang."""
    resets: list[int]
    """Cycle of the transfer in which each reset comes."""
    counts: Mapping[str, int]
    few: Mapping[str, int]
    """Beats of each stream that run again after a reset."""


def _few(spec: Unit, inputs: Mapping[str, Beats], beats: Mapping[str, Beats]) -> dict[str, int]:
    """Beats per stream of the first rows, which must be what all beats begin with, in bits and cycles."""
    first = first_rows(spec, inputs)
    alone = dict(first) | spec.run(**first)
    together, apart = spec.timing(**inputs), spec.timing(**first)
    for name, beat in alone.items():
        count = len(beat.last)
        if not count:
            raise InvariantError(f"stream {name} has no beats: nothing to test")
        if not (
            _begins(beats[name].codes, beat.codes)
            and _begins(beats[name].last, beat.last)
            and _begins(together[name], apart[name])
        ):
            raise InvariantError(f"the first {count} beats of stream {name} depend on those after them")
    return {name: len(beat.last) for name, beat in alone.items()}


def _begins(whole: NDArray[Any], part: NDArray[Any]) -> bool:
    return np.array_equal(whole[: len(part)], part)


def _top(spec: Unit, instance: Instance, about: _About) -> str:
    """Module `tb`: one source or sink per stream, and the sequence of runs, each of which begins with a reset.

    Run 0: no stalls; run 1: random stalls; then pairs of a run that ends in a reset and one of the first rows.
    """
    names = [*spec.inputs, *spec.outputs]
    stops = "".join(f"      {2 * n + 2}: stop = {cycle};\n" for n, cycle in enumerate(about.resets))
    return f"""
module tb;
  reg clk = 0, rst = 1;
  reg [31:0] run = 0, resetting = {RESET_CYCLES}, cycle = 0, now = 0, idle = 0;
  always #5 clk = !clk;

  wire stalling = run == 1, partial = run >= 2 && !run[0], few = run >= 2 && run[0];
  wire start = rst && resetting == 1;  // the edge at which the reset ends and the first beats are offered
  wire [8*16-1:0] title =
    run == 0 ? "no stalls" : stalling ? "random stalls" : few ? "after a reset" : "before a reset";

  function [31:0] stop(input [31:0] run);
    case (run)
{stops}      default: stop = 0;
    endcase
  endfunction

{"".join(_end(spec, name, n, instance, about) for n, name in enumerate(names))}
{instance.text}
  wire moving = {" || ".join(f"{name}__moves" for name in names)};
  wire done = {" && ".join(f"{name}__done" for name in names)};
  wire [31:0] compared = {" + ".join(f"{name}__compared" for name in spec.outputs)};

  always @(posedge clk)
    if (rst) begin
      resetting <= resetting - 1;
      if (start) {{rst, cycle, now, idle}} <= 0;
    end else begin
      cycle <= cycle + 1;
      if (moving || now != 0) now <= now + 1;  // counts from the first handshake
      idle <= moving ? 0 : idle + 1;
      if (!done && idle > {about.patience}) begin
        $display("FAIL %0s: no handshake for %0d cycles", title, idle);
        $fatal(1);
      end
      if (partial ? cycle + 1 == stop(run) : done && idle >= {QUIET_CYCLES}) begin
        if (run == {2 * len(about.resets) + 1}) begin
          $display("PASS %0d beats", compared);
          $finish(0);
        end
        run <= run + 1;
        rst <= 1;
        resetting <= {RESET_CYCLES};
      end
    end
endmodule
"""


def _end(spec: Unit, name: str, n: int, instance: Instance, about: _About) -> str:
    """The source or sink of stream `name`, the n-th."""
    width, sink = instance.widths[name], name in spec.outputs
    # No two streams stall alike, and a state of 0 would stay 0.
    seed = (about.seed * 1000 + n + 1) * 2654435761 % (1 << 32) or 1
    parameters = (
        f'.NAME("{name}"), .FILE("{name}.beats.hex"), .CYCLES("{name}.cycles.hex"), .WIDTH({width}), '
        f".BEATS({about.counts[name]}), .FEW({about.few[name]}), .SEED(32'd{seed})"
    )
    common = ("clk", "rst", "start", "stalling", "few", "title", "now", "cycle")
    own = ("valid", "payload", "ready", "moves", "done", *(["compared"] if sink else []))
    ports = ", ".join(
        [*(f".{port}({port})" for port in common), *(f".{port}({name}__{port})" for port in own)]
    )
    compared = f"  wire [31:0] {name}__compared;\n" if sink else ""
    return (
        f"  wire {name}__valid, {name}__ready, {name}__moves, {name}__done;\n"
        f"  wire [{width - 1}:0] {name}__payload;\n{compared}"
        f"  tb_{'sink' if sink else 'source'} #({parameters})\n    {name}__end ({ports});\n"
    )

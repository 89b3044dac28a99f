"""The folder of one design: Verilog, tables, vectors, testbench, and what tools need to use them."""

import json
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import numpy as np

from reports.export.design import Design
from reports.registry import entry
from rtl.axi import AxiStream, axi_instance
from rtl.testbench import bare, verilog_testbench
from rtl.verilog import verilog, with_table_files
from sim.unit import Beats

WAIVERS = Path(__file__).with_name("lint.vlt")
"""Rules of Verilator's -Wall that Yosys' style breaks, each with the reason."""


def write_design(design: Design, folder: Path, *, axi: bool, seed: int) -> int:
    """Makes `folder` and all its files, with the paths between them relative; returns the bytes of Verilog."""
    name, unit = design.name, entry(design.unit).component(design.spec)
    text, tables = with_table_files(verilog(AxiStream(unit) if axi else unit, name), name)
    inputs, connect = design.draw(), axi_instance if axi else bare
    bench = verilog_testbench(design.spec, inputs, top=name, seed=seed, connect=connect)
    files = {
        f"{name}.v": text,
        **tables,
        **bench,
        "lint.vlt": WAIVERS.read_text(),
        "files.f": f"{name}.v\n",
        f"{name}.core": core(design, list(tables), list(bench)),
        "README.md": readme(design),
    }
    folder.mkdir(parents=True)
    for file, contents in files.items():
        (folder / file).write_text(contents, encoding="utf-8")
    np.savez_compressed(folder / "vectors.npz", allow_pickle=False, **vectors(design, inputs))
    return len(text)


def vectors(design: Design, inputs: Mapping[str, Beats]) -> Mapping[str, np.ndarray]:
    """Of every stream `<stream>.codes` int64[beats, lanes], `.last` bool[beats] and `.cycles` int64[beats]; `about`.

    `about` is JSON: the unit, its parameters as text, and which streams go in. Cycles are those of the bare unit
    without stalls, counted from the first handshake.
    """
    spec = design.spec
    parameters = {field.name: str(getattr(spec, field.name)) for field in fields(spec)}
    about = {"unit": design.unit, "parameters": parameters, "inputs": list(spec.inputs)}
    arrays = {"about": np.array(json.dumps(about))}
    cycles = spec.timing(**inputs)
    for name, beats in (dict(inputs) | spec.run(**inputs)).items():
        arrays |= {f"{name}.codes": beats.codes, f"{name}.last": beats.last, f"{name}.cycles": cycles[name]}
    return arrays


def core(design: Design, tables: list[str], bench: list[str]) -> str:
    """FuseSoC core (CAPI 2): targets sim in Icarus Verilog, lint in Verilator, synth in Yosys.

    Files that Verilog reads at run time are copied to where the tool runs, because it looks for them there.
    """

    def data(names: list[str]) -> str:
        return "".join(f"      - {name} : {{file_type : user, copyto : {name}}}\n" for name in names)

    name, words = design.name, [file for file in bench if file != "tb.v"]
    return f"""CAPI=2:
name : vitrtl:{design.unit}:{name}:{version("vitrtl")}
description : {description(design)}

filesets:
  rtl:
    files:
      - {name}.v : {{file_type : verilogSource-2005}}
{data(tables)}  waivers:
    files:
      - lint.vlt : {{file_type : vlt}}
  tb:
    files:
      - tb.v : {{file_type : verilogSource-2005}}
{data(words)}
targets:
  default: &default
    filesets : [rtl]
    toplevel : {name}
  sim:
    <<: *default
    flow : sim
    flow_options:
      tool : icarus
      iverilog_options : [-g2005]
    filesets : [rtl, tb]
    toplevel : tb
  lint:
    <<: *default
    flow : lint
    flow_options:
      tool : verilator
      verilator_options : [-Wall]
    filesets : [waivers, rtl]
  synth:
    <<: *default
    flow : generic
    flow_options:
      tool : yosys
      arch : ecp5
      output_format : json
"""


def description(design: Design) -> str:
    """One line: the unit, and how many operations of the program it runs."""
    count = len(design.operations)
    runs = f", {count} operation{'s' if count > 1 else ''} of the program" if count else ""
    return f"{design.unit.replace('_', ' ')} of vitrtl{runs}"


def readme(design: Design) -> str:
    """How to use the folder."""
    name = design.name
    runs = f"Runs {', '.join(f'`{one}`' for one in design.operations)}.\n\n" if design.operations else ""
    return f"""# {name}

{runs}Parameters are in the header of `{name}.v`. In this folder:

```sh
iverilog -g2005 -o tb tb.v -f files.f && vvp -n tb     # self-checking: PASS <n> beats, or FAIL and an exit code
verilator --lint-only -Wall --top-module {name} lint.vlt -f files.f
yosys -p 'read_verilog {name}.v; synth -top {name}; stat'
fusesoc --cores-root . run --target sim {name}         # or lint, synth
```

`<stream>.beats.hex` are payloads, lane 0 lowest, two's complement, `last` on top; `<stream>.cycles.hex` the cycle
of each handshake without stalls, counted from the first. `vectors.npz` has the same as integers (numpy).
"""

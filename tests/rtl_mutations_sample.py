"""What the tests of planted faults share: specs small enough to simulate, a wrapper, and the simulation itself."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from amaranth.hdl import Module

from reports.registry import entry
from rtl.cosim.runner import Cosimulation, cosimulate
from rtl.stream import StreamUnit
from sim.unit import Beats, Unit

SOFTMAX = replace(entry("softmax").report.SWEEP[3], max_length=24)
ADDER = entry("residual_adder").report.SWEEP[0]
SPECS: Mapping[str, Unit] = {
    "softmax": SOFTMAX,
    "residual_adder": ADDER,
    "requantizer": entry("requantizer").report.SWEEP[0],
    "gelu": entry("gelu").report.SWEEP[0],
    "mac": entry("mac").report.SWEEP[1],
    "log2_mac": entry("log2_mac").report.SWEEP[2],
    "probability": replace(entry("probability").report.SWEEP[3], max_length=24),
    "table_mac": entry("table_mac").report.SWEEP[0],
    "threshold_encoder": entry("threshold_encoder").report.SWEEP[0],
    "token_encoder": entry("token_encoder").report.SWEEP[0],
    "outlier_list": entry("outlier_list").report.SWEEP[1],
    "outlier_mac": entry("outlier_mac").report.SWEEP[0],
    "layernorm": replace(entry("layernorm").report.SWEEP[1], channels=16, epsilon=256),
    "log2_encoder": entry("log2_encoder").report.SWEEP[3],
    "token_scaler": entry("token_scaler").report.SWEEP[2],
}


class BuiltFrom(StreamUnit):
    """Unit `name` with the ports, bits and cycles due of one spec, elaborated from another."""

    def __init__(self, name: str, spec: Unit, built: Unit) -> None:
        super().__init__(spec)
        self.name, self.built = name, built

    def elaborate(self, platform: object) -> Module:
        return wrapped(self, entry(self.name).component(self.built), lambda m: None)


def wrapped(outer: StreamUnit, inner: StreamUnit, fault: Callable[[Module], None]) -> Module:
    m = Module()
    m.submodules.inner = inner
    for name in (*outer.spec.inputs, *outer.spec.outputs):
        source, sink = (outer, inner) if name in outer.spec.inputs else (inner, outer)
        one, other = getattr(source, name), getattr(sink, name)
        m.d.comb += [other.payload.eq(one.payload), other.valid.eq(one.valid), one.ready.eq(other.ready)]
    fault(m)  # the last assignment wins
    return m


@cache
def stimuli(name: str, spec: Unit) -> Mapping[str, Beats]:
    return entry(name).report.stimuli(spec, np.random.default_rng(7))


def check(name: str, component: StreamUnit, folder: Path) -> Cosimulation:
    return cosimulate(component, stimuli(name, component.spec), folder, seed=11, waves=False)

"""What `rtl.fixed.leading_one` gives: the place p of the highest set bit, 2^p ≤ x < 2^(p+1); 0 for x = 0.

Not a unit by itself but a part of log2_encoder, softmax, probability and layernorm; a register makes it one here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from amaranth.hdl import Module, Mux, Value

import rtl.fixed
from golden.formats import Integer
from rtl.proof.harness import ElementHarness
from rtl.stream import StreamUnit
from sim.unit import Port, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadingOne(Unit):
    """A leading-one detector of so many bits, one place per cycle."""

    bits: int
    """Width of the input, 2 to 62."""
    latency: ClassVar[int] = 1
    """The register behind it."""

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 62:
            raise ValueError(f"bits must be in [2, 62], not {self.bits}")

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The integer."""
        return {"x": Port(Integer(bits=self.bits, signed=False))}

    @property
    def outputs(self) -> Mapping[str, Port]:
        """The place."""
        return {"o": Port(Integer(bits=(self.bits - 1).bit_length(), signed=False))}


class Detector(StreamUnit):
    """The detector and a register. Members: `x` and `o`."""

    spec: LeadingOne

    def elaborate(self, platform: object) -> Module:
        """As any unit without rows."""
        m = Module()
        move = self.o.ready | ~self.o.valid
        self.stages(m, move, self.join(m, move), self.spec.latency)
        with m.If(move):
            m.d.sync += self.o.payload.code[0].eq(rtl.fixed.leading_one(self.x.payload.code[0]))
        return m


COMPONENT = Detector


class Specification(ElementHarness):
    """Two inequalities."""

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """One power of two at most x, the next one above it."""
        x, one = facts["x"], Value.cast(1)
        return Mux(x == 0, code == 0, ((one << code) <= x) & (x < (one << (code + 1))))

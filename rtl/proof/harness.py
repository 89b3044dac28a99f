"""A unit and what it must do in one module: an ideal delay line beside it, and rules that hold the unit against it."""

from collections.abc import Mapping
from functools import reduce
from operator import and_, or_
from typing import Any

from amaranth.hdl import Assert, Assume, Const, Elaboratable, Module, ResetSignal, ShapeLike, Signal, Value

from rtl.stream import StreamUnit

DUE = "_due"
"""End of the names of facts that have come to the output with their code."""

WRONG_CODE = "wrong code"
"""The rule on what is offered; its counterexamples show what was expected."""
WATCHING = ("waited", "offered")
"""Registers that follow every cycle, stalled or not: they watch what a stalled offer does."""


def kept(name: str, shape: ShapeLike = 1, init: int = 0) -> Signal:
    """Signal that Yosys keeps under its name, for the solver to be asked about."""
    return Signal(shape, name=name, init=init, attrs={"keep": True})


class Harness(Elaboratable):
    """The solver's top module. A unit's specification states `born` and `fits`, and the rest where it needs to.

    Every port of the unit is free: any valid, ready and payload in any cycle, sources that withdraw an offer
    included, and any reset. Beside the unit a line of `spec.latency` places moves whenever the output is free or
    taken; a code enters it with the beat that completes it. The `rules` hold the unit against this line: a code is
    offered exactly where one is due, fits what is known about it, and no other code does; an offer stays as it is
    until taken; a beat is taken exactly when all streams that it needs offer theirs. Hence every accepted beat
    comes out once, in order, and in the cycle that the spec states.
    """

    def __init__(self, dut: StreamUnit) -> None:
        self.dut = dut
        self.spec: Any = dut.spec  # whichever spec the unit's specification is written for
        self.move = kept("move")
        """The line moves, and so must the unit."""
        self.stalled, self.advance = kept("stalled"), kept("advance")
        """A cycle in which nothing may change; any other."""
        self.taking = kept("taking")
        """Some input is taken."""
        self.rival = Signal.like(dut.o.payload.code[0], name="rival")
        """Any code at all, chosen by the solver to be what the unit should have given."""
        self.rival_fits = kept("rival_fits")
        self.shown: dict[str, Signal] = {}
        """Signals of a counterexample, in the order to print."""
        self.rules: dict[str, Signal] = {}
        """What is wrong -> the signal that says so."""

    @property
    def ports(self) -> list[Value]:
        """Everything the solver chooses; clock and reset come by themselves."""
        streams = [getattr(self.dut, name) for name in self.spec.inputs]
        offered = [value for one in streams for value in (Value.cast(one.payload), one.valid)]
        return [*offered, self.dut.o.ready, self.rival]

    def born(self, m: Module, taken: Value) -> tuple[Value, dict[str, Value]]:
        """Strobe of a code that the beat `taken` completes, and by name the facts that `fits` decides by."""
        raise NotImplementedError(f"{type(self).__name__} states no birth of a code")

    def fits(self, facts: Mapping[str, Value], code: Value) -> Value:
        """Whether `code` is right; exactly one is, for any facts."""
        raise NotImplementedError(f"{type(self).__name__} states no code")

    def asked(self, m: Module) -> Mapping[str, Value]:
        """By input stream whether the next beat needs it; those left out are always needed."""
        return {}

    def more_rules(self, facts: Mapping[str, Value]) -> Mapping[str, Value]:
        """Further faults of an offered beat."""
        return {}

    def given(self) -> dict[str, Value]:
        """Payloads of the input streams by name."""
        return {name: getattr(self.dut, name).payload.code[0] for name in self.spec.inputs}

    def assume(self, m: Module, holds: Value) -> None:
        """Leaves out of the proof what does not hold, such as sums that lowering has excluded."""
        m.d.comb += Assume(holds)

    def delayed(self, m: Module, value: Value, places: int, name: str) -> Value:
        """`value` so many moves later, in registers `name_1`, `name_2`, …"""
        for n in range(1, places + 1):
            after = kept(f"{name}_{n}", value.shape(), getattr(value, "init", 0))
            with m.If(self.move):
                m.d.sync += after.eq(value)
            value = after
        return value

    def state(self, m: Module, **registers: Value) -> None:
        """Names registers that a unit may well have itself, then or a few moves later, for induction to find there."""
        for name, register in registers.items():
            self.delayed(m, register, self.spec.latency, name)

    def elaborate(self, platform: object) -> Module:
        """The unit, the line, the rules."""
        m = Module()
        m.submodules.dut = dut = self.dut
        o, latency = dut.o, self.spec.latency
        m.d.comb += [
            *(self.move.eq(o.ready | ~o.valid), self.stalled.eq(~self.move & ~ResetSignal())),
            self.advance.eq(~self.stalled),
        ]
        born, facts = self.born(m, self._take(m))
        due = self.named(m, "due", self.delayed(m, born, latency, "line"))
        there = {
            name: self.named(m, name + DUE, self.delayed(m, fact, latency, name), shown=True)
            for name, fact in facts.items()
        }
        self.shown["expected"] = self.rival
        got = self.named(m, "got", o.payload.code[0], shown=True)
        m.d.comb += self.rival_fits.eq(self.fits(there, self.rival))
        self._rule(m, "o.valid where no code is due, or none where one is", o.valid != due)
        wrong = ~self.fits(there, got) | (self.rival_fits & (self.rival != got))
        self._rule(m, WRONG_CODE, due & wrong)
        for what, broken in self.more_rules(there).items():
            self._rule(m, what, due & broken)
        self._rule(m, "o changed before it was taken", self._unsteady(m))
        return m

    def named(self, m: Module, name: str, value: Value, shown: bool = False) -> Signal:
        """`value` under a name that the solver's answers use."""
        signal = kept(name, value.shape())
        m.d.comb += signal.eq(value)
        if shown:
            self.shown[name.removesuffix(DUE)] = signal
        return signal

    def _take(self, m: Module) -> Value:
        """Strobe of a beat whose streams all offer theirs; rules that each is then taken and never otherwise."""
        streams = {name: getattr(self.dut, name) for name in self.spec.inputs}
        always = dict.fromkeys(streams, Const(1, 1))
        asked = always | dict(self.asked(m))
        taken = self.named(m, "taken", reduce(and_, (s.valid | ~asked[n] for n, s in streams.items())))
        moved = {name: one.valid & one.ready for name, one in streams.items()}
        m.d.comb += self.taking.eq(reduce(or_, moved.values()))
        for name, took in moved.items():
            self._rule(m, f"{name} taken or refused out of turn", took != (taken & asked[name] & self.move))
        return taken

    def _unsteady(self, m: Module) -> Value:
        o = self.dut.o
        payload = Value.cast(o.payload)
        waited, offered = (kept(name, shape) for name, shape in zip(WATCHING, (1, len(payload)), strict=True))
        m.d.sync += [waited.eq(o.valid & ~o.ready), offered.eq(payload)]
        return waited & ~(o.valid & (payload == offered))

    def _rule(self, m: Module, what: str, broken: Value) -> None:
        self.rules[what] = self.named(m, f"broken_{len(self.rules)}", broken)
        m.d.comb += Assert(~self.rules[what])


class ElementHarness(Harness):
    """A unit with one code per beat; its specification states `fits` on the payloads, and `carried` if need be."""

    def carried(self, given: Mapping[str, Value]) -> Mapping[str, Value]:
        """Exact intermediates of the payloads, by name, worked out as the beat is taken.

        There Yosys finds that a product is the one that the unit makes of the same wires, and the solver has one
        multiplier to reason about instead of two.
        """
        return {}

    def born(self, m: Module, taken: Value) -> tuple[Value, dict[str, Value]]:
        """Every beat is a code; the facts are its payloads and what is carried beside them."""
        given = self.given()
        return taken, {**given, **self.carried(given)}

"""Streams of a unit's spec as Amaranth ports: valid, ready, payload of lanes and an optional `last`."""

from functools import reduce
from operator import and_

from amaranth.hdl import Module, Shape, Signal, Value, ValueLike, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Integer
from sim.unit import Port, Unit


def shape(format: Integer) -> Shape:
    """Amaranth shape of one integer of `format`."""
    return signed(format.bits) if format.signed else unsigned(format.bits)


def signature(port: Port) -> stream.Signature:
    """Stream signature of `port`: payload fields `code` (an array, lane 0 lowest) and, if any, `last`."""
    fields: dict[str, object] = {"code": data.ArrayLayout(shape(port.format), port.lanes)}
    if port.last:
        fields["last"] = unsigned(1)
    return stream.Signature(data.StructLayout(fields))


class StreamUnit(wiring.Component):
    """A component whose ports are exactly the streams of its spec.

    Every unit keeps three rules, which cosimulation checks: `valid` never waits for `ready`; an offered
    payload stays unchanged until it is taken; without stalls every handshake's cycle is `spec.timing`'s.
    """

    def __init__(self, spec: Unit) -> None:
        self.spec = spec
        super().__init__(
            {name: In(signature(port)) for name, port in spec.inputs.items()}
            | {name: Out(signature(port)) for name, port in spec.outputs.items()}
        )

    def join(self, m: Module, move: ValueLike) -> Value:
        """Takes one beat from every input at once, when `move`; returns the strobe that says so."""
        streams = [getattr(self, name) for name in self.spec.inputs]
        for one in streams:
            others = [other.valid for other in streams if other is not one]
            m.d.comb += one.ready.eq(reduce(and_, others, Value.cast(move)))
        return reduce(and_, (one.valid for one in streams), Value.cast(move))

    def stages(self, m: Module, move: ValueLike, taken: Value, latency: int) -> None:
        """`o.valid` of a pipeline without rows: `latency` registers behind `taken`, all moving on `move`."""
        present = taken
        with m.If(move):
            for n in range(1, latency):
                after = Signal(name=f"present_{n}")
                m.d.sync += after.eq(present)
                present = after
            m.d.sync += self.o.valid.eq(present)

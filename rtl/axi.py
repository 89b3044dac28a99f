"""AXI4-Stream ports around a unit: the names, the padding and the registered `tready` that AXI4-Stream asks for."""

import numpy as np
from amaranth.hdl import Cat, ClockDomain, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.stream import StreamUnit
from rtl.testbench import Instance, payload_bits
from sim.unit import Codes, Unit


def axi_names(spec: Unit) -> dict[str, str]:
    """AXI name of each stream: `s_axis` and `m_axis`, with `_<stream>` behind where there are several.

    >>> from sim.units.residual_adder import ResidualAdder
    >>> axi_names(ResidualAdder(bits=8))
    {'a': 's_axis_a', 'b': 's_axis_b', 'o': 'm_axis'}
    """
    return {
        name: prefix if len(streams) == 1 else f"{prefix}_{name}"
        for prefix, streams in (("s_axis", spec.inputs), ("m_axis", spec.outputs))
        for name in streams
    }


def tdata_bits(bits: int) -> int:
    """Width of `tdata`: `bits` up to whole bytes.

    >>> [tdata_bits(bits) for bits in (1, 8, 9)]
    [8, 8, 16]
    """
    return -(-bits // 8) * 8


class AxiStream(wiring.Component):
    """`unit` with AXI4-Stream ports.

    Members: `aclk`; `aresetn`, low while in reset, synchronous; for every input stream `s_axis_tdata`, `_tvalid`,
    `_tready` and, where it has rows, `_tlast` (`s_axis_<stream>_...` where there are several), and likewise
    `m_axis_...`. `tdata` holds the lanes, lane 0 lowest, in whole bytes: padding is on top, 0 on outputs, ignored
    on inputs. `tvalid` never waits for `tready`, and a waiting `tdata` and `tlast` stay.

    No combinational path leads from an input to an output (AXI4-Stream, ARM IHI 0051A, 2.7.1): a unit's outputs
    are registers, and each input stream has one beat of room here, so that its `tready` is a register as well. A
    beat that the unit takes at once passes that room by. The unit thus sees every beat in the cycle in which it
    sees it bare, and outputs keep their cycles; without stalls an input takes its first beat in cycle 0 and each
    further one in the cycle after the unit took the one before (`taken`).
    """

    def __init__(self, unit: StreamUnit) -> None:
        self.unit, self.spec = unit, unit.spec
        members = {"aclk": In(1), "aresetn": In(1)}
        for name, axi in axi_names(self.spec).items():
            port = (dict(self.spec.inputs) | dict(self.spec.outputs))[name]
            ahead, back = (In, Out) if name in self.spec.inputs else (Out, In)
            members |= {f"{axi}_tdata": ahead(tdata_bits(port.format.bits * port.lanes))}
            members |= {f"{axi}_tvalid": ahead(1), f"{axi}_tready": back(1)}
            members |= {f"{axi}_tlast": ahead(1)} if port.last else {}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Wires, the reset's inversion, and room for one beat on every input."""
        m = Module()
        m.domains.sync = domain = ClockDomain()
        m.submodules.unit = self.unit
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        for name, axi in axi_names(self.spec).items():
            stream = getattr(self.unit, name)
            data, valid, ready = (getattr(self, f"{axi}_{part}") for part in ("tdata", "tvalid", "tready"))
            last = [getattr(self, f"{axi}_tlast")] if hasattr(self, f"{axi}_tlast") else []
            if name in self.spec.inputs:
                beat = Cat(data[: len(stream.payload.code.as_value())], *last)
                full, kept = (
                    Signal(name=f"{name}_full"),
                    Signal(len(beat), reset_less=True, name=f"{name}_kept"),
                )
                m.d.comb += [ready.eq(~full), stream.valid.eq(valid | full)]
                m.d.comb += stream.payload.as_value().eq(Mux(full, kept, beat))
                m.d.sync += full.eq(stream.valid & ~stream.ready)
                with m.If(~full):
                    m.d.sync += kept.eq(beat)
            else:
                m.d.comb += [
                    valid.eq(stream.valid),
                    stream.ready.eq(ready),
                    data.eq(stream.payload.code.as_value()),
                ]
                m.d.comb += [end.eq(stream.payload.last) for end in last]
        return m


def taken(cycles: Codes) -> Codes:
    """Cycles in which a wrapped input takes its beats without stalls, from those in which the unit does.

    >>> taken(np.array([3, 4, 9])).tolist()
    [0, 4, 5]
    """
    return np.concatenate((np.zeros(1, np.int64), cycles[:-1] + 1))


def axi_instance(spec: Unit, top: str) -> Instance:
    """Instance of a wrapped unit for `rtl.testbench`: padding is all ones on inputs, and must be 0 on outputs."""
    widths, connections = {}, [".aclk(clk)", ".aresetn(!rst)"]
    for name, axi in axi_names(spec).items():
        port = (dict(spec.inputs) | dict(spec.outputs))[name]
        bits, payload = port.format.bits * port.lanes, f"{name}__payload"
        padding = tdata_bits(bits) - bits
        data, last = f"{payload}[{bits - 1}:0]", f"{payload}[{bits}]"
        if name in spec.outputs:
            # Padding above `last`: words of the files have zeros there.
            widths[name] = payload_bits(port) + padding
            tdata = f"{{{payload}[{widths[name] - 1}:{payload_bits(port)}], {data}}}" if padding else data
        else:
            widths[name] = payload_bits(port)
            tdata = f"{{{{{padding}{{1'b1}}}}, {data}}}" if padding else data
        connections += [f".{axi}_tdata({tdata})", f".{axi}_tvalid({name}__valid)"]
        connections += [f".{axi}_tready({name}__ready)"]
        connections += [f".{axi}_tlast({last})"] if port.last else []
    return Instance(text=f"  {top} dut ({', '.join(connections)});\n", widths=widths, taken=taken)

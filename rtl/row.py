"""Memory of one row of codes: written as the row comes, a beat a word, then read back in order, once or more."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, memory

from golden.formats import Integer
from rtl.stream import shape


class Row(Elaboratable):
    """Row memory of `depth` beats of `lanes` codes with one address counter; a read takes two cycles.

    Attributes: `take`, `codes`, `last` write; `start` begins a pass of reads in the next cycle; `move` lets the
    reads advance; `reading` is the strobe of an address; `read`, with `present` and `final` (the row's last), is
    the beat that was read.
    """

    def __init__(self, format: Integer, depth: int, lanes: int = 1) -> None:
        self.depth, self.layout = depth, data.ArrayLayout(shape(format), lanes)
        self.codes, self.read = Signal(self.layout), Signal(self.layout, reset_less=True)
        self.take, self.last, self.start, self.move = Signal(), Signal(), Signal(), Signal()
        self.reading, self.at_end = Signal(), Signal()
        self.present, self.final = Signal(), Signal()

    def elaborate(self, platform: object) -> Module:
        """One address counter for all passes; read data moves through two registers."""
        m = Module()
        m.submodules.memory = codes = memory.Memory(shape=self.layout, depth=self.depth, init=[])
        write, read = codes.write_port(), codes.read_port()
        index, length_minus_1 = Signal(range(self.depth)), Signal(range(self.depth))
        fetched, fetched_final = Signal(), Signal()
        m.d.comb += [
            *(write.addr.eq(index), write.data.eq(self.codes), write.en.eq(self.take)),
            *(read.addr.eq(index), read.en.eq(self.move), self.at_end.eq(index == length_minus_1)),
        ]
        with m.If(self.take):
            m.d.sync += [index.eq(Mux(self.last, 0, index + 1)), length_minus_1.eq(index)]
        with m.Elif(self.move & self.reading):
            m.d.sync += [index.eq(Mux(self.at_end, 0, index + 1)), self.reading.eq(~self.at_end)]
        with m.If(self.start):
            m.d.sync += self.reading.eq(1)
        with m.If(self.move):
            # A block RAM's output is late in the cycle, so the code gets a register of its own.
            m.d.sync += [
                *(fetched.eq(self.reading), fetched_final.eq(self.at_end)),
                *(self.read.eq(read.data), self.present.eq(fetched), self.final.eq(fetched_final)),
            ]
        return m

"""Outlier list hardware: words into a small memory as the row comes, then all its places out, unfilled ones as 0."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory

from rtl.outliers import is_far
from rtl.stream import StreamUnit, shape
from sim.units.outlier_list import OutlierList as Spec


class OutlierList(StreamUnit):
    """Lists of rows. Members: `x` and `o`, both with `last`; takes a row, then gives its list.

    Nothing clears the memory: the number of outliers found says which of its words are the row's, and the word behind
    those may be written at any time.

    Ports: in `x: u(in_bits), last`; out `o: u(in_bits + 1 + index_bits), last`.
    Latency: `channels + 1` cycles from a row's first code to its list's first word.
    Interval: `channels + capacity` cycles from a row to the next.
    Rounding: none.
    Paper: ADFQ-ViT (Neural Networks 186, 2025, arXiv 2407.02763).
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """One counter is the channel while a row is taken, and the place in the list while that is given."""
        m = Module()
        spec, x, o = self.spec, self.x, self.o
        m.submodules.words = words = memory.Memory(
            shape=shape(spec.word_format), depth=spec.capacity, init=[]
        )
        write, read = words.write_port(), words.read_port(domain="comb")
        index, found = Signal(range(max(spec.channels, spec.capacity))), Signal(range(spec.capacity + 1))
        giving, final = Signal(), index == spec.capacity - 1
        outlier = is_far(x.payload.code[0], spec) & (found != spec.capacity)
        value = x.payload.code[0] - spec.in_zero_point
        m.d.comb += [
            *(x.ready.eq(~giving), write.addr.eq(found), write.en.eq(outlier)),
            write.data.eq(Cat(value[: spec.value_bits], index[: spec.index_bits])),
            read.addr.eq(index),
        ]
        with m.If(x.valid & ~giving):
            m.d.sync += [found.eq(found + outlier), giving.eq(x.payload.last)]
            m.d.sync += index.eq(Mux(x.payload.last, 0, index + 1))
        with m.If(o.ready | ~o.valid):
            m.d.sync += [
                *(o.payload.code[0].eq(Mux(index < found, read.data, 0)), o.payload.last.eq(final)),
                o.valid.eq(giving),
            ]
            with m.If(giving):
                m.d.sync += index.eq(Mux(final, 0, index + 1))
                with m.If(final):
                    m.d.sync += [found.eq(0), giving.eq(0)]
        return m

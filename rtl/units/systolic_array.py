"""Systolic array hardware: skewed operands move through places that each keep one sum, which leave by columns."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_

from amaranth.hdl import Module, Signal, Value

from rtl.array import Grid, delays
from rtl.element import Element
from rtl.stream import StreamUnit
from rtl.units.log2_mac import Log2Element
from rtl.units.mac import MacElement
from rtl.units.table_mac import TableElement
from rtl.units.two_scale_mac import TwoScaleElement
from sim.unit import Unit
from sim.units.log2_mac import Log2Mac
from sim.units.mac import Mac
from sim.units.systolic_array import SystolicArray as Spec
from sim.units.table_mac import TableMac
from sim.units.two_scale_mac import TwoScaleMac

ELEMENTS: Mapping[type[Unit], type[Element]] = {
    Mac: MacElement,
    TwoScaleMac: TwoScaleElement,
    TableMac: TableElement,
    Log2Mac: Log2Element,
}
"""Arithmetic of a place, by the multiply-accumulator it is that of."""


class SystolicArray(StreamUnit):
    """A tile of a matrix product at a time, its sums staying in their places until all are done.

    Members: `a` (with `last`) and `w`, taken together; `tile` and, where there is one, `bias`, taken with a tile's
    first beat; `o` (with `last`). Operands move on in every cycle, and a cycle without any moves through the array as
    a gap. `o` alone can stop it, and only while sums leave: a place waits for no stream's `valid`.

    Ports: in `a: pe.inputs['a'].format × rows, last`, `w: pe.w_format × columns`, `tile: side_format × 2`, `bias:
        s(pe.acc_bits) × columns`; out `o: s(pe.acc_bits) × columns, last`.
    Latency: `pe.cycles(1, n) + r + c - 3` cycles from the first of n steps of a tile of r × c sums to its first row
        of them.
    Interval: `pe.cycles(1, n) + 2 * r + c - 3` cycles from a tile to the next.
    Rounding: that of `pe`, term by term in the order of k.
    Paper: none of its own.
    """

    spec: Spec

    def elaborate(self, platform: object) -> Module:
        """Operands prepared at the edge, the grid, its control, and the columns' ports."""
        m, spec = Module(), self.spec
        element = ELEMENTS[type(spec.pe)](spec.pe)
        move = self.o.ready | ~self.o.valid
        a, w = self.a.payload.code, self.w.payload.code
        m.submodules.grid = grid = Grid(
            element,
            [element.left(a[i]) for i in range(spec.rows)],
            [element.right(w[j]) for j in range(spec.columns)],
        )
        if "bias" in spec.inputs:
            m.d.comb += [starts[0].eq(self.bias.payload.code[j]) for j, starts in enumerate(grid.starts)]
        draining, final = Signal(), Signal()
        m.d.comb += grid.shift.eq(draining & move)
        self._control(m, grid, draining, final, element.finish_cycles)
        self._offer(m, move, draining, final, element.finish_cycles)
        for j, sums in enumerate(grid.ports):
            m.d.comb += self.o.payload.code[j].eq(element.finish(m, move, sums))
        return m

    def _control(self, m: Module, grid: Grid, draining: Signal, final: Signal, finish_cycles: int) -> None:
        """Takes a tile, waits for its farthest place, lets its rows leave, and waits for what is made of them.

        Idle, the accumulators follow the bias, so that a tile's first beat finds them set.
        """
        o = self.o
        rows, columns = self.tile.payload.code
        height, width, rows_after = Signal.like(rows), Signal.like(columns), Signal.like(rows)
        farthest = Signal((rows + columns).shape())
        for side, used in ((height, grid.used_rows), (width, grid.used_columns)):
            m.d.comb += [one.eq(side > n) for n, one in enumerate(used)]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += grid.load.eq(1)
                m.d.sync += [height.eq(rows), width.eq(columns)]
                m.d.sync += [rows_after.eq(rows - 1), farthest.eq(rows + columns - 2)]
                self._take(m, grid, tuple(self.spec.inputs))
            with m.State("feed"):
                self._take(m, grid, ("a", "w"))
            with m.State("fill"):
                m.d.sync += farthest.eq(farthest - 1)
                with m.If(farthest == 0):
                    m.next = "drain"
            with m.State("drain"):
                m.d.comb += [draining.eq(1), final.eq(rows_after == 0)]
                with m.If(grid.shift):
                    m.d.sync += rows_after.eq(rows_after - 1)
                    with m.If(final):
                        m.next = "finish" if finish_cycles else "idle"
            if finish_cycles:
                with m.State("finish"), m.If(o.ready & o.payload.last):  # which comes with `valid` alone
                    m.next = "idle"

    def _take(self, m: Module, grid: Grid, names: Sequence[str]) -> None:
        """Takes a beat from each of the streams at once; the last of `a` ends the tile."""
        streams = [getattr(self, name) for name in names]
        for one in streams:
            m.d.comb += one.ready.eq(reduce(and_, (other.valid for other in streams if other is not one)))
        m.d.comb += grid.present.eq(reduce(and_, (one.valid for one in streams)))
        with m.If(grid.present):
            m.next = "feed"
            with m.If(self.a.payload.last):
                m.next = "fill"

    def _offer(self, m: Module, move: Value, draining: Value, final: Value, finish_cycles: int) -> None:
        """`o.valid` and `last`, as late as what is made of the accumulators."""
        o = self.o
        if not finish_cycles:
            m.d.comb += [o.valid.eq(draining), o.payload.last.eq(final)]
            return
        self.stages(m, move, draining, finish_cycles)
        with m.If(move):
            last = delays(m, final, finish_cycles + 1)[-1]
        m.d.comb += o.payload.last.eq(last)

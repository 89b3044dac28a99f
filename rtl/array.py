"""Places of a systolic array, and the grid that they make with the skew of their operands."""

from collections.abc import Sequence

from amaranth.hdl import Elaboratable, Module, Signal, Value

from rtl.element import Element


class Place(Elaboratable):
    """One place: hands its operands on, registers their term, and adds that to the accumulators it keeps.

    Attributes: `left` with `present`, and `right`, come in each cycle and go out one cycle later as `left_out` with
    `present_out`, and `right_out`. `load` sets the accumulators `sums` to `start`; with `shift` they take over those
    of the place `below`.
    """

    def __init__(self, element: Element, left: Value, right: Value) -> None:
        self.element = element
        self.left, self.right = Signal(left.shape()), Signal(right.shape())
        self.left_out, self.right_out = (Signal.like(one, reset_less=True) for one in (self.left, self.right))
        self.present, self.present_out, self.load, self.shift = Signal(), Signal(), Signal(), Signal()
        self.start, self.below, self.sums = element.sums(), element.sums(), element.sums()

    def elaborate(self, platform: object) -> Module:
        """The register that hands `present` on also says that a term waits, so that each place needs but one."""
        m = Module()
        m.d.sync += [self.left_out.eq(self.left), self.right_out.eq(self.right)]
        m.d.sync += self.present_out.eq(self.present)
        term = self.element.term(m, self.left, self.right)
        with m.If(self.load):
            m.d.sync += [one.eq(start) for one, start in zip(self.sums, self.start, strict=True)]
        with m.Elif(self.shift):
            m.d.sync += [one.eq(below) for one, below in zip(self.sums, self.below, strict=True)]
        with m.Elif(self.present_out):
            self.element.add(m, term, self.sums, self.sums)
        return m


class Grid(Elaboratable):
    """Places in rows and columns; operands enter at the left and the top edge, each lane one cycle after the last.

    Attributes: `present` says that this cycle's `lefts` and `rights`, prepared operands, are a step; `used_rows[i]`
    and `used_columns[j]` that row i and column j, each beyond 0, take part, from the cycle after a tile's first step
    on; `load`, `shift` and `starts[j]`, by column, go to every place; `ports[j]` are the accumulators of column j that
    `shift` pushes out, row 0 first.
    """

    def __init__(self, element: Element, lefts: Sequence[Value], rights: Sequence[Value]) -> None:
        self.lefts, self.rights = lefts, rights
        self.present, self.load, self.shift = Signal(), Signal(), Signal()
        self.used_rows = [Signal(name=f"used_row_{i}") for i in range(len(lefts))]
        self.used_columns = [Signal(name=f"used_column_{j}") for j in range(len(rights))]
        self.starts = [element.sums() for _ in rights]
        self.places = [[Place(element, left, right) for right in rights] for left in lefts]
        self.ports = [place.sums for place in self.places[0]]

    def elaborate(self, platform: object) -> Module:
        """Wires between neighbours, but for `load`, `shift` and what a sum starts from."""
        m = Module()
        presents = self._presents(m)
        lefts, rights = (
            [delays(m, lane, n + 1)[n] for n, lane in enumerate(lanes)] for lanes in (self.lefts, self.rights)
        )
        for i, row in enumerate(self.places):
            for j, place in enumerate(row):
                m.submodules[f"place_{i}_{j}"] = place
                left, present = lefts[i], presents[i]
                if j:
                    left, present = row[j - 1].left_out, row[j - 1].present_out & self.used_columns[j]
                m.d.comb += [
                    *(place.left.eq(left), place.present.eq(present)),
                    place.right.eq(self.places[i - 1][j].right_out if i else rights[j]),
                    place.load.eq(self.load),
                    *(one.eq(start) for one, start in zip(place.start, self.starts[j], strict=True)),
                ]
                if i + 1 < len(self.places):  # the last row has nothing to take over
                    below = self.places[i + 1][j].sums
                    m.d.comb += place.shift.eq(self.shift)
                    m.d.comb += [one.eq(other) for one, other in zip(place.below, below, strict=True)]
        return m

    def _presents(self, m: Module) -> list[Value]:
        """`present` for each row: a step goes no further than the tile does, or the next tile would still meet it."""
        found: list[Value] = [self.present]
        for used in self.used_rows[1:]:
            late = Signal(name=f"present_{len(found)}")
            m.d.sync += late.eq(found[-1])
            found.append(late & used)
        return found


def delays(m: Module, value: Value, count: int) -> list[Value]:
    """`value`, and it one cycle late, up to `count` - 1 cycles late."""
    found = [value]
    for n in range(1, count):
        late = Signal(value.shape(), name=f"late_{n}", reset_less=True)
        m.d.sync += late.eq(found[-1])
        found.append(late)
    return found

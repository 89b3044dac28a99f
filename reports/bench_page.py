"""What the page shows of timings: images per second as bars, and kernels side by side with their ratio."""

from html import escape
from typing import NamedTuple

from reports import plots
from reports.bench_tables import KernelSpeed, Speed
from reports.results import FLOAT, Results

IMPLEMENTATIONS = {"float": "float32", "fakequant": "fake-quant", "golden": "int64 reference", "sim": "sim"}
"""Implementation -> what people call it."""
_COLOURS = {"float": "float", "fakequant": "fakequant", "golden": "fakequant_hardware", "sim": "integer"}


class KernelPair(NamedTuple):
    """One kernel of sim, and the other library's where that was there."""

    sim: KernelSpeed
    other: KernelSpeed | None

    @property
    def ratio(self) -> float | None:
        """How many times faster sim is."""
        return None if self.other is None else self.other.seconds / self.sim.seconds


def kernel_pairs(results: Results) -> tuple[KernelPair, ...]:
    """Kernels in the order of the table."""
    rows = results.tables.kernels
    others = {row.kernel: row for row in rows if row.implementation != "sim"}
    return tuple(KernelPair(row, others.get(row.kernel)) for row in rows if row.implementation == "sim")


class SimSpeed(NamedTuple):
    """sim in one run, beside what else ran the model."""

    run: str
    rate: float
    """Images per second."""
    against_float: float | None
    """How many times faster sim is."""
    against_fakequant: float | None


def sim_speeds(results: Results) -> tuple[SimSpeed, ...]:
    """sim's speed in each run that repeated its timings: in passing, a machine is too uneven for a headline."""
    rates = {(row.run, row.implementation): row.images / row.seconds for row in results.tables.speed}
    return tuple(
        SimSpeed(row.run, own, *(own / other if other else None for other in against))
        for row in results.tables.speed
        if row.implementation == "sim" and row.repetitions
        for own in (rates[row.run, "sim"],)
        for against in ((rates.get((FLOAT, "float")), rates.get((row.run, "fakequant"))),)
    )


def speed_figures(results: Results) -> dict[str, plots.Figure]:
    """The bar plot of images per second, where there are two to compare."""
    rows = results.tables.speed
    return {"plot-speed": _bars(rows)} if len(rows) > 1 else {}


def _bars(rows: tuple[Speed, ...]) -> plots.Figure:
    """A bar per implementation and run, its whisker from the slowest to the fastest repetition."""
    rates = [row.images / row.seconds for row in rows]
    above = [row.images / (row.fastest or row.seconds) - rate for row, rate in zip(rows, rates, strict=True)]
    below = [rate - row.images / (row.slowest or row.seconds) for row, rate in zip(rows, rates, strict=True)]
    data = [{
        "type": "bar", "orientation": "h", "x": rates, "y": list(range(len(rows))), "width": 0.66,
        "marker": {"color": [plots.level_colour(_COLOURS[row.implementation]) for row in rows]},
        "error_x": {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": "--ink",
                    "thickness": 1.2, "width": 4},
        "customdata": [[escape(_name(row)), _spread(row)] for row in rows],
        "hovertemplate": "%{customdata[0]}<br><b>%{x:.1f} images/s</b>%{customdata[1]}<extra></extra>",
    }]  # fmt: skip
    top = 1.18 * max(rate + more for rate, more in zip(rates, above, strict=True))
    layout = plots.canvas(height=78 + 30 * len(rows)) | {
        "xaxis": plots.axis(title="images per second", range=[0, top], nticks=6),
        "yaxis": plots.axis(tickvals=list(range(len(rows))), ticktext=[escape(_name(row)) for row in rows],
                            range=[len(rows) - 0.4, -0.6], showgrid=False),
        "annotations": [
            {"x": rate + more, "y": place, "xanchor": "left", "xshift": 6, "showarrow": False, "text": f"{rate:.1f}",
             "font": {"color": "--muted", "size": 11}}
            for place, (rate, more) in enumerate(zip(rates, above, strict=True))
        ],
    }  # fmt: skip
    layout["margin"] |= {"l": 10, "t": 4}
    return {"data": data, "layout": layout}


def _name(row: Speed) -> str:
    """`W4/A4 sim`; the run is left out where it says the same."""
    name = IMPLEMENTATIONS[row.implementation]
    return name if row.run == row.implementation else f"{row.run} {name}"


def _spread(row: Speed) -> str:
    if row.fastest is None or row.slowest is None:
        return ""
    return f"<br>{row.images / row.slowest:.1f} to {row.images / row.fastest:.1f} in {row.repetitions} repetitions"

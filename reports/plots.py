"""Plotly figures of the report, as plain JSON; colours are CSS variables that the page resolves for light and dark."""

from html import escape
from typing import Any

from reports.results import FLOAT, Level, Results, SiteFidelity
from reports.run_grid import LEAST, split_run
from reports.summary import LEVELS, CycleGroup, accuracy_of, levels_present, split_block

Figure = dict[str, Any]

UNIT_COLOURS = 7
"""Okabe-Ito colours a unit can have (`--unit-0` …); further units are grey (`--unit-other`)."""
SYMBOLS = {"fakequant": "diamond", "fakequant_hardware": "square", "integer": "circle"}


def unit_colour(unit: str, units: tuple[str, ...]) -> str:
    """CSS variable of `unit`'s colour, by its place among the page's `units`."""
    place = units.index(unit)
    return f"--unit-{place}" if place < UNIT_COLOURS else "--unit-other"


def level_colour(level: str) -> str:
    """CSS variable of a level's colour."""
    return "--level-" + level.replace("_", "-")


def accuracy(results: Results) -> Figure:
    """Top-1 of every run and level with its 95 % interval, the float baseline as a line with a band."""
    runs = [run for run in results.tables.runs if any(row.run == run for row in results.tables.accuracy)]
    levels = levels_present(results)
    data = []
    for place, level in enumerate(levels):
        rows = [
            (x, row) for x, run in enumerate(runs) if (row := accuracy_of(results, run, level)) is not None
        ]
        # Levels stand side by side around their run's tick.
        beside = 0.16 * (place - (len(levels) - 1) / 2)
        data.append({
            "type": "scatter", "mode": "markers", "name": LEVELS[level],
            "x": [x + beside for x, _ in rows], "y": [row.top1 for _, row in rows],
            "error_y": {
                "type": "data", "symmetric": False, "thickness": 1.5, "width": 4, "color": level_colour(level),
                "array": [row.high - row.top1 for _, row in rows],
                "arrayminus": [row.top1 - row.low for _, row in rows],
            },
            "marker": {"size": 11, "symbol": SYMBOLS[level], "color": level_colour(level)},
            "customdata": [[escape(row.run), row.low, row.high, row.n] for _, row in rows],
            "hovertemplate": "%{customdata[0]} " + LEVELS[level] + "<br><b>%{y:.2f} %</b>, 95 % interval "
            "%{customdata[1]:.2f} to %{customdata[2]:.2f}<br>n = %{customdata[3]:,}<extra></extra>",
        })  # fmt: skip
    everything = results.tables.accuracy
    low, high = min(row.low for row in everything), max(row.high for row in everything)
    pad = max(0.5, 0.08 * (high - low))
    # The empty half category on the right is where the baseline's label stands, clear of every point.
    right = len(runs) - 0.5 + max(0.35, 0.12 * len(runs))
    layout = canvas(height=340) | {
        "xaxis": axis(
            tickvals=list(range(len(runs))), ticktext=[escape(run) for run in runs],
            range=[-0.5, right], showgrid=False, title="run",
        ),
        "yaxis": axis(range=[max(0.0, low - pad), min(100.0 + 0.5 * pad, high + pad)], title="top-1 accuracy (%)",
                       ticksuffix=""),
        "shapes": [], "annotations": [],
    }  # fmt: skip
    if (row := accuracy_of(results, FLOAT, FLOAT)) is not None:
        band = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": row.low, "y1": row.high,
                "fillcolor": "--float-band", "line": {"width": 0}, "layer": "below"}  # fmt: skip
        line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": row.top1, "y1": row.top1,
                "line": {"color": "--level-float", "width": 1.5, "dash": "dash"}, "layer": "below"}  # fmt: skip
        layout["shapes"] = [band, line]
        layout["annotations"] = [
            {"xref": "paper", "x": 1, "y": row.top1, "xanchor": "right", "yanchor": "bottom", "showarrow": False,
             "text": f"float<br>{row.top1:.2f}", "font": {"color": "--muted", "size": 12}, "align": "right"},
        ]  # fmt: skip
    figure = {"data": data, "layout": layout}
    groups = _schemes(runs)
    return _by_scheme(figure, groups) if groups else figure


def _by_scheme(figure: Figure, groups: dict[str, list[tuple[int, str]]]) -> Figure:
    """`figure` with schemes shaded in turn: widths and schemes under the marks, or schemes alone where it is narrow."""
    layout = figure["layout"]
    layout["xaxis"] |= {"title": {"text": ""}, "tickangle": -90}
    layout["margin"] |= {"b": 76}
    ends = {scheme: (places[0][0], places[-1][0]) for scheme, places in groups.items()}
    layout["shapes"] += [
        {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": first - 0.5, "x1": last + 0.5,
         "fillcolor": "--band", "line": {"width": 0}, "layer": "below"}
        for first, last in list(ends.values())[::2]
    ]  # fmt: skip
    middles = {scheme: (first + last) / 2 for scheme, (first, last) in ends.items()}
    notes = [
        {"yref": "paper", "x": middle, "y": 0, "yshift": -52, "yanchor": "top", "showarrow": False,
         "text": escape(scheme), "font": {"size": 11, "color": "--ink"}}
        for scheme, middle in middles.items()
    ]  # fmt: skip
    every = [(place, escape(widths)) for places in groups.values() for place, widths in places]
    return figure | {
        "ticks": {
            "every": {"tickvals": [place for place, _ in every], "ticktext": [widths for _, widths in every]},
            "blocks": {
                "tickvals": list(middles.values()),
                "ticktext": [escape(scheme) for scheme in middles],
            },
        },
        "notes": notes,
        "layers": len(every),
        "room": {"every": 40, "blocks": 40},
    }


def _schemes(runs: list[str]) -> dict[str, list[tuple[int, str]]]:
    """Scheme -> place and widths of its runs; none where the runs are few, not so named, or not together."""
    named = [split_run(run) for run in runs]
    groups: dict[str, list[tuple[int, str]]] = {}
    for place, parts in enumerate(named):
        if parts is None or len(runs) < LEAST:
            return {}
        groups.setdefault(parts[0], []).append((place, parts[1]))
    apart = any(places[-1][0] - places[0][0] >= len(places) for places in groups.values())
    return {} if apart else groups


def sqnr(rows: list[SiteFidelity], span: tuple[float, float]) -> Figure:
    """SQNR of one run's layers, fake-quant as a broad line and integer as a fine one on top of it."""
    data = []
    lines: tuple[tuple[Level, list[float | None], float, int, float], ...] = (
        ("fakequant", [row.sqnr_fakequant_db for row in rows], 6, 9, 0.55),
        ("integer", [row.sqnr_integer_db for row in rows], 1.5, 5, 1),
    )
    for level, values, width, size, opacity in lines:
        if any(value is not None for value in values):
            data.append({
                "type": "scatter", "mode": "lines+markers", "name": LEVELS[level], "opacity": opacity,
                "x": [escape(row.site) for row in rows], "y": values,
                "line": {"width": width, "color": level_colour(level)},
                "marker": {"size": size, "symbol": SYMBOLS[level], "color": level_colour(level)},
                "hovertemplate": "%{y:.1f} dB",
            })  # fmt: skip
    return _over_sites(data, rows, axis(title="SQNR (dB)", range=list(span), nticks=6), height=190)


def sqnr_span(rows: tuple[SiteFidelity, ...]) -> tuple[float, float] | None:
    """Common dB axis of all runs, in steps of 5 dB; None where nobody measured any."""
    known = [v for r in rows for v in (r.sqnr_fakequant_db, r.sqnr_integer_db) if v is not None]
    if not known:
        return None
    return 5.0 * ((min(known) - 1) // 5), -5.0 * (-(max(known) + 1) // 5)


def mismatches(rows: list[SiteFidelity], top: float) -> Figure:
    """Share of codes that differ between the integers and fake quantisation, from identical input codes."""
    data = [{
        "type": "bar", "x": [escape(row.site) for row in rows], "width": 0.7,
        "y": [None if r.code_mismatch_fraction is None else 100 * r.code_mismatch_fraction for r in rows],
        "marker": {"color": "--level-integer"},
        "customdata": [_largest(r.code_mismatch_max) for r in rows],
        "hovertemplate": "%{y:.3f} % of the codes differ%{customdata}<extra></extra>",
    }]  # fmt: skip
    return _over_sites(
        data, rows, axis(title="codes that differ (%)", range=[0, 100 * top], nticks=5), height=170
    )


def cycles(group: CycleGroup, units: tuple[str, ...]) -> Figure:
    """Cycles per layer, one horizontal bar each, summed over the blocks; coloured by unit."""
    shares = group.layers
    labels = [escape(share.name) + (f" × {share.count}" if share.count > 1 else "") for share in shares]
    largest = max(share.cycles for share in shares)
    data = [{
        "type": "bar", "orientation": "h", "x": [share.cycles for share in shares],
        "y": list(range(len(shares))), "width": 0.72,
        "marker": {"color": [unit_colour(share.unit, units) for share in shares]},
        "text": [f"{100 * share.share:.1f} %" for share in shares], "textposition": "outside", "cliponaxis": False,
        "textfont": {"color": "--muted", "size": 11},
        "customdata": [[escape(share.name), escape(share.unit), _of_peak(share.utilisation)] for share in shares],
        "hovertemplate": "%{customdata[0]}<br><b>%{x:,} cycles</b>, %{text}<br>"
        "%{customdata[1]}%{customdata[2]}<extra></extra>",
    }]  # fmt: skip
    layout = canvas(height=70 + 24 * len(shares)) | {
        "xaxis": axis(title="cycles per image", range=[0, 1.24 * largest or 1], tickformat="~s", nticks=6),
        "yaxis": axis(tickvals=list(range(len(shares))), ticktext=labels, range=[len(shares) - 0.4, -0.6],
                       showgrid=False),
    }  # fmt: skip
    layout["margin"] |= {"l": 10, "t": 4}
    return {"data": data, "layout": layout}


def _largest(difference: int | None) -> str:
    return "" if not difference else f", by at most {difference}"


def _of_peak(utilisation: float | None) -> str:
    return "" if utilisation is None else f", {100 * utilisation:.1f} % of its peak"


def _over_sites(data: list[Figure], rows: list[SiteFidelity], y: Figure, height: int) -> Figure:
    """Figure over the layers in the model's order: blocks shaded in turn, ticks for wide and narrow screens."""
    blocks: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        block, _ = split_block(row.site)
        if block is not None:
            blocks.setdefault(block, []).append(place)
    bands = [
        {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": places[0] - 0.5, "x1": places[-1] + 0.5,
         "fillcolor": "--band", "line": {"width": 0}, "layer": "below"}
        for places in list(blocks.values())[::2]
    ]  # fmt: skip
    # Room for vertical names of this many letters, and for the ticks and title of the blocks.
    names = 14 + 6 * max(len(_short(row.site)) for row in rows)
    every = {
        "tickvals": list(range(len(rows))),
        "ticktext": [_short(row.site) for row in rows],
        "tickangle": -90,
    }
    narrow = {
        "tickvals": [(places[0] + places[-1]) / 2 for places in blocks.values()],
        "ticktext": list(blocks),
        "tickangle": 0,
        "title": {"text": "encoder block", "font": {"size": 12, "color": "--muted"}, "standoff": 6},
    }
    layout = canvas(height=height) | {
        "xaxis": axis(
            range=[-0.6, len(rows) - 0.4],
            showgrid=False,
            type="category",
            spikecolor="--muted",
            spikethickness=1,
        ),
        "yaxis": y,
        "shapes": bands,
        "hovermode": "x unified",
    }
    layout["margin"] |= {"b": 8}
    # The page shows every name where a layer gets enough room, else one tick per block.
    return {"data": data, "layout": layout, "ticks": {"every": every, "blocks": narrow if blocks else every},
            "layers": len(rows),
            "room": {"every": names, "blocks": 44}}  # fmt: skip


def _short(site: str) -> str:
    block, inside = split_block(site)
    return escape(inside if block is None else f"{block}.{inside}")


def canvas(height: int) -> Figure:
    """What every figure's layout starts from."""
    return {
        "height": height, "margin": {"l": 56, "r": 12, "t": 12, "b": 44}, "showlegend": False, "dragmode": False,
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font": {"color": "--ink", "size": 12},
        "hoverlabel": {"bgcolor": "--card", "bordercolor": "--rule", "font": {"color": "--ink", "size": 12}},
    }  # fmt: skip


def axis(*, title: str = "", **more: Any) -> Figure:
    """Axis that fits its labels and does not capture a finger that scrolls the page."""
    return {
        "title": {"text": title, "font": {"size": 12, "color": "--muted"}, "standoff": 10}, "automargin": True,
        "fixedrange": True, "zeroline": False, "gridcolor": "--rule", "linecolor": "--rule",
        "tickfont": {"size": 11, "color": "--muted"},
    } | more  # fmt: skip

"""The page's plots: the figures they hold, one run of many at a time, and how a browser draws them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports import plots
from reports.page import render, write_page
from reports.results import Results, Tables
from reports.run_grid import run_grid
from tests.page_sample import Page, figures, only, sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def full() -> str:
    return render(sample())


def test_plotly_is_inside_once_and_absent_without_plots(full: str) -> None:
    assert full.count("plotly.js v") == 1
    tables_only = render(only(sample(), "verification", "area"))
    assert "plotly.js v" not in tables_only
    assert len(tables_only) < 60_000


def test_plots_hold_the_figures_they_show(full: str) -> None:
    drawn = figures(full)
    integer = drawn["plot-accuracy"]["data"][-1]
    assert integer["name"] == "integer"
    rows = [row for row in sample().tables.accuracy if row.level == "integer"]
    assert integer["y"] == pytest.approx([row.top1 for row in rows])
    low, high = drawn["plot-accuracy"]["layout"]["yaxis"]["range"]
    assert all(low < row.low and row.high < high for row in sample().tables.accuracy)
    sites = [row.sqnr_integer_db for row in sample().tables.fidelity if row.run == "W6/A6"]
    assert drawn["plot-sqnr-1"]["data"][1]["y"] == pytest.approx(sites)
    assert drawn["plot-sqnr-1"]["data"][1]["y"][5] is None
    spans = {tuple(drawn[f"plot-sqnr-{k}"]["layout"]["yaxis"]["range"]) for k in range(3)}
    assert len(spans) == 1


def test_every_property_of_the_figures_is_one_that_plotly_knows(full: str) -> None:
    script = (
        "import json, re, sys, plotly.graph_objects as go\n"
        "css = lambda node: re.sub(r'\"--[a-z0-9-]+\"', '\"#123456\"', json.dumps(node))\n"
        "for figure in json.load(sys.stdin).values():\n"
        "    go.Figure(data=json.loads(css(figure['data'])), layout=json.loads(css(figure['layout'])))\n"
    )
    # In a process of its own: plotly's objects take a second to import and warn about other packages.
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(figures(full)), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_colour_of_a_plot_is_defined(full: str) -> None:
    style = full[full.index("<style>") : full.index("</style>")]
    used = set(re.findall(r'"(--[a-z0-9-]+)"', json.dumps(figures(full)))) | set(
        re.findall(r"var\((--[a-z0-9-]+)\)", full)
    )
    assert used
    assert used <= set(re.findall(r"(--[a-z0-9-]+):", style))
    assert plots.unit_colour("eighth", (*"abcdefg", "eighth")) == "--unit-other"


def many() -> Results:
    """Three schemes at three widths, as `vitrtl accuracy` names its runs."""
    found = [
        sample(1)
        .model_dump_json()
        .replace("W4/A4", "a W4/A4")
        .replace("W6/A6", "a W6/A6")
        .replace("W8/A8", "a W8/A8")
    ]
    found += [found[0].replace('"a W', f'"{scheme} W') for scheme in ("b", "c")]
    read = [Results.model_validate_json(text).tables for text in found]
    float_, *of_a = read[0].accuracy
    return Results(
        command="accuracy",
        tables=Tables(
            accuracy=(float_, *of_a, *read[1].accuracy[1:], *read[2].accuracy[1:]),
            fidelity=tuple(row for tables in read for row in tables.fidelity),
            cycles=tuple(
                row.model_copy(update={"cycles": row.cycles + order})
                for tables in read
                for order, run in enumerate(dict.fromkeys(row.run for row in tables.cycles))
                for row in tables.cycles
                if row.run == run
            ),
        ),
    )


def test_many_runs_are_a_grid_and_their_plots_one_at_a_time() -> None:
    text = render(many())
    page = Page(text)
    band = page.words()[: page.words().index("Fidelity per layer")]
    assert "integer top-1, % W4/A4 W6/A6 W8/A8 a 92.8 96.4 97.2 b 92.8 96.4 97.2 c 92.8 96.4 97.2" in band
    hidden = [attributes for _, attributes in page.tags if "data-picked" in attributes]
    assert [sum(a["data-picked"] == group for a in hidden) for group in ("sqnr", "codes")] == [9, 9]
    assert [
        sum("hidden" not in a and a["data-picked"] == group for a in hidden) for group in ("sqnr", "codes")
    ] == [1, 1]
    drawn = figures(text)["plot-accuracy"]
    assert drawn["ticks"]["every"]["ticktext"] == 3 * ["W4/A4", "W6/A6", "W8/A8"]
    assert drawn["ticks"]["blocks"] == {"tickvals": [1.0, 4.0, 7.0], "ticktext": ["a", "b", "c"]}
    # A run of another name leaves no grid; nor do few.
    assert run_grid(sample()) is None
    odd = many().model_dump_json().replace('"c W8/A8"', '"c"')
    assert run_grid(Results.model_validate_json(odd)) is None


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """A tab of a browser, as wide as a phone, for all tests here."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        # Beside a busy test of another process a page may take its time.
        page.set_default_timeout(120_000)
        yield page
        browser.close()


@pytest.fixture
def errors(tab: Any) -> Iterator[list[str]]:
    """Whatever the pages of a test wrote to the console, raised, or asked the network for."""
    heard: list[str] = []
    listeners = {
        "console": lambda message: heard.append(message.text),
        "pageerror": lambda error: heard.append(str(error)),
        "request": lambda request: None if request.url.startswith("file:") else heard.append(request.url),
    }
    for event, hear in listeners.items():
        tab.on(event, hear)
    yield heard
    for event, hear in listeners.items():
        tab.remove_listener(event, hear)


@needs_browser
def test_a_browser_draws_every_plot_without_an_error(tab: Any, errors: list[str], tmp_path: Path) -> None:
    results = sample(1)
    tab.goto(write_page(results, tmp_path / "report.html").as_uri())
    for name in figures(render(results)):
        tab.wait_for_selector(f"#{name} .main-svg")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert errors == []


@needs_browser
def test_a_run_that_is_chosen_is_drawn(tab: Any, errors: list[str], tmp_path: Path) -> None:
    tab.goto(write_page(many(), tmp_path / "report.html").as_uri())
    tab.wait_for_selector("#plot-sqnr-0 .main-svg")
    assert tab.locator("#plot-sqnr-4 .main-svg").count() == 0
    tab.select_option("[data-pick=sqnr]", "4")
    tab.wait_for_selector("#plot-sqnr-4 .main-svg")
    assert tab.locator("#plot-sqnr-0").is_hidden()
    assert tab.locator("#plot-codes-0").is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert errors == []

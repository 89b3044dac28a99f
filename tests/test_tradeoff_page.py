"""The explorer in a real browser: it draws, sorts, filters, opens a design, asks the network for nothing."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.emphasis import emphasise
from reports.tradeoff import page as trade
from reports.tradeoff.answers import pareto
from tests.tradeoff_sample import sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
OPTIONAL = ("energy", "weight_kib", "verified", "verified_unit", "mismatch", "energy_parts", "buffers")
"""Fields that a sweep may have and an older one has not."""

Document = dict[str, Any]


def bare(document: Document) -> Document:
    """The sweep of a run that compared no RTL and measured no energy; its worst design 10 points below the best."""
    for design in document["designs"]:
        parts = [part for listed in design["parts"].values() for part in listed]
        for row in (design, *design["areas"].values(), *parts):
            for name in OPTIONAL:
                row.pop(name, None)
        if design["run"] == "uniform W4/A4":
            design |= {"top1": 62.0, "low": 59.0, "high": 65.0}
    return document


def broken(document: Document) -> Document:
    """The same with a design that knows next to nothing."""
    bare(document)["designs"][2]["top1"] = 3.0
    return document


def measured(document: Document) -> Document:
    """The same with weights of every design, energy of all but one on ecp5, and three states of verification."""
    for place, design in enumerate(bare(document)["designs"]):
        design["weight_kib"] = 64.0 * design["weight_bits"]
        for first, second, *_ in design["parts"].values():
            first["verified"], second["verified_unit"] = 12_345, 678
        if place:
            design["areas"]["ecp5"] |= {"energy": 1.0 + 0.25 * place, "energy_parts": ["mac", "softmax"]}
            design["parts"]["ecp5"][0]["energy"] = 0.75
            design["areas"]["ecp5"]["buffers"] = [{"name": "weight buffer", "kbit": 512.0, "block_rams": 32}]
        else:
            design["parts"]["ecp5"][2]["mismatch"] = "log2_mac <s8>: o beat 3 is 2, not 5"
    return document


def leading(document: Document) -> Document:
    """Eight designs close together, none of which another one beats."""
    (first, *_), designs = document["designs"], []
    for place in range(8):
        top1, luts = 70 + 0.2 * place, 1000.0 + 9 * place
        areas = {"ecp5": {**first["areas"]["ecp5"], "luts": luts}, "xcup": first["areas"]["xcup"]}
        designs.append({**first, "run": f"repq W{place + 2}/A8", "top1": top1, "low": top1 - 3, "high": top1 + 3,
                        "areas": areas})  # fmt: skip
    return document | {"designs": designs}


def write(monkeypatch: pytest.MonkeyPatch, path: Path, change: Callable[[Document], Document]) -> str:
    """Address of a page of the made-up sweep after `change`."""
    made = change(trade.document(sample()))
    monkeypatch.setattr(trade, "document", lambda results: made)
    return trade.write_page(sample(), {}, path).as_uri()


def test_labels_cannot_break_the_page() -> None:
    text = trade.render(sample(), {"</script><b>": "<img src=x>"})
    assert "<img src=x>" not in text
    data = text.split('<script type="application/json" id="sweep">')[1].split("</script>")[0]
    assert json.loads(data)["designs"][0]["config"]["scheme"]["name"] == "<b>"
    assert "<b>" not in data


def test_a_sentence_keeps_its_words_and_gains_bold_figures_and_links() -> None:
    text = "log2 <i> gains -0.3 points [95.7, 98.9] of 80,976 LUT in repq W4/A4 to W8/A8, log√2, 98.1 %."
    told = emphasise(text, sample())
    assert told.striptags() == text.replace("-0.3", "−0.3")
    assert told.count("<b>") == 3
    for bold in ("−0.3 points", "80,976 LUT", "98.1 %"):
        assert f"<b>{bold}</b>" in told
    assert '<a href="#design=repq%20W4%2FA4">repq W4/A4</a>' in told
    assert "&lt;i&gt;" in told


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """One tab for all tests: the second page in it costs a third of the first."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(accept_downloads=True)
        # Beside a busy test of another process a page may take its time.
        page.set_default_timeout(120_000)
        yield page
        browser.close()


Open = Callable[..., Any]


@pytest.fixture
def visit(tab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens a page; at the end, no message of the console, no error and no request may have been heard."""
    heard: list[str] = []
    listeners = {
        "console": lambda message: heard.append(message.text),
        "pageerror": lambda error: heard.append(str(error)),
        "request": lambda request: heard.append(request.url),
    }
    for event, hear in listeners.items():
        tab.on(event, hear)

    def go(
        change: Callable[[Document], Document] = bare,
        behind: str = "",
        width: int = 1280,
        scheme: str = "light",
    ) -> Any:
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(color_scheme=scheme)
        made = tmp_path / f"{change.__name__}.html"
        tab.goto(write(monkeypatch, made, change) + behind)
        tab.wait_for_selector("#plot-sites .point" if behind else "#plot-designs .point")
        return tab

    yield go
    for event, hear in listeners.items():
        tab.remove_listener(event, hear)
    assert [text for text in heard if not text.startswith(("file:", "blob:"))] == []


def points(page: Any) -> int:
    return int(page.locator("#plot-designs .point").count())


def rows(page: Any) -> list[str]:
    return list(page.locator("#table tbody tr td:first-child").all_text_contents())


@needs_browser
def test_every_design_is_drawn_with_its_baselines(visit: Open) -> None:
    page = visit()
    assert points(page) == 4
    words = page.locator("#plot-designs").text_content()
    assert "float73.0 %" in words
    assert "uniformINT871.5 %" in words
    assert "integer top-1 (%)" in words
    assert "LUT on ECP5 (ecp5)" in words
    assert page.locator("#verdict.good").text_content() == "✓ sim = int64 reference"
    # On xcup one of them has no area, and no place on that axis; cycles are known for all.
    page.select_option("#target", "xcup")
    assert points(page) == 3
    assert "Not drawn: 1" in page.locator("#reading").text_content()
    page.select_option("#axis", "cycles")
    assert points(page) == 4
    page.select_option("#widths", "W4/A4")
    assert points(page) == 2
    assert len(rows(page)) == 2


@needs_browser
def test_the_designs_that_others_beat_are_grey_and_open(visit: Open) -> None:
    page = visit()
    drawn = page.evaluate("document.getElementById('plot-designs').data.filter(d => d.customdata)"
                          ".map(d => [d.customdata, d.marker.symbol, d.marker.color])")  # fmt: skip
    filled = {run for runs, symbol, _ in drawn if not symbol.endswith("-open") for run in runs}
    assert filled == set(pareto(sample(), "ecp5"))
    assert len({symbol.removesuffix("-open") for _, symbol, _ in drawn}) == 2
    colours = {symbol.endswith("-open"): colour for _, symbol, colour in drawn}
    assert colours[True] != colours[False]
    assert page.locator("#table tr.front").count() == len(filled)


@needs_browser
def test_only_costs_that_the_sweep_knows_can_be_chosen(visit: Open) -> None:
    def offered(page: Any) -> list[str]:
        return list(page.locator("#axis option").all_text_contents())

    page = visit()
    assert offered(page) == ["LUT", "DSP", "cycles per image", "time per image, ms"]
    page = visit(measured)
    assert {"energy, pJ, relative", "weights, KiB"} <= set(offered(page))
    page.select_option("#axis", "energy")
    assert points(page) == 3
    assert "energy of an image (pJ, relative)" in page.locator("#plot-designs").text_content()
    page.select_option("#axis", "weight_kib")
    assert points(page) == 4
    # What only the other target has is gone with it, and another cost is drawn.
    page.select_option("#axis", "energy")
    page.select_option("#target", "xcup")
    assert "energy, pJ, relative" not in offered(page)
    assert page.input_value("#axis") == "luts"


@needs_browser
def test_the_accuracy_axis_narrows_and_says_what_it_leaves_out(visit: Open) -> None:
    page = visit(broken)
    # 3 % beside 72 %: the axis begins near the best.
    assert page.input_value("#range") == "25"
    assert points(page) == 3
    assert "Below the axis: 1" in page.locator("#reading").text_content()
    page.select_option("#scale", "log")
    assert points(page) == 3
    page.select_option("#range", "")
    assert points(page) == 4


@needs_browser
def test_schemes_are_switched_by_keyboard(visit: Open) -> None:
    page = visit()
    page.focus("#schemes button >> nth=1")
    page.keyboard.press("Space")
    assert points(page) == 2
    assert rows(page) == ["repq W8/A8", "repq W4/A4"]
    assert page.get_attribute("#schemes button >> nth=1", "aria-pressed") == "false"
    page.keyboard.press("Enter")
    assert points(page) == 4


@needs_browser
def test_the_table_sorts_and_filters(visit: Open) -> None:
    page = visit()
    assert rows(page)[0] == "repq W8/A8"
    page.focus("#table thead button >> text=LUT")
    page.keyboard.press("Enter")
    assert rows(page)[0] == "repq W4/A4"
    page.keyboard.press("Enter")
    assert rows(page)[0] == "uniform W8/A8"
    assert page.locator("#table th[aria-sort=descending]").text_content() == "LUT"
    page.fill("#filter", "uniform w8")
    assert rows(page) == ["uniform W8/A8"]
    assert "1 of 4" in page.locator("#count").text_content()
    # The figure that is not known is a dash, never 0, and comes last either way.
    page.fill("#filter", "")
    page.select_option("#target", "xcup")
    assert "–" in page.locator("#table tbody tr", has_text="repq W4/A4").text_content()
    assert rows(page)[-1] == "repq W4/A4"
    page.click("#table thead button >> text=LUT")
    assert rows(page)[-1] == "repq W4/A4"


@needs_browser
def test_a_click_opens_the_design_and_back_closes_it(visit: Open) -> None:
    page = visit()
    assert page.locator("#design").is_hidden()
    page.locator("#plot-designs .point").first.click(force=True)
    page.wait_for_selector("#design", state="visible")
    assert page.locator("#table").is_hidden()
    page.go_back()
    page.wait_for_selector("#table", state="visible")
    assert points(page) == 4
    # A row, by its link and the keyboard alone; Escape returns to it.
    page.focus("#table a >> text=uniform W8/A8")
    page.keyboard.press("Enter")
    page.wait_for_selector("#design", state="visible")
    assert page.locator("#design-name").text_content() == "uniform W8/A8"
    assert page.locator("#parts tbody tr").count() == 5
    assert page.locator("#plot-parts .of").count() == 5
    assert page.locator("#plot-layers .value").all_text_contents() == ["400 · 33.3 %", "800 · 66.7 %"]
    assert page.locator("#plot-sites .point").count() == 8
    assert "probability" in page.locator("#parts").text_content()
    page.keyboard.press("Escape")
    page.wait_for_selector("#table", state="visible")
    assert page.evaluate("document.activeElement.textContent") == "uniform W8/A8"


@needs_browser
def test_a_link_opens_its_design(visit: Open) -> None:
    page = visit(behind="#design=repq%20W8%2FA8")
    assert page.locator("#design-name").text_content() == "repq W8/A8"
    page.click("#design .back")
    page.wait_for_selector("#table", state="visible")
    assert points(page) == 4
    page.click(".answers a >> visible=true >> nth=0")
    page.wait_for_selector("#design", state="visible")


@needs_browser
def test_a_design_says_how_far_each_part_is_verified_and_measured(visit: Open) -> None:
    page = visit(measured, behind="#design=repq%20W8%2FA8")
    states = page.locator("#parts tbody tr").all_text_contents()
    assert "✓ 12,345 vectors" in states[0]
    assert "other parameters: 678 vectors" in states[1]
    assert "not compared" in states[2]
    assert all("yosys 0.70" in state for state in states)
    facts = page.locator("#design-figures").text_content()
    assert "1 of 4 parts" in facts
    assert "512 KiB" in facts
    assert "energy of an image1.25 pJ" in facts
    assert "sum: mac, softmax" in page.locator("#energy-note").text_content()
    assert "0.75" in states[0]
    assert "weight buffer 512 kbit, at least 32 block RAM" in page.locator("#buffers-note").text_content()


@needs_browser
def test_a_part_whose_rtl_differs_is_loud(visit: Open) -> None:
    page = visit(measured, behind="#design=repq%20W4%2FA4")
    told = page.locator("#parts td.bad")
    assert told.all_text_contents() == ["✗ differs: log2_mac <s8>: o beat 3 is 2, not 5"]
    assert "✗ 1 differ" in page.locator("#design-figures").text_content()
    page.keyboard.press("Escape")
    page.wait_for_selector("#table", state="visible")
    assert "✗ 1 differ" in page.locator("#table tr", has_text="repq W4/A4").text_content()
    assert page.locator("#verdict.bad").text_content() == "✗ RTL of 1 parts differs"


@needs_browser
def test_what_was_not_measured_is_not_claimed(visit: Open) -> None:
    page = visit(behind="#design=repq%20W8%2FA8")
    assert page.locator("#parts td", has_text="not compared").count() == 4
    assert "not compared" in page.locator("#design-figures").text_content()
    assert "✓" not in page.locator("#design").text_content()
    assert page.locator("#energy-note").is_hidden()
    assert page.locator("#buffers-note").is_hidden()
    assert "nergy" not in page.locator("#parts").text_content()


@needs_browser
def test_the_answers_are_those_of_the_target(visit: Open) -> None:
    page = visit()
    assert "On ecp5" in page.locator(".answers").inner_text()
    page.select_option("#target", "xcup")
    assert "On xcup" in page.locator(".answers").inner_text()
    assert "ecp5" not in page.locator(".answers").inner_text()
    assert page.locator("#softmax table >> visible=true").count() == 1


@needs_browser
def test_downloads(visit: Open) -> None:
    page = visit(measured)
    with page.expect_download() as started:
        page.click("[data-save=csv]")
    lines = list(csv.DictReader(io.StringIO(Path(started.value.path()).read_text())))
    assert len(lines) == 8
    found = {(line["target"], line["run"]): line for line in lines}
    assert found["ecp5", "uniform W8/A8"]["top1"] == "71.5"
    assert found["ecp5", "uniform W8/A8"]["energy"] == "1.75"
    assert found["xcup", "uniform W8/A8"]["energy"] == ""
    assert found["xcup", "repq W4/A4"]["luts"] == ""
    with page.expect_download() as started:
        page.click("[data-save=json]")
    assert len(json.loads(Path(started.value.path()).read_text())["designs"]) == 4


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_nothing_is_wider_than_the_screen(visit: Open, width: int, scheme: str) -> None:
    page = visit(measured, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#table tbody tr").first.click()
    page.wait_for_selector("#design", state="visible")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@needs_browser
def test_names_in_the_plot_do_not_overlap(visit: Open) -> None:
    page = visit(leading)
    page.wait_for_function("document.querySelectorAll('#plot-designs .annotation-text').length > 4")
    boxes = page.evaluate(
        "[...document.querySelectorAll('#plot-designs .annotation-text')].map((text) => {"
        " const box = text.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]; })"
    )
    for place, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:place]:
            assert left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]

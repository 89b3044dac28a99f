"""The explorer in a real browser: it draws, sorts, filters, opens a design, asks the network for nothing."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.tradeoff.page import render, write_page
from tests.tradeoff_sample import sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


def test_labels_cannot_break_the_page() -> None:
    text = render(sample(), {"</script><b>": "<img src=x>"})
    assert "<img src=x>" not in text
    data = text.split('<script type="application/json" id="sweep">')[1].split("</script>")[0]
    assert json.loads(data)["designs"][0]["config"]["scheme"]["name"] == "<b>"
    assert "<b>" not in data


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    heard: list[str] = []
    opened.on("console", lambda message: heard.append(message.text) if message.type != "log" else None)
    opened.on("pageerror", lambda error: heard.append(str(error)))
    opened.on(
        "request", lambda request: heard.append(request.url) if not request.url.startswith("file:") else None
    )
    opened.goto(write_page(sample(), {}, tmp_path / "report.html").as_uri())
    opened.wait_for_selector("#plot-designs .point")
    yield opened
    assert [text for text in heard if not text.startswith("blob:")] == []
    opened.close()


@needs_browser
def test_every_design_is_drawn_with_the_float_baseline(page: Any) -> None:
    assert page.locator("#plot-designs .point").count() == 4
    assert "float 73.0 %" in page.locator("#plot-designs").text_content()
    assert "uniform INT8 71.5 %" in page.locator("#plot-designs").text_content()
    # On xcup one of them has no area, and no place on that axis; cycles are known for all.
    page.select_option("#target", "xcup")
    assert page.locator("#plot-designs .point").count() == 3
    page.select_option("#axis", "cycles")
    assert page.locator("#plot-designs .point").count() == 4
    page.select_option("#widths", "W4/A4")
    assert page.locator("#plot-designs .point").count() == 2


@needs_browser
def test_the_table_sorts_and_filters(page: Any) -> None:
    def first() -> str:
        return str(page.locator("#table tbody tr td").first.text_content())

    assert first() == "repq W8/A8"
    page.click("#table th >> text=LUT")
    assert first() == "uniform W8/A8"
    page.click("#table th >> text=LUT")
    assert first() == "repq W4/A4"
    page.fill("#filter", "uniform w8")
    assert page.locator("#table tbody tr").count() == 1
    assert "1 of 4" in page.locator("#count").text_content()
    # The figure that is not known is a dash, never 0.
    page.fill("#filter", "")
    page.select_option("#target", "xcup")
    assert "–" in page.locator("#table tbody tr", has_text="repq W4/A4").text_content()


@needs_browser
def test_a_click_opens_the_design(page: Any) -> None:
    assert page.locator("#design").is_hidden()
    page.locator("#plot-designs .point").first.click(force=True)
    assert page.locator("#design").is_visible()
    name = page.locator("#design-name").text_content()
    page.locator("#table tbody tr", has_text="uniform W8/A8").click()
    assert page.locator("#design-name").text_content() == "uniform W8/A8"
    assert name.startswith("repq")
    assert page.locator("#plot-parts .point").count() == 5
    assert page.locator("#plot-sites .point").count() == 8
    assert "probability" in page.locator("#parts").text_content()


@needs_browser
def test_downloads(page: Any) -> None:
    for kind, has in (("csv", "repq W8/A8,72"), ("json", '"designs"')):
        with page.expect_download() as started:
            page.click(f"[data-save={kind}]")
        assert has in Path(started.value.path()).read_text()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(browser: Any, tmp_path: Path, scheme: str, width: int) -> None:
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened.goto(write_page(sample(), {}, tmp_path / "report.html").as_uri())
    opened.locator("#table tbody tr").first.click()
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    opened.close()

"""The page: complete, self-contained, escaped, honest about what is unknown. The figures here are made up."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from golden.errors import UserError
from reports import plots
from reports.page import render, write_page
from reports.results import (
    Accuracy,
    Agreement,
    Config,
    Exactness,
    KernelSpeed,
    LayerCycles,
    Overflow,
    Results,
    SiteFidelity,
    Speed,
    Tables,
    UnitArea,
    UnitTime,
    UnitVerification,
)
from reports.run_grid import run_grid
from reports.summary import area_groups, cycle_groups, verdict
from reports.verification_rows import Mutants

BLOCK = (
    ("norm1", "layernorm", 2010), ("attn.qkv", "mac", 19_300), ("attn.qkv.requantize", "requantizer", 2400),
    ("attn.scores", "mac", 8200), ("attn.softmax", "softmax", 7400), ("attn.context", "log2_mac", 8100),
    ("attn.proj", "mac", 6500), ("residual1", "residual_adder", 790), ("norm2", "layernorm", 2010),
    ("mlp.fc1", "mac", 25_700), ("mlp.act", "gelu", 3200), ("mlp.fc2", "mac", 25_700),
    ("residual2", "residual_adder", 790),
)  # fmt: skip
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
SHOWN = [name for name in Tables.model_fields if name not in ("designs", "parts", "areas")]
"""Tables with a section here; a trade-off has a page of its own."""
UNITS = ("gelu", "layernorm", "log2_mac", "mac", "requantizer", "residual_adder", "softmax")


def sample(blocks: int = 4, runs: tuple[str, ...] = ("W4/A4", "W6/A6", "W8/A8")) -> Results:
    """Results of every kind, shaped like a demo's; made up, and only that."""
    layers = [("patch_embed", "mac", 9600)]
    layers += [(f"blocks.{b}.{name}", unit, cycles) for b in range(blocks) for name, unit, cycles in BLOCK]
    layers += [("norm", "layernorm", 60), ("head", "mac", 130)]
    sites = [name for name, unit, _ in layers if "residual" not in name and "requantize" not in name]
    accuracy = [Accuracy.of(run="float", level="float", correct=352, n=360)]
    fidelity: list[SiteFidelity] = []
    cycles: list[LayerCycles] = []
    for place, run in enumerate(runs):
        right = 352 - (17, 4, 1)[place]
        accuracy += [
            Accuracy.of(run=run, level="fakequant", correct=right, n=360),
            Accuracy.of(run=run, level="fakequant_hardware", correct=right - 1 + place // 2, n=360),
            Accuracy.of(run=run, level="integer", correct=right - 1, n=360),
        ]
        for order, site in enumerate(sites):
            # A decay along the model with a sawtooth inside a block.
            sqnr = 14 + 11 * place + 9 / (1 + order / 12) + 2.6 * ((order * 7) % 5 - 2)
            fidelity.append(SiteFidelity(
                run=run, layer=order, site=site, sqnr_fakequant_db=sqnr,
                sqnr_integer_db=None if order == 5 else sqnr - 0.15 * (order % 4),
                code_mismatch_fraction=0.0006 * ((order * 5) % 7) * (place + 1),
                code_mismatch_max=min(1, (order * 5) % 7),
            ))  # fmt: skip
        cycles += [
            LayerCycles(run=run, layer=name, unit=unit, cycles=count, operations=240 * count,
                        utilisation=0.94 if "mac" in unit else None)
            for name, unit, count in layers
        ]  # fmt: skip
    return Results(
        command="demo",
        config=Config(
            model=f"vit_test_patch2 ({blocks} blocks)", scheme="repq", data="8 × 8 digits, 360 test images",
            accelerator="16 × 16 array", clock_mhz=200.0, seed=0, weight_bits=[4, 6, 8],
        ),
        tools={"vitrtl": "0.1.0", "torch": "2.13.0", "amaranth": "0.5.10", "pyosys": "0.70", "Icarus Verilog": "11.0"},
        tables=Tables(
            accuracy=tuple(accuracy),
            agreement=tuple(
                Agreement(run=run, pair=pair, percent=percent, n=360)
                for run in runs
                for pair, percent in (("integer/fakequant_hardware", 99.72), ("integer/float", 95.28))
            ),
            fidelity=tuple(fidelity),
            cycles=tuple(cycles),
            exactness=tuple(Exactness(run=run, tensors=118, integers=24_361_984, differing=0) for run in runs),
            overflows=tuple(
                Overflow(run=run, operation=f"blocks.0.{name}", unit="mac", outputs=151_296, overflowed=1_000 * k)
                for run in runs for k, name in enumerate(("attn.qkv_acc", "mlp.fc1_acc"))
            ),
            verification=tuple(
                UnitVerification(unit=unit, spec=spec, simulator="Icarus Verilog 11.0",
                                 rows=400 if spec == "u8" else None, beats=16_400 + 977 * k,
                                 volume=1 << 18 if spec == "u8" else None, exhaustive=spec == "u8" or None,
                                 mismatches=0, cycle_mismatches=0, protocol_errors=0,
                                 proof="proven" if unit == "gelu" else None,
                                 seconds=3.4 + k, passed=True, seed=0)
                for k, unit in enumerate(UNITS) for spec in ("u4", "u8")
            ),
            mutants=(
                Mutants(file="rtl/units/gelu.py", faults=90, planted=40, killed=36, equivalent=3,
                        survivors=("rtl/units/gelu.py:41  8 to 7",)),
            ),
            area=tuple(
                UnitArea(unit=unit, spec="u4", target="ecp5", luts=230 + 411 * k, ffs=180 + 157 * k, dsps=(k * 3) % 7,
                         brams=k % 2, carries=40 + k, fmax_mhz=None if unit == "gelu" else 163.4 - 6.2 * k,
                         tools="Yosys 0.70, nextpnr-ecp5 0.11", flags="synth_ecp5 -abc9; --25k --freq 200 --seed 1")
                for k, unit in enumerate(UNITS)
            ),
            speed=(
                Speed(run="float", implementation="float", images=360, seconds=1.8, threads=2),
                Speed(run="W4/A4", implementation="sim", images=360, seconds=1.1, threads=2),
            ),
            kernels=(
                KernelSpeed(kernel="fc1 W4", implementation="sim", results=1200, seconds=0.001),
                KernelSpeed(kernel="fc1 W4", implementation="apytypes", results=1200, seconds=0.0042),
            ),
            profile=(
                UnitTime(run="W4/A4", layer="mlp.fc1_acc", unit="mac", count=4, milliseconds=2.5),
                UnitTime(run="W4/A4", layer="norm", unit="layernorm", count=1, milliseconds=0.25),
            ),
        ),
    )  # fmt: skip


def only(results: Results, *tables: str) -> Results:
    """`results` with nothing but `tables`."""
    kept = {name: getattr(results.tables, name) for name in tables}
    return results.model_copy(update={"tables": Tables(**kept)})


class _Page(HTMLParser):
    """Tags, attributes and text outside scripts and styles of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open:
            self.text += f" {data}"

    @property
    def ids(self) -> list[str]:
        return [i for _, attributes in self.tags if (i := attributes.get("id"))]

    def sections(self) -> list[str]:
        return [str(attributes["id"]) for tag, attributes in self.tags if tag == "section"]

    def words(self) -> str:
        return " ".join(self.text.split())


def figures(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


def with_rows(results: Results, **tables: tuple[Any, ...]) -> Results:
    merged = {name: getattr(results.tables, name) for name in Tables.model_fields} | tables
    return results.model_copy(update={"tables": Tables(**merged)})


@pytest.fixture(scope="module")
def full() -> str:
    return render(sample())


def test_a_full_page_has_every_section_and_a_place_for_every_figure(full: str) -> None:
    page = _Page(full)
    assert page.sections() == [*SHOWN, "provenance"]
    assert len(page.ids) == len(set(page.ids))
    assert set(figures(full)) <= set(page.ids)
    assert len(figures(full)) == 1 + 3 + 3 + 1 + 1
    anchors = [str(a["href"])[1:] for tag, a in page.tags if tag == "a"]
    assert anchors == page.sections()


def test_the_headline_answers_the_three_questions(full: str) -> None:
    words = _Page(full).words()
    band = words[: words.index("Accuracy Agreement Fidelity per layer")]
    assert "W4/A4 93.06 92.78 92.78 W6/A6 96.67 96.39 96.39 W8/A8 97.50 97.50 97.22 float 97.78" in band
    vectors = 2 * sum(16_400 + 977 * k for k in range(7))
    assert f"0 of {vectors:,} vectors differ cycle differences 0 protocol errors 0" in band
    assert "458,190 cycles per image 2.29 ms at 200 MHz, the same for every run" in band
    luts = sum(230 + 411 * k for k in range(7))
    assert f"one of each unit on ecp5 {luts:,} LUT" in band
    assert "all 17 checks pass" in band


def test_the_page_fetches_nothing(full: str) -> None:
    page = _Page(full)
    policy = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policy) == 1
    assert "default-src 'none'" in str(policy[0])
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base"), tag
        assert "src" not in attributes, attributes
        if "href" in attributes:
            assert str(attributes["href"]).startswith("#"), attributes
    style = full[full.index("<style>") : full.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_plotly_is_inside_once_and_absent_without_plots(full: str) -> None:
    assert full.count("plotly.js v") == 1
    tables_only = render(only(sample(), "verification", "area"))
    assert "plotly.js v" not in tables_only
    assert len(tables_only) < 60_000


@pytest.mark.parametrize("tables", [(), ("accuracy",), ("verification",), ("cycles",), ("fidelity",), ("exactness",),
                                    ("accuracy", "agreement", "fidelity", "exactness", "cycles")])  # fmt: skip
def test_an_empty_table_leaves_no_trace(tables: tuple[str, ...]) -> None:
    page = _Page(render(only(sample(), *tables)))
    assert page.sections() == [*(name for name in SHOWN if name in tables), "provenance"]
    if "verification" not in tables:
        assert "RTL the simulator" not in page.text
    if not {"verification", "exactness"} & set(tables):
        assert "checks" not in page.text


def test_labels_cannot_break_the_page() -> None:
    results = sample(1, ("W4/A4",))
    text = results.model_dump_json().replace("W4/A4", "</script><script>alert(1)</script>'&<b>")
    text = text.replace("attn.softmax", "<img src=x onerror=alert(1)>").replace("mlp.act", '\\" onload=\\"x')
    text = text.replace("layernorm", "<i>norm</i>").replace("vit_test_patch2", "{{ 7*7 }}<title>")
    clean, dirty = _Page(render(results)), render(Results.model_validate_json(text))
    page = _Page(dirty)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in clean.tags]
    assert [sorted(a) for _, a in page.tags] == [sorted(a) for _, a in clean.tags]
    assert "</script><script>alert(1)</script>'&<b>" in page.text
    assert "{{ 7*7 }}<title>" in page.text
    # Plotly reads its texts as HTML of a kind; there the labels are escaped too.
    assert "<img" not in json.dumps(figures(dirty))
    assert "&lt;img src=x" in json.dumps(figures(dirty))


def test_an_unknown_is_a_dash_and_never_a_number() -> None:
    results = sample(1)
    stopped = UnitVerification(
        unit="mac",
        spec="u2",
        simulator="Icarus Verilog 11.0",
        beats=0,
        seconds=0.2,
        passed=False,
        failure="o beat 3 is 0x2, not <0x5>",
    )
    area = UnitArea(unit="mac", spec="u4", target="ecp5", luts=77, tools="Yosys 0.70", flags="synth_ecp5")
    page = _Page(render(with_rows(only(results), verification=(stopped,), area=(area,)))).words()
    assert "mac u2 ✗ fail 0 – – – – 0.2 – Icarus Verilog 11.0 o beat 3 is 0x2, not <0x5>" in page
    assert "mac u4 77 – – – – –" in page
    assert "1 of 1 unit specs fail" in page
    assert "differ" not in page[: page.index("RTL verification")].replace("cycle differences –", "")


def test_one_unknown_part_makes_a_sum_unknown() -> None:
    rows = list(sample().tables.area)
    assert area_groups(sample())[0].total("brams") == 3
    rows[2] = rows[2].model_copy(update={"brams": None})
    assert area_groups(with_rows(sample(), area=tuple(rows)))[0].total("brams") is None
    twice = (*sample().tables.area, sample().tables.area[0].model_copy(update={"spec": "u8"}))
    assert area_groups(with_rows(sample(), area=twice))[0].total("luts") is None


def test_a_failed_check_is_loud() -> None:
    results = sample()
    rows = list(results.tables.verification)
    rows[3] = rows[3].model_copy(update={"mismatches": 12, "passed": False})
    exactness = list(results.tables.exactness)
    exactness[0] = exactness[0].model_copy(update={"differing": 3})
    failing = with_rows(results, verification=tuple(rows), exactness=tuple(exactness))
    assert (verdict(failing).checks, verdict(failing).failed) == (17, 2)
    page = _Page(render(failing)).words()
    assert "✗ 2 of 17 checks fail" in page
    assert "12 of 270,634 vectors differ" in page
    assert page.count("✗ fail") == 2


def test_equal_cycles_are_told_once_and_different_ones_apart() -> None:
    results = sample()
    (group,) = cycle_groups(results)
    assert group.total == 458_190
    assert (
        sum(share.cycles for share in group.units)
        == sum(share.cycles for share in group.layers)
        == group.total
    )
    assert sum(share.share for share in group.units) == pytest.approx(1)
    by_name = {share.name: share for share in group.layers}
    assert (by_name["mlp.fc1"].cycles, by_name["mlp.fc1"].count) == (4 * 25_700, 4)
    assert {share.name: share.utilisation for share in group.units}["softmax"] is None
    slower = tuple(
        row.model_copy(update={"cycles": row.cycles + 1})
        if (row.run, row.layer) == ("W8/A8", "head")
        else row
        for row in results.tables.cycles
    )
    groups = cycle_groups(with_rows(results, cycles=slower))
    assert [(g.runs, g.total) for g in groups] == [(("W4/A4", "W6/A6"), 458_190), (("W8/A8",), 458_191)]


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


def test_a_page_is_written_whole_and_a_bad_place_is_named(tmp_path: Path) -> None:
    path = write_page(only(sample(), "verification"), tmp_path / "out" / "report.html")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/report\.html: .* give --out a directory"):
        write_page(only(sample(), "verification"), tmp_path / "file" / "report.html")


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
    page = _Page(text)
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

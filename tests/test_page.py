"""The page: complete, self-contained, escaped, honest about what is unknown. The figures here are made up."""

import json
from pathlib import Path
from typing import Any

import pytest

from golden.errors import UserError
from reports.page import render, write_page
from reports.results import Results, Tables, UnitArea, UnitVerification
from reports.summary import area_groups, cycle_groups, verdict
from tests.page_sample import Page, figures, only, sample

SHOWN = [name for name in Tables.model_fields if name not in ("designs", "parts", "areas")]
"""Tables with a section here; a trade-off has a page of its own."""


def with_rows(results: Results, **tables: tuple[Any, ...]) -> Results:
    merged = {name: getattr(results.tables, name) for name in Tables.model_fields} | tables
    return results.model_copy(update={"tables": Tables(**merged)})


@pytest.fixture(scope="module")
def full() -> str:
    return render(sample())


def test_a_full_page_has_every_section_and_a_place_for_every_figure(full: str) -> None:
    page = Page(full)
    assert page.sections() == [*SHOWN, "provenance"]
    assert len(page.ids) == len(set(page.ids))
    assert set(figures(full)) <= set(page.ids)
    assert len(figures(full)) == 1 + 3 + 3 + 1 + 1
    anchors = [str(a["href"])[1:] for tag, a in page.tags if tag == "a"]
    assert anchors == page.sections()


def test_the_headline_answers_the_three_questions(full: str) -> None:
    words = Page(full).words()
    band = words[: words.index("Accuracy Agreement Fidelity per layer")]
    assert "W4/A4 93.06 92.78 92.78 W6/A6 96.67 96.39 96.39 W8/A8 97.50 97.50 97.22 float 97.78" in band
    vectors = 2 * sum(16_400 + 977 * k for k in range(7))
    assert f"0 of {vectors:,} vectors differ cycle differences 0 protocol errors 0" in band
    assert "458,190 cycles per image 2.29 ms at 200 MHz, the same for every run" in band
    luts = sum(230 + 411 * k for k in range(7))
    assert f"one of each unit on ecp5 {luts:,} LUT" in band
    assert "all 17 checks pass" in band


def test_the_page_fetches_nothing(full: str) -> None:
    page = Page(full)
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


@pytest.mark.parametrize("tables", [(), ("accuracy",), ("verification",), ("cycles",), ("fidelity",), ("exactness",),
                                    ("accuracy", "agreement", "fidelity", "exactness", "cycles")])  # fmt: skip
def test_an_empty_table_leaves_no_trace(tables: tuple[str, ...]) -> None:
    page = Page(render(only(sample(), *tables)))
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
    clean, dirty = Page(render(results)), render(Results.model_validate_json(text))
    page = Page(dirty)
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
    page = Page(render(with_rows(only(results), verification=(stopped,), area=(area,)))).words()
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
    page = Page(render(failing)).words()
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


def test_a_page_is_written_whole_and_a_bad_place_is_named(tmp_path: Path) -> None:
    path = write_page(only(sample(), "verification"), tmp_path / "out" / "report.html")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/report\.html: .* give --out a directory"):
        write_page(only(sample(), "verification"), tmp_path / "file" / "report.html")


def test_pages_beside_are_linked_and_their_names_escaped() -> None:
    page = render(only(sample(), "verification"), {"tradeoff/report.html": "<b>Four</b>"})
    assert '<a href="tradeoff/report.html">&lt;b&gt;Four&lt;/b&gt; →</a>' in page
    assert "tradeoff/report.html" not in render(only(sample(), "verification"))

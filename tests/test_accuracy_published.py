"""What the accuracy table sets beside its own figures: McNemar's test over uniform, and what others published."""

import itertools
import tomllib
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files

import pytest
from pydantic import ValidationError

from reports.accuracy import shipped_defaults
from reports.accuracy_margin import margin, mcnemar
from reports.accuracy_published import Published, load_published
from reports.accuracy_survey import Survey
from reports.accuracy_table import markdown
from reports.choice import Bits
from reports.results import Accuracy, Agreement, Config, Results, SiteFidelity, Tables


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, Fraction(1)),
        (1, 0, Fraction(1)),  # 2 * 1/2
        (0, 5, Fraction(1, 16)),  # 2 * 1/32
        (1, 5, Fraction(7, 32)),  # 2 * (1 + 6)/64
        (2, 8, Fraction(7, 64)),  # 2 * (1 + 10 + 45)/1024
        (3, 3, Fraction(1)),  # 2 * (1 + 6 + 15 + 20)/64 is above 1
        (12, 2, Fraction(53, 4096)),  # 2 * (1 + 14 + 91)/16384
    ],
)
def test_mcnemar_by_hand(only_first: int, only_second: int, p: Fraction) -> None:
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first) == p


def test_mcnemar_by_enumeration() -> None:
    """Of all ways in which 9 images can favour either, those at least as lopsided."""
    for first in range(10):
        lopsided = sum(
            abs(2 * sum(ways) - 9) >= abs(2 * first - 9) for ways in itertools.product((0, 1), repeat=9)
        )
        assert mcnemar(first, 9 - first) == Fraction(lopsided, 2**9)
    assert 0 < mcnemar(9_000, 10_000) < Fraction(1, 10**11)  # exact where floats are not, and quick
    with pytest.raises(ValueError, match="must not be negative, not -1 and 2"):
        mcnemar(-1, 2)


def test_a_margin_counts_images_that_one_alone_gets_right() -> None:
    labels = (0, 1, 2, 3, 4, 5, 6, 7)
    first, second = (0, 1, 2, 9, 9, 5, 6, 8), (0, 9, 9, 3, 8, 9, 6, 9)
    found = margin(first, second, labels)
    assert (found.only_first, found.only_second, found.n, found.points) == (3, 1, 8, 25.0)
    assert found.p == Fraction(5, 8)  # 2 * (1 + 4)/16
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        margin(first[:-1], second, labels)


def test_published_figures() -> None:
    published = load_published()
    found = published.figures("deit_tiny_patch16_224", "repq", 4, 4)
    assert [(str(f.top1), f.source.kind, f.source.images) for f in found] == [
        ("57.43", "own", 50_000),
        ("57.0", "rerun", 1_000),
    ]
    assert [str(f.top1) for f in published.figures("deit_base_patch16_224.fb_in1k", "dopq", 3, 3)] == [
        "74.91"
    ]
    assert published.figures("vit_base_patch16_224", "adfq", 4, 4)[0].source.kind == "derived"
    for model, scheme, bits in (
        ("deit_tiny_patch16_224", "uniform", 4), ("vitrtl_digits", "repq", 4), ("deit_tiny_patch16_224", "repq", 5),
    ):  # fmt: skip
        assert published.figures(model, scheme, bits, bits) == ()
    for row in published.rows:
        for name, top1 in row.top1.items():
            float32 = published.sources[row.source].float32.get(name)
            assert float32 is None or top1 <= float32 + Decimal("0.2")
    assert {row.scheme for row in published.rows} <= {*shipped_defaults(), "adfq"}
    # A figure's source is something that a reader can find.
    assert not any("/work" in source.cite or ".md" in source.cite for source in published.sources.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "gmpq_te"', 'source = "gmpq"', "unknown or unused sources: gmpq"),
        ("DeiT-T = 57.0 }", "DeiT-Tiny = 57.0 }", "model DeiT-Tiny has no timm names"),
        ("DeiT-T = 57.0 }", "DeiT-T = 570.0 }", "less than 100"),
        ('kind = "own"', 'kind = "hearsay"', "kind"),
        ("act_bits = 8", "act_bits = 9", "act_bits"),
        ('note = "attention map at 4 bits"', "", "stated twice: fqvit 8/8 fqvit_readme"),
        ("[sources.survey]", "[sources.unread]\ncite = 'x'\nkind = 'own'\nimages = 1\n[sources.survey]", "unread"),
        ("images = 50_000", "images = 0", "images"),
        ("float32 = {", "float = {", "float"),
    ],
)  # fmt: skip
def test_a_wrong_published_file_is_refused(old: str, new: str, message: str) -> None:
    text = (files("reports") / "published.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(ValidationError, match=message):
        Published.model_validate(tomllib.loads(text.replace(old, new, 1), parse_float=Decimal))


def test_published_figures_stand_beside_ours_with_their_source() -> None:
    label = "repq W4/A4"
    levels = ("fakequant", "fakequant_hardware", "integer")
    tables = Tables(
        accuracy=(
            Accuracy.of(run="float", level="float", correct=8, n=10),
            *(Accuracy.of(run=label, level=level, correct=7, n=10) for level in levels),  # type: ignore[arg-type]
        ),
        agreement=(Agreement(run=label, pair="integer/fakequant_hardware", percent=90.0, n=10),),
        fidelity=(
            SiteFidelity(run=label, layer=0, site="a|b", code_mismatch_fraction=0.0125, code_mismatch_max=2),
            SiteFidelity(run=label, layer=1, site="c", code_mismatch_fraction=0.01, code_mismatch_max=7),
        ),
    )
    survey = Survey(
        results=Results(
            command="accuracy",
            config=Config(model="deit_tiny_patch16_224"),
            tables=tables,
            tools={"torch": "2"},
        ),
        images="10 images",
        command="vitrtl accuracy",
        grid=(Bits(weight=4, act=4, prefix="repq"),),
        points={label: None},  # type: ignore[dict-item] - margins alone read a point, and there is nothing to compare
        labels=(0,) * 10,
        failures={},
        published=load_published(),
    )
    text = markdown(survey)
    assert "| 1.25 (a\\|b) | 7 | 57.43 [1]; 57.0 [2] |" in text
    assert "- [1] README of github.com/zkkli/RepQ-ViT (RepQ-ViT, ICCV 2023, arXiv 2212.08254); " in text
    assert "; 50,000 images, float32 72.21\n- [2] " in text
    assert "- [2] run again elsewhere: RepQ-ViT's released code" in text
    assert "McNemar" not in text

"""The page of a comparison: what it shows, that it is the same page, and that nothing from data acts in it."""

import itertools
from dataclasses import replace

import pytest

from safetycatch.report.comparison import (
    MAX_IDS,
    Changed,
    ComparisonContent,
    NoiseRow,
    render_comparison,
    render_comparison_markdown,
)
from safetycatch.report.content import ComparisonRow
from safetycatch.report.escaping import visible
from tests.report.test_html import HOSTILE, Page, poisoned
from tests.report.test_markdown import outside_code


def pair(candidate, baseline, estimate, verdict, p=0.01):
    return ComparisonRow(
        baseline, candidate, "accuracy", estimate, estimate - 0.04, estimate + 0.04, 384, p_adjusted=p, verdict=verdict
    )


@pytest.fixture
def both(content):
    return ComparisonContent(
        content,
        pairs=(
            pair("knn8", "zero", 0.141, "BETTER", 0.0001),
            pair("app", "zero", 0.01, "INCONCLUSIVE"),
            pair("app", "knn8", -0.1, "WORSE"),
        ),
        n_unpaired=2,
        changed=(Changed("knn8", "zero", ("e1", "e2"), ("e3",)), Changed("app", "zero", (), ())),
        noise=(
            NoiseRow("zero", 4, 0.06, 0.18, (0.02, 0.025, 0.018), "only 7 clusters"),
            NoiseRow("knn8", 1, reason="one run an item: noise between runs was not measured"),
        ),
    )


def test_every_pair_is_there_from_both_sides(both):
    text = Page(render_comparison(both)).text
    for part in ("+14.1 points\n[+10.1, +18.1]\np <0.001\n▲ BETTER", "-14.1 points\n[-18.1, -10.1]\np <0.001\n▼ WORSE"):
        assert part in text
    assert "Holm-adjusted over these 3 pairs" in text
    assert "2 sides with lower scores are left out" in text


def test_it_has_its_sections_in_order(both):
    page = Page(render_comparison(both))
    order = ["ranking", "difference", "pairs", "flips", "slices", "items", "noise", "catches", "provenance"]
    assert [name for name in page.values("id") if not name.startswith("h-")] == order
    assert "safetycatch comparison" in page.text


def test_variance_is_told_in_words_and_numbers(both):
    text = Page(render_comparison(both)).text
    assert "zero: 75 % of the variance between items, 25 % between runs of an item" in text
    assert "knn8: not measured, because one run an item" in text
    assert "zero: only 7 clusters." in text


def test_ids_of_flips_are_listed_and_cut(both):
    ids = tuple(f"row{number}" for number in range(MAX_IDS + 5))
    text = Page(render_comparison(replace(both, changed=(Changed("b", "a", ids, ()),)))).text
    assert "row0, row1," in text
    assert "and 5 more" in text


def test_outputs_that_are_not_known_are_no_missing_answers(both):
    page = Page(render_comparison(replace(both, report=replace(both.report, flips=()))))
    assert "Outputs: not shown" in page.text
    assert "no answer" not in page.text


def test_two_sides_are_one_pair(both):
    assert "No other pair" in Page(render_comparison(replace(both, pairs=()))).text


def test_the_same_content_gives_the_same_text(both):
    assert render_comparison(both) == render_comparison(both)


def test_an_empty_comparison_renders(minimal):
    assert "Not measured" in Page(render_comparison(ComparisonContent(minimal))).text
    assert render_comparison_markdown(ComparisonContent(minimal)).startswith("###")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_data_acts(both, text):
    dirty = Page(render_comparison(poisoned(both, itertools.repeat(text))))
    assert dirty.open == []
    assert not {"script", "img", "iframe", "pwned"} & set(dirty.elements)
    assert not any(name.startswith("on") or name == "style" for _, name, _ in dirty.attributes)
    assert not dirty.values("src")


def test_markdown_is_about_twenty_lines(both):
    text = render_comparison_markdown(both)
    assert len([line for line in text.splitlines() if line]) <= 24
    assert "| `knn8` | 84.2 % \\[80.1, 88.3] | +14.1 points \\[+9.0, +19.2] BETTER |" in text
    assert "- Pairs: 2 of 3 are decided (Holm over the pairs)" in text
    assert "- Variance, `zero`: 25 %" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_stands_in_code(both, text):
    dirty = poisoned(both, itertools.repeat(text))
    told = render_comparison_markdown(replace(dirty, report=replace(dirty.report, banner=both.report.banner)))
    assert visible(told) == told
    for part in ("<script", "<img", "<a ", "](", "pwned.example"):
        assert part not in outside_code(told)

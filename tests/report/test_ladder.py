import re
from dataclasses import replace

from safetycatch.report.html import render_html
from safetycatch.report.markdown import render_markdown


def rows(content, section):
    """The table rows of a section, tags left out."""
    (part,) = re.findall(rf'<section[^>]*id="{section}".*?</section>', render_html(content), re.DOTALL)
    return [re.sub(r"<[^>]+>|\\s+", " ", row).split() for row in re.findall(r"<tr.*?</tr>", part, re.DOTALL)]


def test_evidence_and_budget_have_different_words(content):
    words = {row[0]: " ".join(row) for row in rows(content, "ladder")}
    assert "rung 1: not the best (evidence 40 to 1; strongest rival knn8)" in words["llama"]
    assert "eliminated" in words["llama"]
    assert "pruned" in words["static8"]
    assert "not among the best" in words["static8"]
    assert "always stays" in words["zero"]


def test_what_the_race_spared_is_said(content):
    text = render_html(content)
    assert "Race on 60 → 128 dev rows: 366 calls, 146 of 512 spared" in text
    assert "- Ladder: 366 of 512 calls on dev; " in render_markdown(content)


def test_without_a_race_the_section_says_why(minimal):
    assert "Not measured, because every candidate was scored on every row" in render_html(minimal)


def test_each_call_that_was_perhaps_paid_is_listed_with_its_highest_cost(content):
    text = render_html(content)
    assert "Perhaps paid: 1 calls" in text
    assert ["knn8", "T0007", "openai/gpt-4o-mini", "2026-11-22T10:00:00+00:00", "$0.0040"] in rows(content, "money")


def test_the_prompt_cache_s_share_and_money_are_shown(content):
    (row,) = (" ".join(row) for row in rows(content, "money") if "cache" in " ".join(row))
    assert "$0.21 (98,304 of 151,204 prompt tokens)" in row


def test_scores_from_the_raced_rows_are_called_too_high(content):
    assert "rows on which nothing was chosen" in render_html(content)
    again = render_html(replace(content, ladder=replace(content.ladder, scored_again=True)))
    assert "from the rows of this race" in again
    assert "nothing was chosen" not in again


def test_missing_dev_rows_are_shown(content):
    rows_of = tuple(replace(row, n_missing=3) for row in content.ladder.rows)
    assert "(3 missing)" in render_html(replace(content, ladder=replace(content.ladder, rows=rows_of)))

import re
from dataclasses import replace

from safetycatch.report.content import Banner, FindingRow, LeakTotal
from safetycatch.report.markdown import render_markdown

HOSTILE = (
    "<img src=x onerror=alert(1)> ![x](https://pwned.example/p) @everyone `|` #12 \x1b[31m \u202e "
    "www.pwned.example\n# head"
)


def outside_code(text):
    return re.sub(r"`[^`\n]*`", "", text)


def test_the_comment_is_about_twenty_lines(content):
    text = render_markdown(content)
    assert len([line for line in text.splitlines() if line]) <= 22
    assert len(text) < 4_000


def test_it_holds_verdict_table_override_and_command(content):
    text = render_markdown(content)
    assert text.startswith("### ▲ BETTER: ticket-routing\n")
    assert "| `knn8` | 84.2 % \\[80.1, 88.3] | +14.1 points \\[+9.0, +19.2] | 384 |" in text
    assert "> **SC501 overridden**" in text
    assert f"`{content.command}`" in text


def test_hostile_text_can_only_stand_in_code(content):
    row = replace(content.candidates[0], id=HOSTILE)
    finding = FindingRow("SC501", "refuse", "overridden", HOSTILE, reason=HOSTILE)
    dirty = replace(
        content,
        name=HOSTILE,
        run_id=HOSTILE,
        metric=HOSTILE,
        unit=HOSTILE,
        created_at=HOSTILE,
        command=HOSTILE,
        banner=Banner("REFUSED", HOSTILE, HOSTILE, HOSTILE),
        candidates=(row, *content.candidates[1:]),
        findings=(finding,),
        flip_counts=(replace(content.flip_counts[0], candidate=HOSTILE),),
        leakage=None,
        unmeasured={"leakage": HOSTILE},
    )
    text = render_markdown(dirty)
    assert not re.search(r"[@<#!]|\]\(|://|www\.|pwned", outside_code(text).replace("### ", ""))
    assert "\x1b" not in text
    assert "\u202e" not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {7}


def test_every_line_keeps_its_code_spans_closed(content):
    assert all(line.count("`") % 2 == 0 for line in render_markdown(content).splitlines())


def test_one_candidate_and_no_candidate_render(minimal, empty):
    assert "| `gpt-4o-mini` | 71 % \\[58, 84] | — | 48 | — | — |" in render_markdown(minimal)
    assert "No candidate was scored." in render_markdown(empty)


def test_pairs_that_are_only_reported_are_no_leaks(content):
    alike = replace(content.leakage, totals=(LeakTotal("similar", 138, 40, True), LeakTotal("template", 1, 1, True)))
    text = render_markdown(replace(content, leakage=alike))
    assert "- Leaked pairs: none found; alike, but no leak: 138 similar, 1 template" in text
    mixed = replace(alike, totals=(LeakTotal("near", 2, 2), *alike.totals))
    text = render_markdown(replace(content, leakage=mixed))
    assert "- Leaked pairs: 2 near; alike, but no leak: 138 similar, 1 template" in text

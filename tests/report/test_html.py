import itertools
import re
import subprocess
import sys
import time
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from safetycatch.report.content import FindingRow, Flip, FlipCount, LeakPair, LeakTotal
from safetycatch.report.html import render_html

HOSTILE = [
    "<script>alert('pwned')</script>",
    "<svg onload=alert('pwned')><pwned>",
    '"><img src=https://pwned.example/x onerror=alert(1)>',
    "' autofocus onfocus=alert('pwned') pwned='",
    "[click](javascript:alert('pwned')) ![x](https://pwned.example/p.png)",
    "</style></table></details></html><pwned>",
    "{{7*7}} {% raw %} {{ self._TemplateReference__context }}",
    "--><!-- ]]> <![CDATA[ <pwned>",
    "\x1b[31mred\x1b[0m \x1b]8;;https://pwned.example\x07link\x1b]8;;\x07",
    "safe\u202egnp.exe\u2066 \u200b\ufeff \x00 \r \u2028 \ud800 \U000e0041",
    "<a href=javascript:pwned>" + "x" * 1_000_000,
    "&lt;script&gt; &#60;script&#62;",
]
VOID = {"meta", "link"}


class Page(HTMLParser):
    """Collects elements, attributes and texts, and the order in which elements close."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes.extend((tag, name, value) for name, value in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)

    def values(self, name):
        return [value for _, attribute, value in self.attributes if attribute == name]


def poisoned(value, texts):
    """The same content with every free text replaced by the next hostile one."""
    if is_dataclass(value):
        kept = {"mode", "kind"} if not isinstance(value, LeakPair) else set()
        return replace(
            value, **{f.name: poisoned(getattr(value, f.name), texts) for f in fields(value) if f.name not in kept}
        )
    if isinstance(value, tuple):
        return tuple(poisoned(item, texts) for item in value)
    if isinstance(value, dict):
        return {key: poisoned(item, texts) for key, item in value.items()}
    return next(texts) if isinstance(value, str) else value


@pytest.fixture
def hostile(content):
    return poisoned(replace(content, unmeasured={"cost": "because of <script>"}), itertools.cycle(HOSTILE))


@pytest.fixture
def page(content):
    return Page(render_html(content))


def test_no_element_or_attribute_comes_from_data(content, hostile):
    clean, dirty = Page(render_html(content)), Page(render_html(hostile))
    assert set(dirty.elements) <= set(clean.elements) | {"ins", "del", "mark", "details", "summary", "em"}
    assert {(tag, name) for tag, name, _ in dirty.attributes} <= {(tag, name) for tag, name, _ in clean.attributes}
    assert not any(name.startswith("on") or name == "style" for _, name, _ in dirty.attributes)
    free = {"aria-label", "data-label"}
    assert not [value for _, name, value in dirty.attributes if name not in free and "pwned" in (value or "")]


@pytest.mark.parametrize("text", HOSTILE)
def test_one_hostile_text_in_every_place(content, text):
    page = Page(render_html(poisoned(content, itertools.repeat(text))))
    assert page.open == []
    assert not {"script", "img", "iframe", "pwned"} & set(page.elements)
    assert all(value.startswith("#") or value == "data:," for value in page.values("href"))


def test_template_syntax_is_shown_and_never_run(minimal):
    title = Page(render_html(replace(minimal, name="{{7*7}}", run_id="{% raw %}"))).text
    assert "{{7*7}}" in title
    assert "{% raw %}" in title


def test_nothing_is_loaded(content, hostile):
    for text in (render_html(content), render_html(hostile)):
        page = Page(text)
        assert not {"script", "img", "iframe", "object", "embed", "form", "base"} & set(page.elements)
        assert not page.values("src")
        style = text.split("<style>")[1].split("</style>")[0]
        assert "url(" not in style
        assert "@import" not in style


def test_the_policy_forbids_everything_but_style_and_data_images(content):
    text = render_html(content)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in text
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_hidden_characters_are_visible(hostile):
    text = render_html(hostile)
    text.encode()
    assert not re.search("[\x00\x1b\r\u202e\u2066\u200b\ufeff\u2028\ud800\U000e0041]", text)
    assert r"\u202e" in text


def test_a_megabyte_of_output_stays_a_small_file(hostile):
    assert len(render_html(hostile)) < 2_000_000


def test_the_same_content_gives_the_same_bytes(content):
    script = (
        "import hashlib, importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('made', sys.argv[1])\n"
        "made = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(made)\n"
        "from safetycatch.report.html import render_html\n"
        "print(hashlib.sha256(render_html(made.full_content()).encode()).hexdigest())"
    )
    conftest = __file__.replace("test_html.py", "conftest.py")
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script, conftest], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_sections_are_in_reading_order(page):
    order = ["ranking", "difference", "cost", "slices", "flips", "items", "leakage", "ladder", "catches", "money"]
    order.append("provenance")
    assert [value for tag, name, value in page.attributes if tag == "section" and name == "id"] == order
    assert page.values("href")[1:] == [f"#{name}" for name in order]


def test_every_table_has_a_caption_and_scoped_heads(page):
    assert page.elements.count("caption") == page.elements.count("table")
    assert page.elements.count("th") == len([1 for tag, name, _ in page.attributes if tag == "th" and name == "scope"])


def test_every_drawing_is_named_or_hidden(page):
    outer = page.elements.count("svg")
    named = [
        1
        for tag, name, value in page.attributes
        if tag == "svg" and (name, value) in {("role", "img"), ("aria-hidden", "true")}
    ]
    inner = [1 for tag, name, _ in page.attributes if tag == "svg" and name == "y"]
    assert len(named) + len(inner) == outer


def test_overrides_stand_in_the_head(content):
    head = render_html(content).split("<main>")[0]
    assert "SC501 overridden" in head
    assert "public benchmark, by j" in head


def test_fired_catches_come_before_the_folded_passed_ones(content):
    text = render_html(content).split('id="catches"')[1]
    assert text.index("SC203") < text.index("11 passed, 2 not applicable or not checked") < text.index("SC201")


def test_flips_show_the_changed_words_broken_first(content):
    text = render_html(content).split('id="flips"')[1]
    assert text.index("t-0033") < text.index("t-0417")
    assert "<del>billing</del>" in text
    assert "<ins>refund</ins>" in text
    assert "and 84 more in rows.parquet" in text


def test_one_candidate_renders_and_says_what_is_missing(minimal):
    text = Page(render_html(minimal)).text
    assert "Not measured, because there is one candidate: nothing to compare it with." in text
    assert "71 %" in text


def test_a_refused_run_without_candidates_renders(empty):
    assert "Not measured, because no candidate was scored." in Page(render_html(empty)).text


def test_the_callers_reason_is_shown(minimal):
    text = Page(render_html(replace(minimal, unmeasured={"leakage": "because there is one split."}))).text
    assert "Not measured, because there is one split." in text


def test_undefined_numbers_are_dashes(content):
    row = replace(
        content.candidates[0], estimate=float("nan"), low=None, high=float("inf"), cost_usd_per_1000=float("nan")
    )
    text = render_html(replace(content, candidates=(row, *content.candidates[1:])))
    assert not re.search(r"\b(nan|inf|None)\b", Page(text).text)


def test_a_metric_where_less_is_better_ranks_the_lowest_first(content):
    text = render_html(replace(content, higher_is_better=False)).split('class="dots"')[1]
    assert text.index("llama3.1-8b") < text.index("knn8")


def test_many_flips_and_leaks_are_cut_with_a_count(content):
    flip, pair = content.flips[0], content.leakage.pairs[0]
    flips = tuple(replace(flip, example_id=f"e{i:05}") for i in range(500))
    leaks = replace(content.leakage, pairs=(pair,) * 300, totals=())
    page = Page(render_html(replace(content, flips=flips, flip_counts=(), leakage=leaks)))
    assert "and 300 more in rows.parquet" in page.text
    assert "and 250 more in leaks.parquet" in page.text


def test_a_large_report_is_quick_and_small(content):
    words = [f"word{i}" for i in range(150)]
    flips = tuple(
        Flip(
            "knn8",
            "zero",
            f"e{i:05}",
            " ".join(words),
            "x",
            " ".join(words[i % 7 :: 2]),
            " ".join(words[i % 5 :: 3]),
            "fixed",
        )
        for i in range(200)
    )
    large = replace(content, flips=flips, flip_counts=(FlipCount("knn8", "zero", 900, 200),))
    start = time.process_time()
    size = len(render_html(large).encode())
    assert time.process_time() - start < 2
    assert size < 2_000_000


def test_a_finding_without_texts_is_listed(minimal):
    text = render_html(replace(minimal, findings=(FindingRow("SC203", "warn", "fired", "rows repeat"),)))
    assert "rows repeat" in text


def _luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_have_a_contrast_of_at_least_four_and_a_half(scheme):
    css = files("safetycatch.report").joinpath("templates/report.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", css, re.DOTALL)[scheme]))
    pairs = [(ink, "paper") for ink in ("ink", "soft", "better", "worse", "alarm", "warned", "plain")]
    pairs += [(ink, "raised") for ink in ("ink", "soft", "better", "worse", "alarm", "open")]
    pairs += [("ink", ground) for ground in ("ins", "del", "mark")] + [(f"onpart{i}", f"part{i}") for i in range(3)]
    for one, two in pairs:
        high, low = sorted((_luminance(colours[one]), _luminance(colours[two])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (one, two)


def test_pairs_that_are_only_reported_are_no_leaks(content):
    totals = (LeakTotal("similar", 138, 40, True),)
    text = Page(render_html(replace(content, leakage=replace(content.leakage, totals=totals)))).text
    assert "No pair leaks. The others are reported only" in text
    mixed = replace(content.leakage, totals=(LeakTotal("near", 1, 1), *totals))
    text = Page(render_html(replace(content, leakage=mixed))).text
    assert "1 pair leaks. The others are reported only" in text


def test_confusions_say_that_answers_are_counted_where_an_item_has_several(content):
    assert "Answers are counted" not in Page(render_html(content)).text
    assert "Answers are counted, not items: each item has 3." in Page(render_html(replace(content, replicates=3))).text


@pytest.mark.parametrize(("verb", "said"), [("run", True), ("calibrate", True), ("compare", False)])
def test_a_command_that_names_an_experiment_says_from_where(content, verb, said):
    page = render_html(replace(content, command=f"safetycatch {verb} e.yaml"))
    assert ("reproduces it, in the folder of safetycatch.yaml" in page) == said

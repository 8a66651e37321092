"""The row browser over a real socket: what data may do to a page, and what an address shows."""

import csv
import io
import shlex
from contextlib import closing
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode

import pytest

from safetycatch.review.app import Review, create_app
from safetycatch.review.browser.pages import LIST
from safetycatch.review.browser.query import Query
from safetycatch.review.serving import bound, keys_of, running
from tests.review.conftest import Client, desk_in
from tests.stored_rows import label, row, write_run

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"' onmouseover=alert(1) x=`",
    "image": "<img src=x onerror=alert(1)><svg onload=alert(1)>",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7}",
    "link": "[x](javascript:alert(1)) http://example.org/",
    "ansi": "\x1b[31mred\x1b]8;;http://x\x07\x1b[0m",
    "bidi": "\u202egnp.exe\u2066 \u200b\u200f",
    "nul": "a\0b\x08",
    "arabic": "مرحبا بالعالم",
    "combining": "e" + "\u0301" * 50,
    "closing": "</textarea></title></style>--><!-- ]]>",
    "formula": '=HYPERLINK("http://x")',
}
HUGE = "word " * 100_000
HIDDEN = set("\x1b\x07\0\x08\u202e\u2066\u200b\u200f")
ALLOWED = {
    "html", "head", "meta", "title", "link", "script", "body", "header", "span", "nav", "a", "main", "form", "input",
    "label", "select", "option", "button", "div", "aside", "section", "h1", "h2", "h3", "ul", "li", "details",
    "summary", "em", "strong", "p", "table", "thead", "tbody", "tr", "th", "td", "pre", "kbd", "mark", "dl", "dt",
    "dd", "article", "del", "ins",
}  # fmt: skip


class Parsed(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.links, self.comments = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.links += [value for name, value in attrs if tag == "a" and name == "href"]

    def handle_data(self, data):
        self.text.append(data)

    def handle_comment(self, data):
        self.comments.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A page over a run in which everything that can be text is hostile."""
    rows = [
        row(candidate, f"{name}{text[:40]}", output=text, score=float(candidate == "b"), parsed=f"read {text}",
            verdict="fail", critique=text, error_class=text[:50], model_returned=text[:50])
        for name, text in HOSTILE.items()
        for candidate in ("a", "b")
    ]  # fmt: skip
    rows += [row("a", "huge", output=HUGE), row("b", "huge", output=HUGE[:-3] + "x", status="length")]
    rows += [row("a", "none", output=None, status="error", score=None), row("b", "none", output="")]
    items = [one["example_id"] for one in rows]
    said = [label(one["example_id"], one["output"], critique=one["output"], failure_mode=HOSTILE["image"])
            for one in rows[:24:2]]  # fmt: skip
    folder = tmp_path_factory.mktemp("hostile")
    store, run = write_run(
        folder,
        rows,
        examples={name: (text, text) for name, text in zip(items[:24:2], HOSTILE.values(), strict=True)},
        slices={HOSTILE["script"]: dict(zip(items, [one[:60] for one in items], strict=True))},
        leaks=[
            {"left_id": items[0], "right_id": items[2], "left_split": "test", "right_split": "train", "kind": "exact"}
        ],
    )
    yield from _served(folder, store, run, said, items)


def _served(folder, store, run, said, items):
    from tests.stored_rows import labels

    table = labels(*said)
    with closing(bound(0)) as listener:
        keys = keys_of(listener)
        pages = _with_labels(Review(store=store, run=run), keys, lambda: table)
        with running(pages, listener):
            client = Client(keys)
            client.items = list(dict.fromkeys(items))
            yield client


def _with_labels(review, keys, said):
    from starlette.applications import Starlette

    from safetycatch.review import browser
    from safetycatch.review.guard import Guard
    from safetycatch.review.pages import Pages

    return Guard(Starlette(routes=browser.routes(review.store, review.run, Pages("csrf", review.places), said)), keys)


@pytest.fixture
def plain(tmp_path):
    """Serves a run of these rows; gives the client."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def serve(rows, **more):
            store, run = write_run(tmp_path, rows, **more)
            listener = stack.enter_context(closing(bound(0)))
            keys = keys_of(listener)
            stack.enter_context(running(create_app(Review(store=store, run=run), keys), listener))
            return Client(keys)

        yield serve


def address(path, *pairs):
    return f"{path}?{urlencode(pairs)}"


def test_no_element_or_attribute_comes_from_data(hostile):
    paths = [LIST, "/run?q=alert", address(LIST, ("q", HOSTILE["attribute"]), ("mode", HOSTILE["image"]))]
    paths += [address("/run/row", ("item", item), ("q", "a"), (HOSTILE["script"], "x")) for item in hostile.items]
    for path in paths:
        status, _, text = hostile.get(path)
        page = Parsed(text)
        assert status == 200
        assert set(page.tags) <= ALLOWED
        assert page.tags.count("script") == 1
        assert page.comments == []
        assert not [name for name, _ in page.attributes if name.startswith("on") or name in {"style", "srcdoc"}]
        sources = [value for name, value in page.attributes if name in {"src", "href", "action", "content"}]
        assert not [one for one in sources if one and ":" in one.partition("?")[0].partition("#")[0]]
        assert not set(text) & HIDDEN


def test_hostile_text_is_shown_as_text(hostile):
    shown = Parsed(hostile.get(address("/run/row", ("item", hostile.items[0])))[2]).words
    assert HOSTILE["script"] in shown
    by_name = dict(zip(HOSTILE, hostile.items, strict=False))
    assert "\\u202egnp.exe\\u2066" in Parsed(hostile.get(address("/run/row", ("item", by_name["bidi"])))[2]).words
    assert "\\u001b[31mred" in Parsed(hostile.get(address("/run/row", ("item", by_name["ansi"])))[2]).words
    assert "a\\u0000b" in Parsed(hostile.get(address("/run/row", ("item", by_name["nul"])))[2]).words
    assert HOSTILE["arabic"] in Parsed(hostile.get(address("/run/row", ("item", by_name["arabic"])))[2]).words


def test_a_huge_output_is_folded_cut_and_told(hostile):
    _, _, text = hostile.get("/run/row?item=huge")
    assert "500,000 characters" in text
    assert "more characters]" in text
    assert "too long to be compared" in text
    assert len(text) < 400_000


def test_every_link_of_a_page_leads_to_a_page(hostile):
    for path in ["/run?status=answer", address("/run/row", ("item", hostile.items[3]))]:
        links = {one for one in Parsed(hostile.get(path)[2]).links if one.startswith("/run")}
        assert len(links) > 3
        assert {link: hostile.get(link.partition("#")[0])[0] for link in links} == dict.fromkeys(links, 200)


def test_a_choice_s_link_leaves_as_many_rows_as_it_says(hostile):
    page = hostile.get("/run?candidate=a")[2]
    aside = page[page.index("<aside") : page.index("</aside>")]
    parsed = Parsed(aside)
    told = [int(words) for words in aside.split('class="n">')[1:] for words in [words.partition("<")[0]]]
    assert len(told) == len(parsed.links) > 10
    for link, n in zip(parsed.links, told, strict=True):
        if [value for name, value in parse_qsl(link.partition("?")[2]) if name == "candidate"] == ["a"]:
            assert f"{n} of 28 rows" in Parsed(hostile.get(link)[2]).words


def test_the_file_is_for_spreadsheets_that_run_nothing(hostile):
    status, headers, text = hostile.get("/run/rows.csv?candidate=b&status=answer")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert status == 200
    assert headers["content-disposition"].startswith("attachment; filename=")
    assert len(rows) == 13
    assert not [cell for one in rows for cell in one.values() if cell.startswith(tuple("=+-@\t\r"))]
    formula = next(one for one in rows if one["example_id"].startswith("formula"))
    assert formula["output"] == "'" + HOSTILE["formula"]
    assert formula["score"] == "1"
    assert formula["critiques"] == f"judge: {HOSTILE['formula']}\nann: {HOSTILE['formula']}"
    empty = next(one for one in rows if one["example_id"] == "none")
    assert (empty["output"], empty["latency_s"]) == ("", "")


def test_the_file_holds_the_filtered_rows_in_their_order(plain):
    client = plain([row("a", f"i{n}", score=n / 4, latency_s=n / 2) for n in range(5)])
    rows = list(csv.DictReader(io.StringIO(client.get("/run/rows.csv?sort=-score&score=between")[2])))
    assert [(one["example_id"], one["score"], one["latency_s"]) for one in rows] == [
        ("i3", "0.75", "1.5"),
        ("i2", "0.5", "1"),
        ("i1", "0.25", "0.5"),
    ]


def test_pages_hold_every_row_once(plain):
    client = plain([row("a", f"i{n:03}") for n in range(120)])
    seen, path = [], LIST
    while path:
        page = client.get(path)[2]
        seen += [dict(parse_qsl(link.partition("?")[2]))["item"] for link in Parsed(page).links if "/run/row?" in link]
        path = next((one.partition('"')[0] for one in page.split('rel="next" href="')[1:]), "").replace("&amp;", "&")
    assert seen == [f"i{n:03}" for n in range(120)]


def test_a_page_beyond_the_last_is_the_last(plain):
    assert "51-60 of 60" in plain([row("a", f"i{n}") for n in range(60)]).get("/run?page=999")[2]


def test_next_and_previous_go_through_the_filtered_rows_only(plain):
    rows = [row(candidate, f"i{n}", score=float(n % 2)) for n in range(6) for candidate in "ab"]
    page = plain(rows).get("/run/row?item=i2&score=wrong")[2]
    assert "2 of 3 items" in page
    assert 'rel="prev" href="/run/row?item=i0&amp;score=wrong"' in page
    assert 'rel="next" href="/run/row?item=i4&amp;score=wrong"' in page
    assert 'href="/run?score=wrong#r3"' in page


def test_a_row_outside_the_filter_is_shown_and_told(plain):
    page = plain([row("a", "x", score=1.0), row("a", "y", score=0.0)]).get("/run/row?item=x&score=wrong")[2]
    assert "not among the filtered rows" in page
    assert 'rel="next"' not in page


def test_any_two_answers_are_compared_word_by_word(plain):
    client = plain([row("a", "x", "the red car"), row("b", "x", "the blue car"), row("c", "x", "the blue car")])
    page = client.get("/run/row?item=x")[2]
    assert "<del>red</del>" in page
    assert "<ins>blue</ins>" in page
    assert "equal, letter by letter" in client.get("/run/row?item=x&a=b&b=c")[2]


def test_repeats_stand_side_by_side(plain):
    client = plain([row("a", "x", f"answer {n}", replicate=n) for n in range(3)])
    shown = Parsed(client.get("/run/row?item=x")[2]).words
    assert [f"a #{n + 1}" in shown for n in range(3)] == [True, True, True]


def test_what_is_not_there_is_told(plain):
    client = plain([row("a", "x")])
    status, _, text = client.get("/run/row?item=%3Cscript%3E")
    assert status == 404
    assert "no item" in text
    assert "<script>" not in text
    assert "No row is left" in client.get("/run?status=gone")[2]


def test_the_command_says_the_filter_again(plain):
    page = Parsed(plain([row("a", "x y")]).get(address(LIST, ("q", '"x y"'), ("status", "answer")))[2])
    told = shlex.split("".join(page.text).partition("safetycatch review")[2].partition("\n")[0])
    assert told[:2] == ["2026-03-01-rows-1", "--rows"]
    assert Query.parse(told[3]) == Query.parse([("q", '"x y"'), ("status", "answer")])


def test_marked_words_are_those_that_were_searched(plain):
    page = plain([row("a", "x", "a Needle in <hay> needle")]).get("/run?q=needle")[2]
    assert page.count("<mark>") == 2
    assert "<mark>Needle</mark> in &lt;hay&gt;" in page


@pytest.mark.parametrize("path", [LIST, "/run/row?item=x", "/run/rows.csv"])
def test_without_the_link_no_row_is_told(plain, path):
    client = plain([row("a", "x", "secret answer")])
    status, _, text = client.get(path, Cookie=None)
    assert status == 403
    assert "secret" not in text


def test_rows_are_read_only(plain):
    assert plain([row("a", "x")]).ask("POST", LIST, {})[0] == 405


def test_labels_show_as_soon_as_they_are_given(tmp_path):
    from safetycatch.identity import output_hash
    from safetycatch.store.label_events import Label
    from tests.review.conftest import NOW

    store, run = write_run(tmp_path, [row("a", "e0", "one"), row("b", "e1", "two")])
    desk = desk_in(tmp_path, ("one", "two"))
    with closing(bound(0)) as listener:
        keys = keys_of(listener)
        with running(create_app(Review(desk, store, run), keys), listener):
            client = Client(keys)
            assert "none of 2 rows" in client.get("/run?label=fail")[2]
            said = Label(at=NOW, example_id="e0", output_hash=output_hash("one"), label="fail", failure_modes=("rude",))
            desk.labels.append("ann", said)
            assert "1 of 2 rows" in client.get("/run?label=fail")[2]
            assert "people: fail" in client.get("/run?mode=rude")[2]

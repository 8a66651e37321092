"""What a filter keeps: facets, searches, orders and labels, on runs of our own."""

import random
from collections import Counter
from itertools import product

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetycatch.errors import UsageError
from safetycatch.judging.sealing import ItemKey, LabelledItem
from safetycatch.review.browser.export import csv_lines
from safetycatch.review.browser.labelled import Labelled
from safetycatch.review.browser.query import Query
from safetycatch.review.browser.rows import PAGE_ROWS, RowIndex
from safetycatch.review.browser.showing import Showing
from safetycatch.review.browser.texts import Held, Texts, holding
from safetycatch.store.sealings import join
from tests.stored_rows import label, labels, row, write_run

WORDS = ("Refund", "delivery", "café", "100%", "a.b", "(x)")


@pytest.fixture
def index(tmp_path):
    """Makes the index of a run of these rows."""

    def make(rows, said=None, **more):
        store, run = write_run(tmp_path, rows, **more)
        made = RowIndex(run, store)
        made.labelled = Labelled(made, labels(*said), 0) if said is not None else None
        return made

    return make


def kept(index, query):
    """The rows that a query keeps, in order, as (candidate, item, replicate)."""
    found = index.select(Query.parse(query), index.labelled)
    names = index.names_of(index.item[found.rows].tolist())
    return [
        (index.candidates[index.candidate[place]], name, int(index.replicate[place]))
        for place, name in zip(found.rows.tolist(), names, strict=True)
    ]


def counts(index, query=""):
    choices = index.select(Query.parse(query), index.labelled).choices
    return {name: {one.value: one.n for one in found if one.n} for name, found in choices.items()}


def names(index, query):
    return [(candidate, item) for candidate, item, _ in kept(index, query)]


# -- filters as sets: one run, every filter -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A run of 3 candidates, 60 items and 2 repeats, in which everything that can be filtered occurs."""
    draw = random.Random(1)
    statuses = ("answer", "answer", "answer", "refusal", "length", "error")
    rows = [
        row(
            candidate,
            f"i{number}",
            output=f"{WORDS[(number + shift) % 6]} {number} {candidate}",
            score=draw.choice([1.0, 0.0, 0.5, None]),
            replicate=repeat,
            status=statuses[(number + shift) % 6],
            verdict=("pass", "fail", None)[(number + shift) % 3],
            critique=f"because {WORDS[number % 5]}",
            latency_s=float((number * 13 + shift) % 17),
            cost_usd=0.001 * number,
        )
        for (shift, candidate), number, repeat in product(enumerate("abc"), range(60), range(2))
    ]
    slices = {"language": {f"i{number}": ("de", "en", "fr")[number % 3] for number in range(60)}}
    leaks = [
        {"left_id": f"i{number}", "right_id": f"t{number}", "left_split": "test", "right_split": "train",
         "kind": ("exact", "similar")[number % 2], "similarity": 1.0}
        for number in range(7)
    ]  # fmt: skip
    said = [
        label(f"i{number}", f"{WORDS[number % 6]} {number} a", ("pass", "fail")[number % 2], who,
              failure_mode=("rude", "rude; long")[number % 2], critique="too LONG")
        for number in range(20)
        for who in ("ann", "ben")
    ]  # fmt: skip
    store, run = write_run(tmp_path_factory.mktemp("mixed"), rows, slices=slices, leaks=leaks)
    made = RowIndex(run, store)
    made.labelled = Labelled(made, labels(*said), 0)
    return made


def test_everything_is_offered(mixed):
    offered = {name: set(found) for name, found in counts(mixed).items()}
    assert offered == {
        "candidate": {"a", "b", "c"},
        "score": {"right", "wrong", "between", "missing"},
        "flip": {"fixed", "broken", "both right", "both wrong"},
        "status": {"answer", "refusal", "length", "error"},
        "verdict": {"pass", "fail", "no verdict"},
        "catch": {"leaked", "similar"},
        "slice:language": {"de", "en", "fr"},
        "label": {"pass", "fail", "unlabelled"},
        "mode": {"rude", "long"},
        "judge": {"agree", "disagree"},
    }


ASCII = st.characters(codec="ascii")
FACETS = st.sampled_from(
    [
        *product(["candidate"], "abc"),
        *product(["score"], ["right", "wrong", "between", "missing"]),
        *product(["flip"], ["fixed", "broken", "both right", "both wrong"]),
        *product(["status"], ["answer", "refusal", "error", "length"]),
        *product(["verdict"], ["pass", "fail", "no verdict"]),
        *product(["catch"], ["leaked", "similar"]),
        *product(["slice:language"], ["de", "en"]),
        *product(["label"], ["pass", "fail", "unlabelled"]),
        *product(["mode"], ["rude", "long"]),
        *product(["judge"], ["agree", "disagree"]),
        *product(["q"], [*WORDS, '"refund 1"', "too"]),
    ]
)


@given(chosen=st.lists(FACETS, max_size=5, unique=True))
@settings(max_examples=40)
def test_values_of_a_facet_unite_and_facets_intersect(mixed, chosen):
    query = Query.parse(chosen)
    alone = {}
    for name, value in query.pairs():
        alone[name] = alone.get(name, set()) | set(kept(mixed, [(name, value)]))
    expected = set(kept(mixed, "")).intersection(*alone.values())
    assert set(kept(mixed, query.pairs())) == expected


@given(chosen=st.lists(FACETS, max_size=3, unique=True))
@settings(max_examples=20)
def test_a_count_is_what_choosing_it_would_leave(mixed, chosen):
    query = Query.parse(chosen)
    for name, found in mixed.select(query, mixed.labelled).choices.items():
        for one in found:
            alone = {**query.chosen, name: (one.value,)}
            pairs = [("q", query.text), *((key, value) for key, values in alone.items() for value in values)]
            assert one.n == len(kept(mixed, pairs))


@pytest.mark.parametrize("facet", ["candidate", "score", "status", "verdict", "slice:language", "label"])
def test_counts_of_a_facet_add_up(mixed, facet):
    assert sum(counts(mixed)[facet].values()) == mixed.n_rows


@given(
    chosen=st.lists(FACETS, max_size=2, unique=True),
    sort=st.sampled_from(["item", "-item", "id", "-id", "score", "-score", "latency", "-latency", "-cost", "length"]),
)
@settings(max_examples=40)
def test_paging_reaches_every_row_exactly_once(mixed, chosen, sort):
    query = Query.parse([*chosen, ("sort", sort)])
    rows = mixed.select(query, mixed.labelled).rows.tolist()
    pages = [rows[start : start + PAGE_ROWS] for start in range(0, len(rows), PAGE_ROWS)]
    assert Counter(one for page in pages for one in page) == Counter(set(rows))
    assert sorted(rows) == sorted(mixed.select(Query.parse(chosen), mixed.labelled).rows.tolist())


@given(chosen=st.lists(FACETS, max_size=6), page=st.integers(1, 99), sort=st.sampled_from(["item", "-score", "id"]))
@settings(max_examples=40)
def test_an_address_says_all_there_is(chosen, page, sort):
    query = Query.parse([*chosen, ("sort", sort), ("page", str(page))])
    assert Query.parse(query.url()) == query
    assert Query.parse(query.pairs()) == query


@given(chosen=st.lists(FACETS, max_size=4, unique=True), one=FACETS.filter(lambda pair: pair[0] != "q"))
@settings(max_examples=40)
def test_choosing_twice_is_not_choosing(chosen, one):
    query = Query.parse(chosen)
    assert query.toggled(*one).toggled(*one) == query


@given(word=st.text(min_size=1, max_size=4), texts=st.lists(st.none() | st.text(max_size=20), min_size=1, max_size=5))
@settings(max_examples=40)
def test_a_word_is_found_where_python_finds_it(word, texts):
    found = holding(pa.array(texts, pa.string()), word).tolist()
    assert all(found[place] for place, text in enumerate(texts) if text is not None and word in text)
    assert not any(found[place] for place, text in enumerate(texts) if text is None)


@given(word=st.text(ASCII, min_size=1, max_size=3), texts=st.lists(st.text(ASCII, max_size=20), min_size=1, max_size=5))
@settings(max_examples=40)
def test_a_word_is_found_whatever_its_case(word, texts):
    assert holding(pa.array(texts, pa.string()), word).tolist() == [word.lower() in text.lower() for text in texts]


# -- one fact each -------------------------------------------------------------------------------------------------


def test_right_wrong_between_missing(index):
    made = index([row("a", f"i{n}", score=score) for n, score in enumerate([1.0, 0.0, 0.5, None])])
    wanted = {"right": ["i0"], "wrong": ["i1"], "between": ["i2"], "missing": ["i3"]}
    assert {word: [item for _, item in names(made, f"score={word}")] for word in wanted} == wanted


def test_where_less_is_better_zero_is_right(index):
    made = index([row("a", "x", score=0.0), row("a", "y", score=1.0)], metric={"higher_is_better": False})
    assert names(made, "score=right") == [("a", "x")]


def test_amounts_are_neither_right_nor_wrong(index):
    made = index([row("a", "x", score=0.2)], metric={"name": "cost_usd", "unit": "usd", "rate": False})
    assert counts(made)["score"] == {"measured": 1}
    assert "flip" not in counts(made)


def test_flips_are_decided_by_the_majority_of_repeats(index):
    scores = {("a", "x"): [0, 0, 1], ("b", "x"): [1, 1, 0], ("a", "y"): [1, 1, 1], ("b", "y"): [0, 0, 0]}
    made = index([row(*key, score=float(s), replicate=n) for key, given in scores.items() for n, s in enumerate(given)])
    assert set(names(made, "flip=fixed")) == {("b", "x")}
    assert set(names(made, "flip=broken")) == {("b", "y")}


def test_an_item_without_a_score_on_one_side_is_no_flip(index):
    made = index([row("a", "x", score=None), row("b", "x", score=1.0)])
    assert counts(made)["flip"] == {}


def test_a_run_without_its_baseline_has_no_flips(index):
    made = index([row("a", "x"), row("b", "x")], baseline="2026-01-01-other-1:a")
    assert "flip" not in counts(made)


def test_an_answer_that_could_not_be_read(index):
    made = index([row("a", "x", parsed=None), row("a", "y"), row("a", "z", status="refusal", parsed=None)])
    assert counts(made)["status"] == {"unparsable": 1, "answer": 1, "refusal": 1}


def test_where_nothing_is_read_nothing_is_unreadable(index):
    made = index([row("a", "x", parsed=None), row("a", "y", parsed=None)])
    assert counts(made)["status"] == {"answer": 2}


def test_leaked_similar_and_duplicate_rows(index):
    pair = {"right_id": "t", "left_split": "test", "right_split": "train", "similarity": 1.0}
    made = index(
        [row("a", name) for name in ("x", "y", "z", "w")],
        leaks=[{**pair, "left_id": "x", "kind": "exact"}, {**pair, "left_id": "y", "kind": "similar"}],
        examples={"z": "same", "w": "same", "t": "a training row"},
    )
    found = {word: [item for _, item in names(made, f"catch={word}")] for word in ("leaked", "similar", "duplicate")}
    assert found == {"leaked": ["x"], "similar": ["y"], "duplicate": ["z", "w"]}
    assert made.leaks_of(made.code("x"))[0]["right_id"] == "t"
    assert made.example_text("t") == "a training row"
    assert made.example_text("nobody") is None


def test_words_are_found_in_every_field_and_only_there(index):
    made = index(
        [row("a", "x-1", output="Some OUTPUT", verdict="fail", critique="too curt"), row("a", "x-2", output="other")],
        said=[label("x-2", "other", critique="a Person wrote", failure_mode="Off topic")],
        examples={"x-1": ("the input", "the target"), "x-2": ("elsewhere", "no")},
    )
    where = {"id": "X-1", "input": "INPUT", "target": "the tar", "output": "some", "critique": "curt"}
    for field, word in where.items():
        assert names(made, [("q", f'"{word}"'), ("in", field)]) == [("a", "x-1")]
        assert names(made, [("q", f'"{word}"')]) == [("a", "x-1")]
        assert not [
            one for other in where if other != field for one in names(made, [("q", f'"{word}"'), ("in", other)])
        ]
    assert names(made, "q=person") == names(made, "q=%22off+topic%22") == [("a", "x-2")]


def test_every_word_must_occur_in_whatever_field(index):
    made = index([row("a", "x", output="red"), row("a", "y", output="blue")], examples={"x": "car", "y": "car"})
    assert names(made, "q=car+red") == [("a", "x")]
    assert names(made, "q=car+green") == []


def test_a_search_is_no_pattern(index):
    made = index([row("a", "x", output="a.b"), row("a", "y", output="axb"), row("a", "z", output="50%")])
    assert names(made, "q=a.b") == [("a", "x")]
    assert names(made, "q=%25") == [("a", "z")]


def test_missing_values_come_last_in_either_order(index):
    made = index([row("a", f"i{n}", score=score) for n, score in enumerate([0.5, None, 0.0, 1.0])])
    assert [item for _, item in names(made, "sort=score")] == ["i2", "i0", "i3", "i1"]
    assert [item for _, item in names(made, "sort=-score")] == ["i3", "i0", "i2", "i1"]


def test_equal_outputs_share_a_label_whoever_gave_them(index):
    made = index(
        [row("a", "x", output="hi"), row("b", "x", output="hi"), row("c", "x", output="ho")], said=[label("x", "hi")]
    )
    assert counts(made)["label"] == {"pass": 2, "unlabelled": 1}


def test_people_who_differ_are_a_dispute_and_an_adjudicator_ends_it(index):
    both = [label("x", "hi", "pass", "ann"), label("x", "hi", "fail", "ben")]
    made = index([row("a", "x", output="hi", verdict="pass")], said=both)
    assert counts(made)["label"] == {"disputed": 1}
    assert counts(made)["judge"] == {}
    made.labelled = Labelled(made, labels(*both, label("x", "hi", "fail", "adjudicator")), 1)
    assert counts(made)["label"] == {"fail": 1}
    assert counts(made)["judge"] == {"disagree": 1}


@pytest.mark.parametrize(("passes", "agreed"), [(3, "agree"), (5, "disagree")])
def test_a_grade_agrees_with_a_judge_by_whether_it_passes(index, passes, agreed):
    judge = {"model": {"model": "sandbox/judge"}, "prompt": "j.md", "scale": [1, 2, 3, 4, 5], "passes": passes}
    made = index([row("a", "x", output="hi", verdict="pass")], said=[label("x", "hi", "4")], config={"judge": judge})
    assert counts(made)["judge"] == {agreed: 1}


def _key(said):
    return ItemKey(*(said[name] for name in ("example_id", "candidate", "output_hash"))).text


@pytest.mark.parametrize("by", ["key", "content"])
def test_what_people_said_of_sealed_items_is_withheld_and_counted(index, by):
    rows = [row(who, name, output="hi", verdict="pass", critique="fine") for name in "xyz" for who in "ab"]
    said = [label(name, "hi", "fail", critique="a secret", failure_mode="rude") for name in "xy"]
    made = index(rows, said=said, examples={name: f"about {name}" for name in "xyz"})
    assert counts(made)["judge"] == {"disagree": 4}
    other = [LabelledItem(ItemKey("another id", "", ""), "fail", ("about x", "hi"))] if by == "content" else []
    dealt = {name: "sealed" for one in other for name in one.names}
    join(made.store, lambda _: dealt or {_key(one): {"x": "sealed", "y": "dev"}[one["example_id"]] for one in said})
    made.labelled = Labelled(made, labels(*said), 1)
    assert counts(made)["label"] == {"sealed": 2, "fail": 2, "unlabelled": 2}
    assert counts(made)["judge"] == {"sealed": 2, "disagree": 2}
    assert counts(made)["mode"] == {"rude": 2}
    assert {item for _, item in names(made, "judge=disagree")} == {item for _, item in names(made, "q=secret")} == {"y"}
    query = Query.parse("label=sealed")
    found = b"".join(csv_lines(made, query, made.labelled, made.select(query, made.labelled).rows.tolist())).decode()
    assert "secret" not in found
    assert "rude" not in found
    assert found.count(",sealed,") == 2
    cards = Showing(made, query, made.labelled).cards(made.rows_of(made.code("x")))
    assert [(one.who, one.verdict.word) for one in cards[0].judgements] == [("judge", "pass"), ("people", "sealed")]


def test_labels_of_other_answers_are_nobodys(index):
    made = index([row("a", "x", output="hi")], said=[label("x", "something else"), label("y", "hi")])
    assert counts(made)["label"] == {"unlabelled": 1}


def test_a_value_that_is_not_there_keeps_nothing(index):
    made = index([row("a", "x")])
    assert names(made, "status=invented") == names(made, "nonsense=1") == []


def test_a_run_of_an_older_version_shows_its_answers_without_inputs(tmp_path):
    store, run = write_run(tmp_path, [row("a", "x", output="hello")])
    run.manifest["summary"].pop("made_of")
    made = RowIndex(run, store)
    made.labelled = None
    assert not made.inputs_known
    assert made.texts_of([0]) == [{}]
    assert names(made, "q=hello") == [("a", "x")]
    assert made.leaks_of(0) == []


def test_a_run_without_rows_is_told(tmp_path):
    from safetycatch.store import Runs

    store, run = write_run(tmp_path, [row("a", "x")])
    with Runs(store).begin("none", "4" * 40, config={}, now=run.started_at) as other:
        other.finish("refused", {}, now=run.started_at)
    with pytest.raises(UsageError, match="refused: it has no rows"):
        RowIndex(Runs(store).load(other.run_id), store)


def test_a_run_of_no_row_at_all(index):
    made = index([])
    assert names(made, "") == names(made, "q=x&score=right&sort=-latency") == []


def test_texts_beyond_the_limit_are_decoded_again(tmp_path):
    _, run = write_run(tmp_path, [row("a", f"i{n}", output=f"text {n}") for n in range(20)])
    texts = Texts(run.open_table("rows"), Held(limit=1))
    for _ in range(2):
        assert texts.take("output", [3, 1]) == ["text 3", "text 1"]
        assert texts.take("parsed", [0]) == ["text 0"]
    assert texts.take("output", []) == []


def test_hostile_addresses_become_queries_of_a_bounded_size():
    assert Query.parse([("page", "-5")]).page == Query.parse("page=1e9").page == Query.parse("page=²").page == 1
    assert len(Query.parse([("q", "x" * 10_000)]).text) == 500
    assert len(Query.parse([("q", "a " * 200)]).words) == 8
    assert Query.parse("sort=__class__&in=rows").sort == "item"

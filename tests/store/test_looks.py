import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetycatch.database import open_database
from safetycatch.errors import StoreError
from safetycatch.identity import text_sha256
from safetycatch.store import ledger as room
from safetycatch.store.ledger import LEDGER, Ledger
from safetycatch.store.looks import (
    SHARE_SEEN,
    Look,
    Looks,
    content_of,
    contents,
    distinct,
    is_replay,
    looker,
    looks_text,
    scores_of,
    share_seen,
    sketch_of,
    terms_of,
)
from tests.store.test_ledger import write

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TERMS = {**dict.fromkeys(("rule", "members", "tie", "weights", "samples")), "metric": "accuracy", "correction": "holm"}


def items(start, stop):
    return [text_sha256(str(number))[:16] for number in range(start, stop)]


LOOK = Look(
    *("tickets", "c1", "claim", "2026-03-01-tickets-1", "ada", AT, TERMS, ("k1", "k2"), 300, sketch_of(items(0, 300)))
)


def over(contents):
    """A look at other items."""
    return replace(LOOK, n_items=len(set(contents)), sketch=sketch_of(contents))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store" / LEDGER


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_a_look_comes_back_as_it_was_recorded(path):
    with Looks.open(path) as looks:
        assert looks.record(LOOK) == [LOOK]
    with Looks.open(path) as looks:
        assert looks.on(LOOK) == [LOOK]
        assert looks.on(over(items(1000, 1300))) == looks.on(over([])) == []


def test_the_same_content_is_recorded_once_for_each_purpose_and_counted_once(path):
    later = replace(LOOK, who="bo", run_id="2026-03-02-tickets-1", looked_at=AT + timedelta(days=1))
    with Looks.open(path) as looks:
        for look in (LOOK, later, replace(later, purpose="compare"), replace(LOOK, purpose="compare")):
            found = looks.record(look)
    assert [(look.purpose, look.who) for look in found] == [("claim", "ada"), ("compare", "bo")]
    assert distinct(found) == distinct(found, "tickets") == 1


def test_the_same_content_under_another_name_is_a_look_of_that_claim_and_no_new_one_over_all(path):
    with Looks.open(path) as looks:
        looks.record(LOOK)
        found = looks.record(replace(LOOK, claim="other"))
    assert [distinct(found), distinct(found, "tickets"), distinct(found, "other"), distinct(found, "x")] == [1, 1, 1, 0]


def test_what_check_refuses_is_not_recorded(path):
    def check(before):
        assert before == [LOOK]
        raise RuntimeError

    with Looks.open(path) as looks:
        looks.record(LOOK)
        with pytest.raises(RuntimeError):
            looks.record(replace(LOOK, content="c2"), check)
        assert looks.on(LOOK) == [LOOK]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_counting_does_not_depend_on_order_and_repetition(tmp_path_factory, data):
    pairs = st.tuples(st.sampled_from(["tickets", "other"]), st.sampled_from(["c1", "c2", "c3"]))
    seen = data.draw(st.lists(pairs, min_size=1, max_size=5))
    again = data.draw(st.permutations(seen + data.draw(st.lists(st.sampled_from(seen), max_size=4))))
    counts = []
    for order in (seen, again):
        found = ()
        with Looks.open(tmp_path_factory.mktemp("looks") / LEDGER) as looks:
            for claim, content in order:
                purpose = data.draw(st.sampled_from(["claim", "gate", "compare"]))
                found = looks.record(replace(LOOK, claim=claim, content=content, purpose=purpose))
        counts.append((distinct(found), distinct(found, "tickets"), distinct(found, "other")))
    assert counts[0] == counts[1] == (len({content for _, content in seen}), *_by_claim(seen))


def _by_claim(seen):
    return [len({content for claim, content in seen if claim == name}) for name in ("tickets", "other")]


def test_the_text_counts_and_names_the_newest(path):
    looks = [replace(LOOK, content=f"c{number}", run_id=f"2026-03-0{number}-tickets-1") for number in (1, 2, 3, 4)]
    text = looks_text([*looks, replace(LOOK, claim="other", content="o1", who="")], "tickets")
    assert text.startswith("4 by tickets, 5 over all claims. The newest: claim other, 2026-03-01 12:00 UTC by somebody")
    assert text.count(" UTC ") == 3


# -- the same test set ------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 40), max_size=30), st.sets(st.integers(0, 40), max_size=30))
def test_of_small_sets_the_share_seen_before_is_exact(now, before):
    def look(numbers):
        return over([text_sha256(str(number)) for number in numbers])

    exact = len(now & before) / len(now) if now else 0
    assert share_seen(look(now), look(before)) == pytest.approx(exact, rel=1e-12)


def test_of_large_sets_it_is_right_within_the_error_of_64_items():
    for start, stop, exact in ((0, 300, 1), (30, 330, 0.9), (150, 450, 0.5), (100, 300, 1), (300, 600, 0)):
        assert share_seen(over(items(start, stop)), LOOK) == pytest.approx(exact, abs=0.15)


def test_a_set_with_rows_changed_added_lost_or_repeated_was_seen_before():
    for other in (items(10, 310), items(0, 330), items(15, 300), items(0, 150), items(0, 300) * 2):
        assert share_seen(over(other), LOOK) >= SHARE_SEEN


def test_a_set_with_far_more_new_rows_than_old_ones_was_not():
    assert share_seen(over(items(0, 900)), LOOK) < SHARE_SEEN


# -- what a look is of ------------------------------------------------------------------------------------------------


def test_content_changes_with_what_is_seen_and_not_with_order_or_correction():
    def content(**changes):
        return content_of(**{"items": "i", "candidates": ["a", "b"], "terms": TERMS, "replicates": 1, **changes})

    same = [content(), content(candidates=["b", "a", "a"]), content(terms={**TERMS, "correction": "max_t", "x": None})]
    assert len(set(same)) == 1
    changes = (
        *({"items": "j"}, {"candidates": ["a", "c"]}, {"terms": {**TERMS, "metric": "macro_f1"}}, {"replicates": 2}),
        *({"terms": {**TERMS, "smallest_effect": "0.1"}}, {"terms": {**TERMS, "guardrails": ["cost_usd by 0"]}}),
        *({"terms": {**TERMS, "rule": "majority"}}, {"chosen_by": "r"}, {"source": "s"}),
    )
    assert len({content(), *(content(**change) for change in changes)}) == 10


def test_terms_of_an_experiment():
    claim = {"claim": {"metric": "accuracy", "smallest_effect": None}}
    assert terms_of(claim) == terms_of({**claim, "aggregate": None})
    assert TERMS.items() <= terms_of(claim).items()
    assert terms_of({**claim, "aggregate": {"members": ["a"], "rule": "weighted"}})["weights"] == "dev"
    aggregate = {"members": ["b", "a"], "rule": "majority", "more": 1}
    found = terms_of({"claim": {**claim["claim"], "correction": "max_t"}, "aggregate": aggregate})
    changed = {"rule": "majority", "members": ["a", "b"], "tie": "best", "correction": "max_t"}
    assert {**TERMS, **changed}.items() <= found.items()


def test_terms_say_what_scores_are_read_by():
    effect, rail = (
        {"value": 0.03, "relative": False},
        {"metric": "cost_usd", "worse_by": {"value": 0.1, "relative": True}},
    )
    claim = {"metric": "accuracy", "smallest_effect": effect, "guardrails": [rail]}
    config = {"claim": claim, "candidates": [{"id": name} for name in "bac"]}
    found = terms_of(config)
    names = ("smallest_effect", "guardrails", "baseline", "candidate", "candidates")
    assert [found[name] for name in names] == ["0.03", ["cost_usd by 10%"], "b", "the best on test", ["a", "b", "c"]]
    assert terms_of({**config, "claim": {**claim, "baseline": "last"}})["baseline"] == "a stored run"
    assert terms_of({**config, "candidates": config["candidates"][:2]})["candidate"] == "a"
    raced = terms_of({**config, "runs": {"ladder": [{"items": 9}]}})
    assert (raced["candidate"], "candidates" in raced) == ("the best on dev", False)


@given(st.lists(st.sampled_from(["s1", "s2"]).flatmap(lambda s: st.sampled_from([s, f"{s}:r1", f"{s}:r2"]))))
def test_scores_of_unknown_reading_are_no_look_beside_known_ones(seen):
    found = contents(replace(LOOK, content=content) for content in seen)
    assert set(map(scores_of, found)) == set(map(scores_of, seen))
    assert all(is_replay(content, found) for content in seen if ":" in content)
    assert set(found) == set(contents(replace(LOOK, content=content) for content in reversed(seen)))


# -- who --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nobody(monkeypatch):
    for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR", "CIRCLE_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_it_is_the_login_name_or_the_person_that_ci_names(nobody):
    nobody.setenv("LOGNAME", "runner")
    assert looker() == "runner"
    nobody.setenv("GITHUB_ACTOR", "ada\x1b[31m\u202e" + "x" * 200)
    assert looker() == ("ada[31m" + "x" * 200)[:100]
    nobody.setenv("GITHUB_ACTOR", "\x07")
    assert looker() == "nobody"


def test_a_user_without_a_name_is_a_number(nobody):
    nobody.setattr(os, "getuid", lambda: 2**31 - 7)
    assert looker() == f"uid {2**31 - 7}"


# -- damage, versions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:4096] + bytes(4096) + whole[8192:]])
def test_a_damaged_ledger_is_refused_and_never_starts_empty(path, damage):
    with Looks.open(path) as looks:
        looks.record(LOOK)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match=r"(?s)the ledger is damaged.*counted from the stored runs"):
        Looks.open(path)


@pytest.mark.parametrize("change", ["looked_at = 'yesterday'", "terms = '['", "candidates = '3'", "n_items = 'x'"])
def test_a_row_that_is_no_look_is_damage(path, change):
    with Looks.open(path) as looks:
        looks.record(LOOK)
    write(path, f"UPDATE look SET {change}")  # noqa: S608 - the test's own
    with Looks.open(path) as looks, pytest.raises(StoreError, match="damaged"):
        looks.on(LOOK)


def test_a_ledger_of_the_first_version_gets_looks_and_keeps_its_approvals(path):
    first = replace(room.KIND, versions=room.KIND.versions[:1])
    with closing(open_database(path, first)) as old:
        old.execute("INSERT INTO approval VALUES (1, 'r', 'f', 'Ada', '', '2026-03-01', '$2', 1, 0, 1, 1, 1)")
    with Looks.open(path) as looks, Ledger.open(path) as ledger:
        assert looks.record(LOOK) == [LOOK]
        assert [one.name for one in ledger.approvals("r")] == ["Ada"]


def test_a_full_disk_records_nothing_and_says_so(path):
    with Looks.open(path) as looks:
        pages = looks._connection.execute("PRAGMA page_count").fetchone()[0]
        looks._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="full"):
            looks.record(replace(LOOK, who="x" * 100_000))
        assert looks.on(LOOK) == []


def test_stored_looks_are_adopted_once_and_all_or_none(path):
    second = replace(LOOK, content="c2")
    with Looks.open(path) as looks:
        with pytest.raises(StoreError, match="planted"):
            looks.adopt(lambda: _then_fails(LOOK))
        assert looks.on(LOOK) == []
        looks.adopt(lambda: [LOOK, LOOK, second])
        looks.adopt(lambda: pytest.fail("there are looks already"))
        assert looks.on(LOOK) == [LOOK, second]


def _then_fails(look):
    yield look
    raise StoreError("planted")


# -- several processes, kills -----------------------------------------------------------------------------------------

MANY = """
import sys
from dataclasses import replace
from pathlib import Path
from safetycatch.store.looks import Looks, distinct
from tests.store.test_looks import LOOK

class Full(Exception):
    pass

def check(before):
    if distinct(before) >= int(sys.argv[3]):
        raise Full

print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    with Looks.open(Path(sys.argv[1])) as looks:
        try:
            looks.record(replace(LOOK, content=f"{sys.argv[2]}{number}", who=sys.argv[2]), check)
        except Full:
            break
    print(number, flush=True)
"""


def started(path, who, most):
    command = [sys.executable, "-c", MANY, str(path), who, str(most)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_processes_at_once_never_go_beyond_the_budget(path):
    processes = [started(path, who, 7) for who in ("ada", "bo", "cy")]
    for process in processes:
        go(process)
    told = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 3
    assert sum(map(len, told)) == 7
    with Looks.open(path) as looks:
        assert distinct(looks.on(LOOK)) == 7


def test_what_was_recorded_survives_a_kill(path):
    process = started(path, "ada", 99)
    go(process)
    told = [process.stdout.readline() for _ in range(random.Random(3).randint(2, 6))]
    process.send_signal(signal.SIGKILL)
    rest = process.communicate(timeout=60)[0].split()
    with Looks.open(path) as looks:
        found = looks.on(LOOK)
        assert len(told) + len(rest) <= len(found) <= len(told) + len(rest) + 1
        assert looks.record(found[0]) == found

import datetime as dt

import pytest

from safetycatch.catches import lockin
from safetycatch.catches.lockin import ParameterFacts, ShutdownFacts

TODAY = dt.date(2026, 11, 22)


def facts(**changes):
    empty = {"dropped": (), "refused": (), "foreign": (), "unsure": (), "how": "by the request"}
    return ParameterFacts(**{"candidate": "b", "model": "anthropic/claude-x", **empty, **changes})


def ends(days, model="openai/m", of=""):
    return ShutdownFacts(model, TODAY + dt.timedelta(days=days), "a list", of)


def stay(*facts, asked=1):
    return lockin.models_stay(facts, asked=asked, today=TODAY)


def test_sc801_fires_on_what_is_dropped_refused_or_litellms(fired):
    found = lockin.parameters_are_seen([facts(), facts(dropped=("min_p",), refused=("seed", "user"))])
    fired(found, "refuse", "b (anthropic/claude-x): min_p left out without a word; seed, user not known there", "min_p")
    fired(lockin.parameters_are_seen([facts(foreign=("api_base",))]), "refuse", "api_base a setting of LiteLLM")
    hint = lockin.parameters_are_seen([facts(dropped=("metadata", "response_format")), facts(refused=("seed",))])
    fired(hint, "refuse", "1 more candidates", "metadata, response_format, seed (send_ids", "json_schema")


def test_sc801_fires_while_exploring_too(policy):
    found = lockin.parameters_are_seen([facts(dropped=("seed",))])
    assert policy(claiming=False).finding(found).refuses
    assert policy(overrides={"SC801": "known"}).finding(found).status == "overridden"


def test_sc801_silent_where_everything_arrives_or_nobody_can_tell(silent):
    silent(lockin.parameters_are_seen([facts()]))
    silent(lockin.parameters_are_seen([]), "not_applicable")
    silent(lockin.parameters_are_seen([facts(), facts(unsure=("top_k",))]), "not_checked", "top_k cannot be checked")


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (53, "is shut down on 2027-01-14, in 53 days"),
        (1, "tomorrow"),
        (0, "is shut down on 2026-11-22, today"),
        (-1, "yesterday"),
        (-30, "was shut down on 2026-10-23, 30 days ago"),
    ],
)
def test_sc802_fires_with_the_day_and_the_days_left(fired, days, words):
    fired(stay(ends(days)), "warn", words, "source: a list", "successor")


def test_sc802_fires_on_the_soonest_of_several(fired):
    found = stay(ends(90, "openai/late"), ends(9, "openai/soon", of="openai/soon-2025-01-02"), asked=3)
    fired(found, "warn", "openai/soon (its last snapshot openai/soon-2025-01-02) is shut", "and 1 more")
    assert [one["model"] for one in found.evidence["ends"]] == ["openai/soon", "openai/late"]


def test_sc802_silent_where_no_day_is_published(silent):
    silent(stay())
    silent(stay(asked=0), "not_applicable")

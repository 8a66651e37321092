import datetime as dt

import pytest

from safetycatch.calls.model_list import Shutdown
from safetycatch.catches import CATCHES
from safetycatch.catches.catalogue import markdown_table


def test_rules_lists_the_catalogue(cli):
    found = cli("rules", "--json").document
    assert [(row["code"], row["level"], row["fires_when"]) for row in found] == [
        (catch.code, catch.level, catch.fires_when) for catch in CATCHES.values()
    ]
    text = cli("rules").out
    assert all(code in text for code in CATCHES)


def test_rules_as_markdown_is_the_readmes_table(cli):
    assert cli("rules", "--markdown").out.strip() == markdown_table()


@pytest.mark.parametrize("code", CATCHES)
def test_explain_prints_the_explanation(cli, code):
    assert cli("explain", code).out.strip() == CATCHES[code].explanation()


def test_explain_takes_lower_case(cli):
    assert cli("explain", "sc501", "--json").document["code"] == "SC501"


def test_explain_knows_the_nearest_word(cli):
    ended = cli("explain", "expriment")
    assert ended.code == 2
    assert "safetycatch explain experiment" in ended.err


def test_explain_experiment_is_its_schema(cli):
    assert "candidates" in cli("explain", "experiment").document["properties"]


def test_a_price_has_a_source_and_a_date(cli):
    found = cli("prices", "openai/gpt-4o-mini", "--json").document
    assert (found["input_per_m"], found["output_per_m"]) == (0.15, 0.6)
    assert found["source"]
    assert found["date"]


def test_the_projects_own_price_wins(cli, tmp_path):
    (tmp_path / "safetycatch.yaml").write_text("prices: {'local/*': {input_per_m: 3, output_per_m: 4}}")
    found = cli("prices", "local/m", "--json").document
    assert (found["input_per_m"], found["source"]) == (3, "prices: local/*")
    assert "local/*" in cli("prices").out


def test_rates_of_caching_and_batches_are_shown(cli):
    shown = cli("prices", "anthropic/claude-sonnet-4-5").out
    assert "$0.3 read from the cache · $3.75 written to it" in shown
    assert "batch     $1.5 in · $7.5 out" in shown


def test_an_unknown_price_says_how_to_state_one(cli):
    ended = cli("prices", "nowhere/m")
    assert ended.code == 2
    assert "prices: {nowhere/m:" in ended.err


def test_a_shutdown_date_is_shown(cli, monkeypatch):
    ends = Shutdown(dt.date(2027, 1, 2), "a list")
    monkeypatch.setattr("safetycatch.calls.model_list.shutdown_of", lambda *_: ends)
    assert "2027-01-02 · a list" in cli("prices", "openai/gpt-4o-mini").out


@pytest.mark.parametrize("model", ["gpt-4o-mini", "openai/gpt-4o-mni"])
def test_an_unknown_price_suggests_the_name_that_was_meant(cli, model):
    ended = cli("prices", model)
    assert ended.code == 2
    assert "did you mean openai/gpt-4o-mini" in ended.err

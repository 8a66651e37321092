"""Every figure is told in its own metric's unit, and a metric that nobody knows is told before there is a run."""

import re
from pathlib import Path

import numpy as np
import pytest

from flows.chain import as_function
from flows.gate import run_gate
from flows.gate_terms import Wanted
from safetycatch.cli.main import main
from safetycatch.errors import ExperimentError
from safetycatch.report.comment import gate_comment
from safetycatch.stats import decide, paired_difference


def _text(page):
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


@pytest.fixture
def counted(project):
    """A project of two prompts whose tokens are metrics and guardrails."""
    project.rows = project.rows[:40]
    project.model()
    project.config["scorers"] = ["accuracy", "n_tokens_in", "n_tokens_out"]
    rails = [{"metric": "n_tokens_in", "worse_by": 30}, {"metric": "n_tokens_out", "worse_by": "10%"}]
    project.config["claim"] |= {"guardrails": rails}
    return project


def test_tokens_are_tokens_in_the_report(counted):
    told = counted.run()
    page = _text(Path(told["report"]).read_text())
    rails = page.partition("Guardrails: what may not get worse")[2].partition("Numbers behind")[0]
    assert re.search(r"n_tokens_in b \+?[\d.]+ tokens .*? 30 tokens", rails)
    assert "points" not in rails
    further = page.partition("Further metrics")[2]
    assert re.search(r"b test n_tokens_out tokens [\d.]+ ", further)
    assert not re.search(r"(tokens_\w+|cost_usd|latency_\w+) %", further)


def test_a_guardrail_says_what_it_saw_in_its_unit(counted):
    counted.config["claim"] |= {"metric": "n_tokens_out", "smallest_effect": 1}
    rails = [("n_tokens_in", 30), ("accuracy", "50 points"), ("cost_usd", 0.5), ("latency_p95", 9)]
    counted.config["claim"]["guardrails"] = [{"metric": name, "worse_by": size} for name, size in rails]
    found = counted.run()
    check = found["banner"]["check"]
    assert re.search(r"n_tokens_in passed: [\d.]+ tokens against [\d.]+ tokens, \+[\d.]+%, allowed \+30 tokens", check)
    assert re.search(r"accuracy passed: [\d.]+ % against [\d.]+ %, [+-][\d.]+ points, allowed -50 points", check)
    assert "cost_usd passed: $0 against $0, allowed +$0.5" in check
    assert re.search(r"latency_p95 \w+: .* above the limit of [\d.]+ s, against", check)


def test_replies_are_read_though_the_claim_is_on_what_they_took(counted):
    counted.config["claim"] = {"metric": "n_tokens_in", "smallest_effect": 30}
    found = counted.run()
    assert not [note for note in found["notes"] if "could not be read" in note]
    assert [row["n_unparsable"] for row in found["candidates"]] == [0, 0]
    counted.config["scorers"] = ["n_tokens_out"]
    del counted.config["claim"]
    counted.config["split"] = {"dev": 0.5, "test": 0.5}
    found = counted.run()
    assert not [note for note in found["notes"] if "could not be read" in note]


def test_tokens_are_tokens_at_the_gate(counted):
    counted.config["claim"] = {"metric": "n_tokens_in", "smallest_effect": 30}
    found = run_gate(counted.path(), Wanted("baseline", "", None), call=as_function)
    assert "at most 30 tokens worse" in found["sentence"]
    comment = gate_comment("e", found)
    assert "points" not in comment
    assert re.search(r"Difference: \+[\d.]+ tokens .*margin 30 tokens", comment)


def test_a_verdict_on_tokens_is_in_tokens(counted):
    counted.config["claim"] = {"metric": "n_tokens_in", "smallest_effect": 30}
    found = counted.run()
    assert re.search(r"n_tokens_in \+[\d.]+ tokens on 40 items", found["banner"]["sentence"])
    del counted.config["claim"]
    counted.config |= {"scorers": ["n_tokens_in"], "split": {"dev": 0.5, "test": 0.5}}
    assert re.search(r"n_tokens_in: a [\d.]+ tokens", counted.run()["banner"]["sentence"])


def test_a_verdict_on_money_is_in_dollars():
    cost = np.random.default_rng(0).lognormal(0, 0.2, 300)
    difference = paired_difference(0.9 * cost, cost)
    found = decide(difference, 0.05, metric="cost_usd", unit="usd", higher_is_better=False)
    assert re.search(r"cost_usd -\$0\.1\d* \(95 % interval -\$0\.1\d* to -\$0\.\d+\) on", found.sentence)
    assert "the $0.05 asked for" in found.sentence


def test_tokens_are_tokens_in_a_comparison_of_runs(counted, capsys, monkeypatch):
    monkeypatch.chdir(counted.folder)
    run = counted.run()["run_id"]
    assert main(["compare", f"{run}:a", f"{run}:b", "--metric", "n_tokens_in"]) == 0
    told = capsys.readouterr().out
    assert " tokens" in told
    assert "points" not in told.partition("next")[0]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"scorers": ["acuracy"]}, "scorers"),
        ({"claim": {"metric": "acuracy", "smallest_effect": 0.3}}, "claim.metric"),
    ],
)
def test_a_metric_that_nobody_knows_is_told_before_there_is_a_run(project, change, where):
    project.config |= change
    for verb in (project.run, project.check):
        with pytest.raises(ExperimentError, match=f"{where}: unknown scorer 'acuracy'") as caught:
            verb()
        assert caught.value.fix == "accuracy"
    assert not project.store.exists()
    assert not project.calls

import json
import re

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import ExperimentError
from safetycatch.experiment import (
    Amount,
    BudgetSettings,
    Candidate,
    CatchSettings,
    Experiment,
    json_schema,
    load_experiment,
    max_tokens,
    parse_experiment,
    quick_look,
)
from safetycatch.identity import NAME_PATTERN

LOOK = """\
data: tickets.csv
prompts: [route.md]
models: [openai/gpt-4o-mini, ollama_chat/llama3.1]
"""
CLAIM = """\
name: ticket-routing
task: classify
data: {path: tickets.csv, id: id, input: text, target: label, group: customer_id, time: created_at, slices: [language]}
split: {train: 0.6, dev: 0.2, test: 0.2, seed: 7}
defaults: {prompt: route.md, model: openai/gpt-4o-mini, params: {temperature: 0, max_tokens: 20}}
candidates:
  - {id: zero}
  - {id: static8, shots: {select: static, k: 8}}
  - {id: knn8, shots: {select: knn, k: 8}}
  - {id: app, call: myapp.router:route}
  - {id: v11, outputs: last_month.parquet}
scorers: [accuracy, macro_f1, "myapp.scores:cost_of_error"]
claim:
  metric: accuracy
  smallest_effect: 3 points
  guardrails: [{metric: cost_usd, worse_by: 0}, {metric: latency_p95, worse_by: 10%}]
runs: {replicates: 1, concurrency: 64}
budget: $5
catches: {SC510: off, SC512: refuse}
"""
# The claim as an object, to change one key at a time.
BASE = yaml.safe_load(CLAIM.replace("SC510: off", 'SC510: "off"'))


def parse(text):
    return parse_experiment(text, "x.yaml", "x")


def changed(path, value):
    """Return the claim's text with one key set to another value."""
    whole = json.loads(json.dumps(BASE))
    *outer, last = path
    inner = whole
    for part in outer:
        inner = inner[part]
    inner[last] = value
    return json.dumps(whole)


def refused(text):
    with pytest.raises(ExperimentError) as caught:
        parse(text)
    return caught.value


def test_three_lines_are_an_experiment():
    found = parse(LOOK)
    assert [candidate.id for candidate in found.candidates] == ["gpt-4o-mini", "llama3.1"]
    assert {candidate.prompt for candidate in found.candidates} == {"route.md"}
    assert (found.claiming, found.baseline, found.name) == (False, "gpt-4o-mini", "x")


def test_a_whole_claim_is_read():
    found = parse(CLAIM)
    assert [(candidate.id, candidate.kind) for candidate in found.candidates] == [
        ("zero", "model"),
        ("static8", "model"),
        ("knn8", "model"),
        ("app", "call"),
        ("v11", "outputs"),
    ]
    assert (found.claiming, found.baseline, found.claim.smallest_effect.value) == (True, "zero", 0.03)
    assert [(rail.worse_by.value, rail.worse_by.relative) for rail in found.claim.guardrails] == [
        (0, False),
        (0.1, True),
    ]
    assert (found.budget.usd, found.catches["SC510"].level, found.catches["SC512"].level) == (5, "off", "refuse")


def test_defaults_reach_models_only():
    by_id = {candidate.id: candidate for candidate in parse(CLAIM).candidates}
    assert by_id["knn8"].params == {"temperature": 0, "max_tokens": 20}
    assert (by_id["knn8"].model.full, by_id["knn8"].shots.name) == ("openai/gpt-4o-mini", "knn8")
    assert (by_id["app"].prompt, by_id["app"].params, by_id["app"].model) == (None, {}, None)


def test_own_params_come_before_defaults():
    text = changed(["candidates", 0], {"id": "zero", "params": {"temperature": 1}})
    assert parse(text).candidates[0].params == {"temperature": 1, "max_tokens": 20}


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (["quotas"], {}, "quotas"),
        (["finetune"], {}, "finetune"),
        (["candidates", 1], {"id": "tuned", "finetune": {}}, "candidates[1].finetune"),
    ],
)
def test_what_is_planned_says_not_yet(path, value, key):
    error = refused(changed(path, value))
    assert error.where == f"x.yaml: {key}"
    assert "planned but not built yet" in error.found
    assert error.fix


@pytest.mark.parametrize(
    ("path", "close"),
    [
        (["modles"], "models"),
        (["data", "inptu"], "input"),
        (["candidates", 0, "promt"], "prompt"),
        (["candidates", 0, "shots", "select2"], "select"),
        (["claim", "metrik"], "metric"),
        (["claim", "guardrails", 0, "worse"], "worse_by"),
        (["runs", "replicate"], "replicates"),
        (["prices", "a/b", "input_per_n"], "input_per_m"),
        (["defaults", "modell"], "model"),
    ],
)
def test_an_unknown_key_names_the_nearest(path, close):
    whole = json.loads(json.dumps(BASE))
    whole["candidates"][0] |= {"shots": {"select": "zero"}}
    whole["prices"] = {"a/b": {"input_per_m": 1, "output_per_m": 1}}
    *outer, last = path
    inner = whole
    for part in outer:
        inner = inner[part]
    inner[last] = 1
    error = refused(json.dumps(whole))
    assert error.fix == f"did you mean {close!r}?"
    assert error.where.endswith(last)


@pytest.mark.parametrize(
    ("path", "value", "where", "found", "expected"),
    [
        (["name"], "Ticket Routing", "name", "'Ticket Routing' is not", "lower case"),
        (["task"], "clasify", "task", "found 'clasify'", "'classify', 'extract', 'answer' or 'generate'"),
        (["data"], 5, "data", "found 5", "keys and values"),
        (["data"], {"input": "text"}, "data", "no 'path'", "path: …"),
        (["data", "input"], 3, "data.input", "found 3", 'text: "3" in quotes'),
        (["split"], {"train": 0.5}, "split", "found {'train': 0.5}", "sum to 0.5, not to 1"),
        (["split"], {"train": 2}, "split.train", "found 2", "less than or equal to 1"),
        (["split"], {"column": "split", "train": 1}, "split", "found", "either shares or `column`"),
        (["candidates"], {}, "candidates", "found {}", "a list"),
        (["candidates", 1, "id"], "Static 8", "candidates[1].id", "found 'Static 8'", "such as static-8"),
        (["candidates", 1, "id"], "zero", "candidates[1]", "the candidate id 'zero' twice", "distinct"),
        (["candidates", 1, "shots"], "static", "candidates[1].shots", "found 'static'", "say how many"),
        (["candidates", 1, "shots"], {"select": "knn"}, "candidates[1].shots", "found", "needs `k`"),
        (["candidates", 1, "shots", "k"], -1, "candidates[1].shots.k", "found -1", "greater than or equal to 0"),
        (["candidates", 3, "call"], "route", "candidates[3].call", "found 'route'", "module:function"),
        (["candidates", 3, "prompt"], "a.md", "candidates[3]", "'call' beside model, prompt or shots", "only the one"),
        (["candidates", 4, "call"], "a:b", "candidates[4]", "both 'call' and 'outputs'", "one of them"),
        (["defaults", "model"], "gpt-4o", "defaults.model", "found 'gpt-4o'", "provider/name"),
        (["defaults", "model"], {"endpoint": "My Host", "model": "x"}, "defaults.model", "found", "lower case"),
        (["defaults", "model"], {"endpoint": "sandbox", "model": "x"}, "defaults.model", "found", "another"),
        (["defaults", "prompt"], None, "candidates[0]", "no 'prompt'", "under 'defaults'"),
        (["models"], ["openai/x"], "", "both 'candidates' and 'models'", "one way"),
        (["scorers"], "accuracy", "scorers", "found 'accuracy'", "a list"),
        (["claim"], True, "claim", "found True", "keys and values"),
        (["claim", "smallest_effect"], "-3 points", "claim.smallest_effect", "found '-3 points'", "such as '3 points'"),
        (["claim", "smallest_effect"], 3, "claim.smallest_effect", "found 3", "a fraction below 1, or points"),
        (["claim", "smallest_effect"], "10%", "claim.smallest_effect", "10% of the baseline", "an absolute size"),
        (["claim", "candidate"], "knn", "claim.candidate", "found 'knn'", "one of zero, static8, knn8"),
        (["claim", "candidate"], "zero", "claim", "the baseline is the candidate", "two different ones"),
        (["claim", "guardrails", 0, "metric"], "accuracy", "claim.guardrails[0]", "as its own guardrail", ""),
        (["runs", "replicates"], 0, "runs.replicates", "found 0", "greater than or equal to 1"),
        (["budget"], 5, "budget", "found 5", "a sum such as $5"),
        (["budget"], "5 euros", "budget", "found '5 euros'", "a sum such as $5"),
        (["budget"], {"usd": 0}, "budget.usd", "found 0", "greater than 0"),
        (["budget"], {"usd": 5, "ask_above": -1}, "budget.ask_above", "found -1", "greater than or equal to 0"),
        (["budget"], {"usd": 5, "ask_above": "5 euros"}, "budget.ask_above", "found '5 euros'", "number"),
        (["catches", "SC501"], "maybe", "catches.SC501.level", "found 'maybe'", "'refuse', 'warn' or 'off'"),
        (["catches", "SC501"], {"near": "high"}, "catches.SC501.thresholds.near", "found 'high'", "a number"),
        (["prices"], {"a/b": {"input_per_m": 1}}, "prices.a/b", "no 'output_per_m'", "output_per_m: …"),
        (
            ["claim", "guardrails"],
            [{"metric": "cost_usd", "worse_by": 0}, {}],
            "claim.guardrails[1]",
            "no 'metric'",
            "metric: …, worse_by: …",
        ),
    ],
)
def test_an_error_names_key_found_and_expected(path, value, where, found, expected):
    error = refused(changed(path, value))
    assert error.where == (f"x.yaml: {where}" if where else "x.yaml")
    assert found in error.found
    assert expected in error.expected
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("params", "key", "said"),
    [
        ({"temprature": 0}, "temprature", "did you mean 'temperature'?"),
        ({"mirostat": 2}, "mirostat", "extra_body: {mirostat: …}"),
        ({"n": 3}, "n", "use runs: {replicates: N}"),
        ({"model": "x"}, "model", "set by 'model'"),
        ({"messages": []}, "messages", "made from 'prompt'"),
        ({"stream": True}, "stream", "answers are read whole"),
        ({"max_tokens": "20"}, "max_tokens", "a whole number from 1 up"),
        ({"max_tokens": 0}, "max_tokens", "a whole number from 1 up"),
        ({"max_completion_tokens": True}, "max_completion_tokens", "a whole number from 1 up"),
        ({"extra_body": {"max_tokens": 100_000}}, "extra_body.max_tokens", "the highest cost of a call"),
        ({"extra_body": {"n": 50}}, "extra_body.n", "use runs: {replicates: N}"),
        ({"extra_body": 3}, "extra_body", "keys and values"),
    ],
)
def test_parameters_that_nobody_knows_or_that_are_ours_are_refused(params, key, said):
    error = refused(changed(["defaults", "params"], params))
    assert error.where == f"x.yaml: candidates[0].params.{key}"
    assert said in str(error)


def test_params_beside_candidates_are_not_dropped():
    assert refused(changed(["params"], {"temperature": 0})).fix == "defaults: {params: {…}}"


@pytest.mark.parametrize("number", [".inf", ".nan", "-.inf"])
def test_numbers_without_a_json_form_are_refused(number):
    assert "JSON" in refused(LOOK + f"params: {{temperature: {number}}}").found


@pytest.mark.parametrize("missing", ["prompts", "models"])
def test_nothing_to_evaluate(missing):
    text = "".join(line for line in LOOK.splitlines(keepends=True) if not line.startswith(missing))
    assert refused(text).found == "nothing to evaluate"


def test_a_claim_needs_two():
    assert "one candidate" in refused("data: a\nprompts: [p.md]\nmodels: [openai/x]\nclaim: {metric: accuracy}").found


def test_a_claim_against_a_stored_run_needs_one():
    found = parse("data: a\nprompts: [p.md]\nmodels: [openai/x]\nclaim: {metric: accuracy, baseline: nightly}")
    assert found.baseline_is_run


@pytest.mark.parametrize("level", ["off", "'off'", "false", "{level: off}", "{level: false}"])
def test_off_is_off_however_it_is_written(level):
    assert parse(LOOK + f"catches: {{SC510: {level}}}").catches["SC510"].level == "off"


def test_thresholds_stand_beside_the_level():
    found = parse(LOOK + "catches: {SC501: {level: warn, near: 0.7}, SC208: {clusters: 20}}").catches
    assert (found["SC501"].level, found["SC501"].thresholds) == ("warn", {"near": 0.7})
    assert (found["SC208"].level, found["SC208"].thresholds) == (None, {"clusters": 20})


@pytest.mark.parametrize(
    ("written", "value", "relative"),
    [
        ("3 points", 0.03, False),
        ("1 point", 0.01, False),
        ("57 pts", 0.57, False),
        (".5 points", 0.005, False),
        (0.03, 0.03, False),
        ("0.03", 0.03, False),
        (0, 0, False),
        ("10%", 0.1, True),
        ("200 ms", 0.2, False),
        ("2 s", 2, False),
        ("$0.01", 0.01, False),
    ],
)
def test_sizes(written, value, relative):
    assert Amount.model_validate(written) == Amount(value=value, relative=relative)


@pytest.mark.parametrize("written", ["", "points", "three", "3 apples", "1e3", "-1", "∞", "3 points 4", "1.2.3", "٣"])
def test_other_sizes_are_refused(written):
    assert "found" in refused(changed(["claim", "smallest_effect"], written)).found


def test_a_long_number_is_no_trap():
    assert refused(changed(["claim", "smallest_effect"], "1" * 100_000 + "x"))
    assert refused(changed(["budget"], "$" + "1" * 100_000 + "x"))


@pytest.mark.parametrize(
    ("written", "limits"),
    [
        ("$5", (5, None, None)),
        (" $ 0.50 ", (0.5, None, None)),
        ({"usd": 5, "tokens": 100, "calls": 2}, (5, 100, 2)),
        ({"usd": "$2"}, (2, None, None)),
        ({"calls": 2000}, (None, None, 2000)),
        ({"ask_above": 0}, (None, None, None)),
    ],
)
def test_budgets(written, limits):
    found = BudgetSettings.model_validate(written)
    assert (found.usd, found.tokens, found.calls) == limits
    assert found.bounded is (limits != (None, None, None))


@pytest.mark.parametrize("written", [5, 5.0, "$5", " $ 5.00 "])
def test_a_sum_above_which_a_run_asks(written):
    assert BudgetSettings.model_validate({"usd": 20, "ask_above": written}).ask_above == 5


MODEL = st.builds(
    "{}/{}".format, st.sampled_from(["openai", "azure", "x_1"]), st.from_regex(r"[^\s]{1,30}", fullmatch=True)
)
SHOTS = st.builds(
    lambda select, k, seed: {"select": select, "k": k, "seed": seed},
    st.sampled_from(["static", "knn"]),
    st.integers(1, 3),
    st.integers(0, 2),
)


@given(
    st.lists(MODEL, min_size=1, max_size=3, unique=True),
    st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=3, unique=True),
    st.lists(SHOTS, max_size=3, unique_by=str),
)
def test_ids_of_a_grid_are_distinct_and_safe(models, prompts, shots):
    text = json.dumps({"data": "a.csv", "models": models, "prompts": prompts, "shots": shots})
    try:
        ids = [candidate.id for candidate in parse(text).candidates]
    except ExperimentError as error:
        assert re.search(r"the character U\+", error.found) or error.where.startswith("x.yaml: models[")  # noqa: PT017
        return
    assert len(set(ids)) == len(ids) == len(models) * len(prompts) * max(1, len(shots))
    assert all(NAME_PATTERN.fullmatch(name) for name in ids)


def test_ids_of_a_grid_name_what_differs():
    text = "data: a\nprompts: [a/p.md, b/p.md]\nmodels: [openai/x]\nshots: [zero, {select: knn, k: 4}]\n"
    assert [candidate.id for candidate in parse(text).candidates] == ["p-zero", "p-knn4", "p-zero-2", "p-knn4-2"]


def test_the_same_cell_twice_is_refused():
    assert "twice" in refused("data: a\nprompts: [p.md, p.md]\nmodels: [openai/x]").found


def test_a_grid_is_limited():
    models = [f"openai/m{number}" for number in range(201)]
    assert refused(json.dumps({"data": "a", "prompts": ["p"], "models": models})).found == "201 candidates"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["name"], "other"),
        (["data", "path"], "other.csv"),
        (["data", "target"], "topic"),
        (["data", "group"], None),
        (["split", "seed"], 8),
        (["defaults", "prompt"], "other.md"),
        (["defaults", "params", "temperature"], 1),
        (["defaults", "model"], "openai/gpt-4o"),
        (["candidates", 1, "shots", "k"], 4),
        (["candidates", 3, "version"], "2"),
        (["candidates", 3, "send_ids"], True),
        (["scorers"], ["accuracy"]),
        (["labels"], {"refund": ["money back"]}),
        (["claim", "smallest_effect"], 0.02),
        (["claim", "guardrails"], []),
        (["claim"], None),
        (["runs", "replicates"], 2),
        (["prices"], {"a/b": {"input_per_m": 1, "output_per_m": 1}}),
        (["task"], "answer"),
    ],
)
def test_identity_changes_with_what_is_evaluated(path, value):
    assert parse(changed(path, value)).identity() != parse(CLAIM).identity()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["budget"], {"usd": 50, "ask_above": 2}),
        (["runs", "concurrency"], 2),
        (["runs", "timeout_s"], 600),
        (["catches"], {"SC501": "warn"}),
        (["claim", "smallest_effect"], 0.03),
        (["defaults", "params", "temperature"], 0.0),
    ],
)
def test_identity_ignores_budget_pace_catches_and_spelling(path, value):
    assert parse(changed(path, value)).identity() == parse(CLAIM).identity()


def test_identity_takes_whatever_parameters_hold():
    text = LOOK + "params: {logit_bias: {50256: -100}, stop: ['\\n', é😀], seed: 123456789012345678}"
    assert len(parse(text).identity()) == 64


@given(st.text(min_size=1), st.text(min_size=1))
def test_quick_look_takes_any_file_name(data, prompt):
    text = quick_look(data, prompt, "openai/gpt-4o-mini")
    try:
        found = parse(text)
    except ExperimentError as error:
        assert "the character U+" in error.found  # noqa: PT017
    else:
        assert (found.data.path, found.candidates[0].prompt) == (data, prompt)


@pytest.mark.parametrize(
    "name",
    ["a b.csv", "#1: {x}.csv", "2e-4", "null", "- x", "a'\"b", "é😀", "a\u2028b", "a\x85b", "\u202ea", "*a", "a\\n"],
)
def test_quick_look_takes_odd_file_names(name):
    assert parse(quick_look(name, "p.md", "openai/x")).data.path == name


def test_quick_look_names_itself_by_content():
    names = {parse(quick_look(data, "p.md", "openai/x")).name for data in ("a", "b")}
    assert len(names) == 2
    assert all(name.startswith("look-") for name in names)


@pytest.mark.parametrize("written", ["My File (2)", "..", "é", "x" * 300])
def test_the_name_of_the_file_is_made_safe(written):
    assert NAME_PATTERN.fullmatch(parse_experiment(LOOK, "x", written).name)


def test_a_file_is_loaded(tmp_path):
    (tmp_path / "routing.yaml").write_text(LOOK, encoding="utf-8")
    assert load_experiment(tmp_path / "routing.yaml").name == "routing"


@pytest.mark.parametrize("text", [LOOK, CLAIM, CLAIM.replace("$5", "{usd: 5, calls: 2}"), LOOK + "shots: [zero]\n"])
def test_the_json_schema_accepts_what_is_accepted(text):
    values = yaml.safe_load(text)
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(values, json_schema())


def test_the_json_schema_refuses_unknown_keys():
    with pytest.raises(jsonschema.ValidationError, match="modles"):
        jsonschema.validate({**yaml.safe_load(LOOK), "modles": []}, json_schema())


@pytest.mark.parametrize(
    ("params", "task", "most"),
    [
        ({}, "classify", 64),
        ({}, "answer", 1024),
        ({"max_tokens": 5}, "classify", 5),
        ({"max_completion_tokens": 7, "max_tokens": 5}, "answer", 7),
    ],
)
def test_most_tokens_of_a_reply(params, task, most):
    assert max_tokens(Candidate(id="a", params=params), task) == most


def test_the_same_objects_in_python():
    found = parse(CLAIM)
    assert Experiment.model_validate(found.model_dump()) == found
    assert CatchSettings(level="warn", thresholds={"near": 0.7}).thresholds == {"near": 0.7}


def test_labels_may_have_aliases():
    assert parse(LOOK + "labels: {refund: [money back, cash], other: []}").label_aliases == {
        "money back": "refund",
        "cash": "refund",
    }
    assert parse(LOOK + "labels: [refund, other]").label_aliases == {}


def test_candidates_are_limited():
    many = [{"id": f"c{number}"} for number in range(201)]
    assert refused(changed(["candidates"], many)).found == "201 candidates"


def test_candidates_are_described_in_a_line():
    described = [candidate.description for candidate in parse(CLAIM).candidates]
    assert described[1] == "openai/gpt-4o-mini · route.md · static8"
    assert described[3:] == ["call myapp.router:route", "outputs last_month.parquet"]


@pytest.mark.parametrize(
    ("written", "columns"),
    [("text", {"text": "text"}), (["a", "b"], {"a": "a", "b": "b"}), ({"question": "q"}, {"question": "q"})],
)
def test_inputs_may_be_one_column_a_list_or_named(written, columns):
    assert parse(changed(["data", "input"], written)).data.input_columns == columns


def test_targets_and_groups_may_be_several_columns():
    found = parse(CLAIM).data
    assert (found.target_columns, found.group_columns) == (("label",), ("customer_id",))
    none = parse(changed(["data", "target"], None)).data.model_copy(update={"group": ["a", "b"]})
    assert (none.target_columns, none.group_columns) == ((), ("a", "b"))


@pytest.mark.parametrize(
    ("written", "shares"),
    [
        ({"test": 1}, {"train": 0, "dev": 0, "test": 1}),
        ({"train": 0.5, "test": 0.5}, {"train": 0.5, "dev": 0, "test": 0.5}),
        ({"seed": 3}, None),
        ({"column": "split"}, None),
    ],
)
def test_shares_that_are_left_out_are_none_of_the_rows(written, shares):
    assert parse(changed(["split"], written)).split.shares == shares

"""A run pinned: a module that makes the prompts that the run sent, byte for byte, with the standard library alone."""

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from flows.pin import pin
from safetycatch.calls import Endpoint, Request
from safetycatch.errors import BudgetReachedError, ExperimentError, UsageError
from safetycatch.sandbox import SandboxSettings, running
from safetycatch.sandbox.settings import ANSWERS_VERSION
from tests.wiring import Project, rows

SHOTS = {
    "zero": {"select": "zero"},
    "static": {"select": "static", "k": 6},
    "random": {"select": "random", "k": 6},
    "diverse": {"select": "diverse", "k": 6},
    "bootstrapped": {"select": "bootstrapped", "k": 6, "sample": 30},
    "knn": {"select": "knn", "k": 6},
    "bm25": {"select": "bm25", "k": 6},
    "mmr": {"select": "mmr", "k": 6, "balance": 0.4},
    "hybrid": {"select": "hybrid", "k": 6, "core": 2, "tail": "mmr", "order": 5},
}
ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import winner
rows = json.load(sys.stdin)
made = {"messages": [winner.messages(row) for row in rows], "model": winner.MODEL, "parameters": winner.PARAMETERS}
for name in ("safetycatch", "sklearn", "numpy", "jinja2", "yaml"):
    assert name not in sys.modules, name
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(name + " can be imported")
print(json.dumps(made))
"""


def alone(folder, given, script=ASK):
    """What the module answers in a process without site-packages."""
    words = [sys.executable, "-I", "-S", "-X", "utf8", "-c", script, str(folder)]
    done = subprocess.run(words, input=json.dumps(given), capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def key_of(made, messages):
    """The name under which the journal keeps the call that these messages make."""
    endpoint = Endpoint("sandbox", "direct", "http://127.0.0.1:1", known_as=f"sandbox-{ANSWERS_VERSION}")
    body = {"model": made["model"], "messages": messages, **made["parameters"]}
    return Request(endpoint, body, "", "").key


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A run of every strategy on 100 dev rows, some of which repeat a pool row's text."""
    with pytest.MonkeyPatch.context() as patch:
        made = Project(tmp_path_factory.mktemp("project"), patch)
        made.rows = rows(300)
        made.given()
        made.rows = [row for row in made.rows if row["split"] != "test"]
        train, dev = ([row for row in made.rows if row["split"] == split] for split in ("train", "dev"))
        for number in range(40):
            dev[number]["text"] = train[number]["text"].upper()
        for number, text in enumerate(("?!", 'Grüße aus İstanbul, "ß" \\ {{ input }} \u202e', "x\ty\nz")):
            dev[60 + number]["text"] = text
        (made.folder / "route.md").write_text(
            "{% for label in labels %}{{ loop.index }}. {{ label }}\n{% endfor %}Ticket: {{ input }}\nLabel:"
        )
        model = {"model": "sandbox/in-context", "prompt": "route.md", "params": {"temperature": 0}}
        made.config["candidates"] = [{"id": name, **model, "shots": shots} for name, shots in SHOTS.items()]
        del made.config["claim"]
        made.config["budget"] = {"usd": 1, "calls": 5000}
        made.run()
        yield made


@pytest.mark.parametrize("name", SHOTS)
def test_the_module_makes_the_prompts_of_the_run(project, tmp_path, name):
    found = pin(project.stored(), project.store, project.folder, name)
    for file, text in found.files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    table = pq.read_table(project.stored().path("rows.parquet")).to_pylist()
    sent = {row["example_id"]: row["call_key"] for row in table if row["candidate"] == name}
    given = [row for row in project.rows if row["id"] in sent]
    assert len(given) == 100
    made = alone(tmp_path, given)
    assert [key_of(made, messages) for messages in made["messages"]] == [sent[row["id"]] for row in given]
    assert found.lock["checked"] == {
        "rows": 100,
        "prompts_equal": 100,
        "requests_as_sent": 100,
        "other_examples_by_group": 0,
    }
    assert ("winner.index.json" in found.files) == (name in {"knn", "bm25", "mmr", "hybrid"})


def test_rows_that_repeat_a_fixed_example_are_among_those_compared(project):
    texts = {row["text"].casefold(): row["id"] for row in project.rows if row["split"] == "dev"}
    text_of = {row["id"]: row["text"].casefold() for row in project.rows}
    for name in ("static", "random", "diverse", "bootstrapped", "hybrid"):
        lock = pin(project.stored(), project.store, project.folder, name).lock
        assert any(text_of[shown] in texts for shown in lock["shots"]["fixed"]), name


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A claim that the static candidate wins: two prompts of the sandbox's model."""
    made = Project(tmp_path, monkeypatch)
    made.given()
    (made.folder / "route.md").write_text("One of: {{ labels | join(', ') }}.")
    model = {"model": "sandbox/in-context", "prompt": "route.md"}
    made.config["candidates"] = [
        {"id": "zero", **model},
        {"id": "static4", **model, "shots": {"select": "static", "k": 4}},
    ]
    return made


def files_of(project, name=None):
    return pin(project.stored(), project.store, project.folder, name)


def test_only_a_verdict_or_a_name_chooses(small):
    small.run()
    with pytest.raises(UsageError, match=r"favours no candidate[\s\S]*--candidate zero"):
        files_of(small)
    assert files_of(small, "static4").lock["chosen_by"] == "named"
    with pytest.raises(UsageError, match="one of zero, static4"):
        files_of(small, "knn4")


def test_the_winner_of_a_claim_is_pinned(small):
    for row in small.rows:
        row["text"] = f"{'geld zurück bitte' if row['label'] == 'refund' else 'paket fehlt noch'} {row['text'][:12]}"
    small.config["catches"] = {"SC511": "off", "SC505": "off", "SC501": "off"}
    assert small.run()["verdict"] == "BETTER"
    lock = files_of(small).lock
    assert (lock["candidate"], lock["chosen_by"]) == ("static4", "verdict")
    found = lock["evidence"]
    assert (found["verdict"], found["metric"], found["difference"]["baseline"]) == ("BETTER", "accuracy", "zero")
    assert found["score"]["n"] == 33
    assert found["sentence"].startswith("static4 is better than zero")
    assert set(found["data_sha256"]) == {"rows.csv"}
    assert found["looks_at_the_test_set"] == 1
    assert files_of(small).files == files_of(small).files


def test_changed_files_do_not_matter(small):
    small.run()
    before = files_of(small, "static4").files
    (small.folder / "route.md").write_text("Something else.")
    (small.folder / "rows.csv").unlink()
    assert files_of(small, "static4").files == before


def test_what_has_no_prompt_is_not_pinned(small):
    small.config["candidates"][1] = {"id": "b", "call": "wired:b", "max_cost_usd": 0.001}
    small.run()
    with pytest.raises(UsageError, match="your own function wired:b"):
        files_of(small, "b")
    small.record()
    small.run()
    with pytest.raises(UsageError, match=r"recorded in old\.csv"):
        files_of(small, "b")


def test_a_prompt_that_decides_by_the_row_is_not_pinned(small):
    (small.folder / "route.md").write_text("{% if input %}Ticket: {{ input }}{% endif %}")
    small.run()
    with pytest.raises(ExperimentError, match="depends on `input` of the row"):
        files_of(small, "zero")


def test_an_unfinished_run_is_not_pinned(small):
    small.config["budget"] = {"usd": 1, "calls": 10}
    with pytest.raises(BudgetReachedError):
        small.run()
    with pytest.raises(UsageError, match="not done"):
        files_of(small, "zero")


def test_rows_whose_group_is_in_the_pool_are_told_apart(small):
    small.config["data"]["group"] = "lang"
    small.rows = [{**row, "lang": f"g{number % 50}"} for number, row in enumerate(small.rows)]
    del small.config["claim"]
    small.config["data"].pop("slices")
    small.config["candidates"][1]["shots"]["k"] = 12
    small.run()
    checked = files_of(small, "static4").lock["checked"]
    assert checked["other_examples_by_group"] > 0
    assert checked["prompts_equal"] + checked["other_examples_by_group"] == checked["rows"]


def test_the_parser_is_the_one_that_was_scored_with(small, tmp_path):
    small.run()
    (tmp_path / "out").mkdir()
    for file, text in files_of(small, "zero").files.items():
        (tmp_path / "out" / file).write_text(text, encoding="utf-8")
    script = ASK[: ASK.index("made =")] + "print(json.dumps([winner.parse(reply) for reply in rows]))"
    replies = ["Refund", "label: delivery", "refund or delivery", "", "**refund**."]
    assert alone(tmp_path / "out", replies, script) == ["refund", "delivery", None, None, "refund"]


def test_an_index_that_was_changed_is_refused(small, tmp_path):
    small.config["candidates"][1]["shots"] = {"select": "bm25", "k": 2}
    small.run()
    (tmp_path / "out").mkdir()
    for file, text in files_of(small, "static4").files.items():
        (tmp_path / "out" / file).write_text(text, encoding="utf-8")
    index = tmp_path / "out" / "winner.index.json"
    index.write_text(index.read_text(encoding="utf-8").replace("refund", "delivery", 1), encoding="utf-8")
    with pytest.raises(AssertionError, match="is not the index that was pinned"):
        alone(tmp_path / "out", ["a text"])


def test_an_ensemble_names_its_members(small):
    small.config["candidates"] = [{"id": name, "call": f"wired:{name}", "max_cost_usd": 0.001} for name in "abc"]
    small.config["aggregate"] = {"members": ["a", "b", "c"]}
    small.run()
    with pytest.raises(UsageError, match="one of its members: a, b, c"):
        files_of(small, "ensemble")


def test_the_mark_for_a_providers_cache_is_no_part_of_the_prompt(small, monkeypatch, tmp_path):
    with running(SandboxSettings(aliases={"claude-sonnet-4-5": "in-context"})) as server:
        monkeypatch.setenv("SAFETYCATCH_ENDPOINT_ANTHROPIC", server.base_url.removesuffix("/v1"))
        monkeypatch.setenv("SAFETYCATCH_KEY_ANTHROPIC", "sk-1234567890")
        rules = "\n".join(f"Rule {number}: things like {number} go to team {number}." for number in range(150))
        (small.folder / "route.md").write_text(f"{rules}\nOne of: {{{{ labels | join(', ') }}}}.")
        small.config["prices"] = {"anthropic/*": {"input_per_m": 3, "output_per_m": 15, "cached_input_per_m": 0.3}}
        for candidate in small.config["candidates"]:
            candidate["model"] = "anthropic/claude-sonnet-4-5"
        small.run()
        table = pq.read_table(small.stored().path("rows.parquet"))
        assert sum(table["n_tokens_cached"].to_pylist()) > 0
        found = files_of(small, "static4")
    assert found.lock["checked"]["prompts_equal"] == found.lock["checked"]["requests_as_sent"] == 33
    for file, text in found.files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    (made,) = alone(tmp_path, ["a text"])["messages"]
    assert all(isinstance(message["content"], str) for message in made)

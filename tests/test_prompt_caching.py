"""Prompts of Claude models are marked for the provider's cache where they stop being the same, in a real run."""

import json

import pyarrow.parquet as pq
import pytest

from safetycatch.sandbox import SandboxSettings, running
from tasks.calling import stable_turns

RULES = "\n".join(f"Rule {number}: what is about thing {number} goes to team {number}." for number in range(100))


@pytest.fixture
def claude(project):
    """A project whose candidates are a Claude behind LiteLLM, served by a sandbox; returns both."""
    with running(SandboxSettings(aliases={"claude-sonnet-4-5": "in-context"})) as server:
        project.patch.setenv("SAFETYCATCH_ENDPOINT_ANTHROPIC", server.base_url.removesuffix("/v1"))
        project.patch.setenv("SAFETYCATCH_KEY_ANTHROPIC", "sk-1234567890")
        project.rows = project.rows[:40]
        (project.folder / "route.md").write_text(f"{RULES}\nRoute the ticket. One of: {{{{ labels | join(', ') }}}}.\n")
        (project.folder / "short.md").write_text("One of: {{ labels | join(', ') }}.\n")
        model = {"model": "anthropic/claude-sonnet-4-5"}
        project.config["candidates"] = [
            {"id": "a", "prompt": "short.md", **model},
            {"id": "b", "prompt": "route.md", **model},
        ]
        project.config["prices"] = {"anthropic/*": {"input_per_m": 3, "output_per_m": 15, "cached_input_per_m": 0.3}}
        yield project, server


def rows_of(project, run_id):
    return pq.read_table(project.store / "runs" / run_id / "rows.parquet").to_pylist()


def test_long_instructions_are_written_once_and_read_by_the_other_rows(claude):
    project, server = claude
    read = {"a": [], "b": []}
    for row in rows_of(project, project.run()["run_id"]):
        read[row["candidate"]].append(row["n_tokens_cached"])
    start = max(read["b"])
    assert start >= 1_024
    assert set(read["a"]) == {0}
    # The first answer ends the slow start: four calls at most go out before, and write it.
    assert sum(tokens == start for tokens in read["b"]) >= 36
    assert server.stats()["written_tokens"] <= 4 * start
    assert project.run()["calls"]["sent"] == 0
    assert server.stats()["billed"] == 80


def test_shots_that_all_rows_share_are_cached_and_those_of_one_row_are_not(claude):
    project, _ = claude
    long = [{**row, "text": f"{row['text']} {'word ' * 60}"} for row in project.rows]
    project.rows = [{**row, "split": "train" if number % 2 else "test"} for number, row in enumerate(long)]
    project.config["split"] = {"column": "split"}
    project.config["catches"] = dict.fromkeys(["SC501", "SC511"], "off")
    hybrid = {**project.config["candidates"][0], "id": "c"}
    project.config["candidates"].append(hybrid)
    for candidate, shots in zip(project.config["candidates"], ("static", "knn", "hybrid"), strict=True):
        candidate |= {"shots": {"select": shots, "k": 12}, "prompt": "short.md"}
    hybrid["shots"]["core"] = 11
    found = project.run()
    cached = {name: [] for name in "abc"}
    for row in rows_of(project, found["run_id"]):
        cached[row["candidate"]].append(row["n_tokens_cached"])
    assert sum(tokens > 1_024 for tokens in cached["a"]) >= 16
    assert set(cached["b"]) == {0}
    assert sum(tokens > 1_024 for tokens in cached["c"]) >= 16


def test_instructions_in_the_message_of_the_row_are_not_cached_and_sc306_says_so(claude):
    project, server = claude
    assert project.check()["SC306"].status == "passed"
    (project.folder / "route.md").write_text(f"{RULES}\nOne of: {{{{ labels | join(', ') }}}}.\n{{{{ input }}}}\n")
    found = project.check()["SC306"]
    assert found.status == "fired"
    assert "the row, in the same message as the instructions" in found.saw
    assert server.stats()["received"] == 0


@pytest.mark.parametrize(
    ("turns", "kind", "same", "stable"),
    [
        (["system", "user"], "text", True, 1),
        (["user"], "text", True, 0),
        (["system", "user", "assistant", "user"], "text", True, 3),
        (["system", "user", "assistant", "user"], "text", False, 1),
        (["user", "assistant", "user"], "json", False, 0),
        (["system", "user", "assistant", "user", "assistant", "user"], "messages", True, 3),
    ],
)
def test_what_comes_before_the_query_is_stable(turns, kind, same, stable):
    chat = json.dumps([{"role": role, "content": "x"} for role in ("user", "assistant", "user")])
    row = {"input_kind": kind, "input": chat if kind == "messages" else "x"}
    assert stable_turns([{"role": role, "content": "x"} for role in turns], row, same_shots=same) == stable

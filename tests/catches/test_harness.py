import pytest

from safetycatch.catches import harness


def test_sc701_fires_on_uncommitted_changes(fired):
    fired(
        harness.git_tree(commit="a" * 40, dirty=True, n_files=3), "warn", "3 uncommitted changes on commit aaaaaaaaaaaa"
    )


def test_sc701_silent_on_a_clean_tree_or_none(silent):
    silent(harness.git_tree(commit="a" * 40, dirty=False, n_files=0))
    silent(harness.git_tree(commit=None, dirty=False, n_files=0), "not_applicable")


def test_sc702_fires_on_another_run_of_that_id(fired, policy):
    found = harness.run_id_free(run_id="r1", other=True)
    fired(found, "refuse", "r1 exists with other content")
    assert policy(claiming=False).finding(found).refuses


def test_sc702_silent_on_its_own(silent):
    silent(harness.run_id_free(run_id="r1", other=False))


def test_sc703_fires_on_a_changed_input(fired):
    fired(harness.inputs_unchanged(changed=["route.md", "a.csv"]), "warn", "route.md, a.csv", "copy taken at its start")


def test_sc703_silent_on_unchanged_inputs(silent):
    silent(harness.inputs_unchanged(changed=[]))


@pytest.mark.parametrize(
    "name", ["openai/gpt-4o-mini", "anthropic/claude-3-5-sonnet-latest", "openai/gpt-3.5-turbo-16k"]
)
def test_sc704_fires_on_a_floating_name(fired, name):
    fired(harness.floating_names(models=["sandbox/tiny", name]), "warn", name, "dated snapshot")


def test_sc704_fires_when_another_model_answers(fired):
    found = harness.answered_by(others={"gpt-4o-mini-0718": 3, "gpt-3.5": 9}, asked="openai/gpt-4o")
    fired(found, "warn", "12 rows asked of openai/gpt-4o", "(9 by gpt-3.5)", "count as missing")


@pytest.mark.parametrize(
    "name",
    [
        "openai/gpt-4o-mini-2024-07-18",
        "anthropic/claude-3-5-sonnet-20241022",
        "openai/gpt-4-0613",
        "openai/gpt-4-1106-preview",
        "gemini/gemini-1.5-pro-002",
        "vertex_ai/claude-3@20240229",
        "openai/ft:gpt-3.5-turbo-0125:org::abc",
        "ollama_chat/llama3.1",
        "sandbox/tiny",
    ],
)
def test_sc704_silent_on_a_pinned_or_own_model(silent, name):
    silent(harness.floating_names(models=[name]))


def test_sc704_silent_when_the_asked_model_answers(silent):
    silent(harness.answered_by(others={}, asked="openai/gpt-4o"), "passed", "openai/gpt-4o")

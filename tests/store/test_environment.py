import subprocess
import time

import pytest

from safetycatch.store import environment, git_commit, redacted

CANARY = "c4n4ry-9f8e7d6c5b4a"


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repo"
    folder.mkdir()

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    (folder / "a.py").write_text("one\n")
    git("add", "a.py")
    git("commit", "-qm", "first")
    return folder, git


def test_the_commit_is_told(repository):
    folder, git = repository
    assert git_commit(folder) == git("rev-parse", "HEAD")


def test_outside_a_repository_there_is_none(tmp_path):
    assert git_commit(tmp_path) is None
    assert environment(tmp_path)["git"] == {
        "commit": None,
        "dirty": None,
        "untracked": 0,
        "diff": "",
        "diff_cut": False,
    }


def test_a_clean_tree_is_clean(repository):
    facts = environment(repository[0])["git"]
    assert (facts["dirty"], facts["diff"]) == (False, "")


def test_changes_are_kept(repository):
    folder, _ = repository
    (folder / "a.py").write_text("two\n")
    (folder / "b.py").write_text("new\n")
    facts = environment(folder)["git"]
    assert (facts["dirty"], facts["untracked"]) == (True, 1)
    assert "-one\n+two\n" in facts["diff"]


def test_a_large_diff_is_cut_and_says_so(repository):
    folder, _ = repository
    (folder / "a.py").write_text("ü" * 900_000)
    facts = environment(folder)["git"]
    assert facts["diff_cut"]
    assert len(facts["diff"].encode()) <= 1_000_000


def test_r45_a_secret_in_the_diff_is_redacted(repository, monkeypatch):
    folder, _ = repository
    monkeypatch.setenv("SAFETYCATCH_KEY_X", CANARY)
    (folder / "a.py").write_text(f"call({CANARY})\n")
    assert CANARY not in environment(folder)["git"]["diff"]


def test_r45_a_secret_on_the_command_line_is_redacted(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", CANARY)
    assert environment(tmp_path, ["run", f"x={CANARY}"])["command"] == "run x=[redacted]"


def test_a_repositorys_own_settings_start_no_program(repository, tmp_path):
    folder, git = repository
    proof = tmp_path / "proof"
    for key in ("diff.external", "core.fsmonitor", "diff.x.textconv", "diff.x.command"):
        git("config", key, f"touch {proof};:")
    (folder / ".gitattributes").write_text("*.py diff=x\n")
    (folder / "a.py").write_text("two\n")
    assert "+two" in environment(folder)["git"]["diff"]
    assert not proof.exists()


@pytest.mark.parametrize(
    "text",
    [
        "sk-abcdefghijklmnop",
        "OPENAI=sk-proj-abcdefghijklmnop",
        "Authorization: Bearer abcdefghijklmnop",
        "api_key = 'abcdefghijklmnop'",
        '"client_secret": "abcdefghijklmnop"',
        "--token abcdefghijklmnop",
        "password=abcdefghijklmnop",
        "https://me:abcdefghijklmnop@host/x",
        "ghp_abcdefghijklmnopqrst",
        "hf_abcdefghijklmnopqrst",
        "-----BEGIN RSA PRIVATE KEY-----\nabcdefghijklmnop\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nabcdefghijklmnop",
        "eyJabcdefghijklmnop.eyJabcdefghijklmnop.xyz",
    ],
)
def test_r45_secret_shapes_are_redacted(text):
    assert "abcdefghijklmnop" not in redacted(text, {})


@pytest.mark.parametrize(
    "text",
    ["max_tokens: 1024", "n_tokens_in, n_tokens_out", "the key of the call", "author = 'Somebody Known'", "monkey = 5"],
)
def test_ordinary_text_stays(text):
    assert redacted(text, {}) == text


@pytest.mark.parametrize(
    "piece", ["token", "eyJ-", "bearer ", "a://", "key ", "secret:", "-----BEGIN ", "x", "sk-", " "]
)
def test_redaction_is_fast_on_hostile_text(piece):
    began = time.process_time()
    redacted(piece * (300_000 // len(piece)), {})
    assert time.process_time() - began < 2

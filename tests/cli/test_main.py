import json
import os
import stat
import subprocess
import sys

import pytest

from safetycatch.cli import main as entry
from safetycatch.errors import BudgetReachedError, ProviderUnusableError, RefusedError, StoreError

VERBS = (
    *("init", "check", "plan", "run", "gate", "approve", "report", "compare", "ls", "show"),
    *("verify", "rules", "explain", "prices", "doctor", "sandbox", "up"),
)


def test_every_promised_verb_is_there_and_takes_json(cli):
    listed = cli("--help").out
    for verb in VERBS:
        assert verb in listed
        assert "--json" in cli(verb, "--help").out


def test_version(cli):
    assert cli("--version").out.strip() == "0.1.0"


def test_without_a_verb_the_help_is_shown(cli):
    assert "Usage" in cli().out


@pytest.mark.parametrize("words", [["nope"], ["run"], ["run", "--nope"], ["explain"], ["ls", "--limit", "x"]])
def test_wrong_usage_exits_2_with_one_message(cli, words):
    ended = cli(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("fix") == 1


def test_wrong_usage_with_json_is_a_document(cli):
    ended = cli("run", "--nope", "--json")
    assert ended.document["error"]["class"] == "UsageError"
    assert ended.document["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RefusedError("SC1 refused"), 10),
        (StoreError("locked"), 10),
        (BudgetReachedError("enough"), 40),
        (ProviderUnusableError("no key"), 50),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_has_its_exit_code(cli, monkeypatch, error, code):
    def broken():
        raise error

    monkeypatch.setattr("safetycatch.cli.reading.open_store", broken)
    ended = cli("ls")
    assert ended.code == code
    assert ended.err.strip()


def test_a_bug_exits_1_with_one_line_and_a_private_traceback(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("safetycatch.cli.reading.open_store", lambda: 1 / 0)
    ended = cli("ls")
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    (log,) = (tmp_path / ".safetycatch" / "logs").iterdir()
    assert str(log) in ended.err
    assert "ZeroDivisionError" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_debug_prints_the_traceback(cli, monkeypatch):
    monkeypatch.setattr("safetycatch.cli.reading.open_store", lambda: 1 / 0)
    assert "Traceback" in cli("ls", "--debug").err


def test_a_traceback_keeps_no_key(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-" + "a" * 30)

    def broken():
        raise ValueError(os.environ["OPENAI_API_KEY"])

    monkeypatch.setattr("safetycatch.cli.reading.open_store", broken)
    cli("ls")
    (log,) = (tmp_path / ".safetycatch" / "logs").iterdir()
    assert "aaaa" not in log.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "data: [",
        "a: &x [*x, *x]",
        "data: !!python/object/apply:os.system ['touch owned']",
        "data: t.csv\nmodels: ['openai/x']\nprompts: ['p.md']\nname: '\x1b[31mred'\n",
        "data: t.csv\nname: ../../etc\nmodels: ['openai/x']\nprompts: ['p.md']\n",
        "data: {path: t.csv, id: '\\u202egpj.exe\\n  fix  rm -rf'}\nunknown\\u001b[2J: 1\n",
        "- " * 100_000,
    ],
)
@pytest.mark.parametrize("verb", ["run", "check", "plan"])
def test_a_hostile_experiment_exits_2_before_anything_starts(cli, tmp_path, verb, text):
    (tmp_path / "x.yaml").write_text(text)
    ended = cli(verb, "x.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "\x1b" not in ended.err
    assert ended.err.startswith("x.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_a_closed_pipe_is_no_error(environment):
    script = f"{sys.executable} -m safetycatch.cli.main rules | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_and_the_package_import_no_heavy_library():
    code = (
        "import sys, safetycatch\nfrom safetycatch.cli.main import main\nmain(['--help'])\n"
        "print(sorted({n.split('.')[0] for n in sys.modules} & "
        "set('prefect pandas numpy pyarrow scipy sklearn litellm pydantic yaml asyncio'.split())), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_entry_point_is_declared():
    from importlib.metadata import entry_points

    (found,) = entry_points(group="console_scripts", name="safetycatch")
    assert found.load() is entry.main


def test_json_is_one_document_of_ascii(cli):
    ended = cli("rules", "--json")
    assert ended.out.isascii()
    assert json.loads(ended.out)

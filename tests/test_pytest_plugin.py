"""The fixture `safetycatch` in a user's project, run by a pytest of its own."""

import math
import os
import re
import subprocess
import sys

import pytest

from safetycatch.errors import StatisticsError
from safetycatch.pytest_plugin import Safetycatch, concluded

GATES = """
import pytest

def test_better(safetycatch):
    found = safetycatch.gate("better.yaml", noninferior="2 points")
    assert found and found.estimate > 0.2 > found.bound > 0 and found.n == 100

def test_worse(safetycatch):
    safetycatch.gate("worse.yaml", noninferior=0.02)

def test_would_pay(safetycatch):
    safetycatch.gate("paid.yaml")
"""
MARKERS = """
import pytest

@pytest.mark.safetycatch({})
def test_one(safetycatch):
    pass
"""


@pytest.fixture
def pytest_in(tmp_path):
    """Runs pytest on a test file, in a folder where a module `flows` would break what imports it."""

    def run(text, *words, **environment):
        (tmp_path / "test_user.py").write_text(text)
        for name in ("flows", "tasks"):
            (tmp_path / f"{name}.py").write_text("raise RuntimeError('executed')")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GITHUB_"))}
        command = [sys.executable, "-m", "pytest", "-p", "safetycatch.pytest_plugin", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "--strict-markers", "-ra", "-W", "error", *words, "test_user.py"],
            cwd=tmp_path,
            env={**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def experiments(project):
    """Files whose gates pass, fail, and would pay."""

    def write(file, **more):
        project.config |= {"name": file.removesuffix(".yaml"), **more}
        project.path().rename(project.folder / file)

    project.record()
    write("better.yaml")
    write("worse.yaml", claim={**project.config["claim"], "baseline": "b", "candidate": "a"})
    project.model(model="sandbox/in-context-priced", params={"max_tokens": 8})
    write("paid.yaml")


def outcomes(told):
    return dict(re.findall(r"::(test_\w+) (PASSED|FAILED|SKIPPED|ERROR)", told))


@pytest.mark.flow
def test_gates_pass_fail_and_skip_with_the_reason(experiments, pytest_in, own_prefect):
    code, told = pytest_in(GATES, "-v", **own_prefect)
    assert code == 1
    assert outcomes(told) == {"test_better": "PASSED", "test_worse": "FAILED", "test_would_pay": "SKIPPED"}, told
    assert "gate FAILED: a fails against b: accuracy -25.0 points on 100 items" in told
    assert "it would pay: add @pytest.mark.safetycatch(budget='$1')" in told


TOLD = {
    "gate": "inconclusive",
    "passed": False,
    "sentence": "s",
    "report": "r",
    "settle": "about 9 items",
    "n_missing": 1,
    "missing_decides": False,
}


@pytest.mark.parametrize(
    ("code", "told", "how"),
    [
        (0, {"passed": True}, "pass"),
        (0, {}, "fail"),
        (0, {"passed": "true"}, "fail"),
        (20, TOLD, "fail"),
        (21, TOLD, "fail"),
        (21, {**TOLD, "missing_decides": True}, "skip"),
        (10, {"error": {"message": "SC501 refused"}}, "skip"),
        (30, {}, "skip"),
        (40, {}, "skip"),
        (50, {}, "skip"),
        (2, {}, "fail"),
        (1, {}, "fail"),
        (-9, {}, "fail"),
    ],
)
def test_how_a_gate_ends_a_test(code, told, how):
    assert concluded(code, told, "", inconclusive="fail", marked=False)[0] == how


def test_what_is_undecided_skips_where_that_is_asked_for():
    assert concluded(21, TOLD, "", inconclusive="skip", marked=True)[0] == "skip"
    assert concluded(20, TOLD, "", inconclusive="skip", marked=True)[0] == "fail"


def test_an_interrupted_gate_interrupts():
    with pytest.raises(KeyboardInterrupt):
        concluded(130, {}, "", inconclusive="fail", marked=False)


RATES = """
import math
import pytest

def test_shown(safetycatch):
    assert safetycatch.rate([1] * 60, at_least=0.9)

def test_below(safetycatch):
    safetycatch.rate([1, 0] * 30, at_least=0.9)

def test_open(safetycatch):
    safetycatch.rate([1] * 9 + [0], at_least=0.9)

def test_open_skipped(safetycatch):
    safetycatch.rate([1] * 9 + [0], at_least=0.9, inconclusive="skip")

def test_missing(safetycatch):
    safetycatch.rate([1] * 60 + [math.nan], at_least=0.5)

def test_function(safetycatch):
    rows = [{"text": str(n), "target": str(n)} for n in range(40)]
    found = safetycatch.evaluate(lambda row: row["text"], rows, at_least=0.9)
    assert (found.n, found.estimate) == (40, 1.0) and found.low < 1

def test_function_raises(safetycatch):
    safetycatch.evaluate(lambda row: row["text"], [{"text": "a", "target": "a"}, {"target": "b"}])
"""


@pytest.mark.parametrize("strict", [False, True])
def test_rates_pass_fail_and_skip_with_the_reason(pytest_in, strict):
    code, told = pytest_in(RATES, "-v", *(["--safetycatch-strict"] if strict else []))
    found = outcomes(told)
    assert code == 1
    assert {name for name, how in found.items() if how == "PASSED"} == {"test_shown", "test_function"}
    skipped = {"test_open_skipped", "test_missing", "test_function_raises"}
    assert {name for name, how in found.items() if how == "SKIPPED"} == (set() if strict else skipped)
    assert "2 rows have no score, e.g. row 1: KeyError: 'text'" in told
    assert "1 of 61 scores are missing" in told


@pytest.mark.parametrize("arguments", ["'$1'", "budget=1", "budget='1 point'", "budget='$0'", "budgt='$1'", ""])
def test_a_marker_that_says_anything_else_stops_the_session(pytest_in, arguments):
    code, told = pytest_in(MARKERS.format(arguments))
    assert code == 4
    assert "expected" in told


def test_a_marker_is_known_and_the_plugin_loads_nothing_heavy(pytest_in):
    text = MARKERS.format("budget='$1'") + (
        "\ndef test_light():\n    import sys\n"
        "    assert not {'numpy', 'pandas', 'prefect', 'pydantic', 'litellm'} & set(sys.modules)\n"
    )
    code, told = pytest_in(text)
    assert code == 0, told


@pytest.fixture
def catch(tmp_path):
    return Safetycatch(tmp_path, None, strict=False)


def test_a_rate_that_was_held_to_nothing_decides_nothing(catch):
    found = catch.rate([1.0, 0.0] * 20)
    assert found.low < found.estimate == 0.5 < found.high
    with pytest.raises(TypeError, match="at_least"):
        assert found


def test_other_scores_have_a_mean(catch):
    assert catch.rate([0.2, 0.4, 0.6] * 20, at_least=0.3).estimate == pytest.approx(0.4)


def test_clusters_widen_the_bounds(catch):
    scores, cluster = [1.0] * 30 + [0.0] * 10, [n // 4 for n in range(40)]
    assert catch.rate(scores, cluster=cluster).low < catch.rate(scores).low


def test_one_score_is_an_error(catch):
    with pytest.raises(StatisticsError):
        catch.rate([0.5], at_least=0.1)


def test_nothing_measured_fails(catch):
    for measured in (catch.rate, lambda rows, **held: catch.evaluate(str, rows, **held)):
        with pytest.raises(pytest.fail.Exception, match="nothing was measured"):
            measured([], at_least=0.1)


def test_a_limit_in_per_cent_is_refused_where_scores_are_shares(catch):
    for scores in ([1, 0] * 30, [0.2, 0.9] * 30):
        with pytest.raises(ValueError, match=r"write at_least=0\.9$"):
            catch.rate(scores, at_least=90)
    with pytest.raises(ValueError, match="from 0 to 1"):
        catch.rate([1.0] * 60, at_least=-0.1)
    with pytest.raises(ValueError, match=r"at_least=0\.9$"):
        catch.evaluate(lambda row: pytest.fail("called"), [1], at_least=90)
    assert catch.rate([95.0, 97.0] * 30, at_least=90)
    assert catch.rate([0.5, 0.7] * 30, at_least=-0.1)


@pytest.mark.parametrize("at_least", [math.nan, math.inf])
def test_a_limit_that_is_no_number_is_refused_before_the_function_is_called(catch, at_least):
    with pytest.raises(ValueError, match="expected a number"):
        catch.rate([1.0] * 9, at_least=at_least)
    with pytest.raises(ValueError, match="expected a number"):
        catch.evaluate(lambda row: pytest.fail("called"), [1], at_least=at_least)


def test_a_function_that_raises_on_every_row_fails(catch):
    with pytest.raises(pytest.fail.Exception, match=r"all 3 rows raised, e.g. row 0: KeyError: 'text'"):
        catch.evaluate(lambda row: row["text"], [{}, {}, {}], at_least=0.9)


def test_all_missing_skips(catch):
    with pytest.raises(pytest.skip.Exception, match="3 of 3"):
        catch.rate([None, math.nan, None], at_least=0.1)


def test_a_typing_error_in_inconclusive_is_told(catch):
    with pytest.raises(ValueError, match="'fail' or 'skip'"):
        catch.rate([1.0], inconclusive="pass")

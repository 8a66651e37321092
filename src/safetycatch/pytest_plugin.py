"""The pytest fixture `safetycatch`: gates and rates as tests that pass only when something was shown.

Skipped, with the reason, is what could not be decided for want of data: missing rows, a refusal, a budget, a provider.
Nothing heavy is imported before the fixture is used; a gate runs in a process of its own.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

MARKER, STRICT = "safetycatch", "safetycatch_strict"
MARKER_LINE = "safetycatch(budget='$1'): the most that the gates of this test may spend, US dollars"
PASSED, FAILED, INCONCLUSIVE, SIGINT = 0, 20, 21, 130
# Refused, waits for a person or for quota, out of budget, provider unusable: nothing was decided.
UNDECIDED = frozenset({10, 30, 31, 40, 50})
BUDGET = 40
LEVEL = 0.95
MAX_ERROR = 200

Undecided = Literal["fail", "skip"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that turns skips of ours into failures."""
    text = "what safetycatch would skip fails"
    parser.getgroup("safetycatch").addoption("--safetycatch-strict", action="store_true", dest=STRICT, help=text)
    parser.addini(STRICT, text, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", MARKER_LINE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Read every marker before the first test runs: a ceiling with a typing error must not be none.

    Raises: pytest.UsageError naming the test.
    """
    for item in items:
        _budget(item)


@pytest.fixture
def safetycatch(request: pytest.FixtureRequest) -> Safetycatch:
    """Gates of experiments, and rates of plain functions, that fail a test or skip it with the reason."""
    config = request.config
    strict = bool(config.getoption(STRICT) or config.getini(STRICT))
    return Safetycatch(config.rootpath, _budget(request.node), strict=strict)


def _budget(item: Any) -> float | None:
    """Return the ceiling of a test in US dollars; None without a marker.

    Raises: pytest.UsageError for a marker that says anything else.
    """
    marker = item.get_closest_marker(MARKER)
    if marker is None:
        return None
    if marker.args or set(marker.kwargs) != {"budget"}:
        found = ", ".join([*map(repr, marker.args), *marker.kwargs]) or "nothing"
        raise pytest.UsageError(f"{item.nodeid}: found {found}, expected @pytest.mark.safetycatch(budget='$1')")
    text = marker.kwargs["budget"]
    try:
        usd = float(text.strip().removeprefix("$")) if isinstance(text, str) else math.nan
    except ValueError:
        usd = math.nan
    if not (math.isfinite(usd) and usd > 0):
        raise pytest.UsageError(f"{item.nodeid}: budget={text!r}, expected US dollars above 0, such as budget='$1'")
    return usd


@dataclass(frozen=True)
class GateResult:
    """A gate that passed: candidate - baseline in the metric's unit; `bound` is one-sided, `low`, `high` the 95 % ends.

    `bound`, `low` and `high` are None where the scores have no interval; `spent_usd` is what the run
    cost (None: the price of a call is not known).
    """

    candidate: str
    against: str
    metric: str
    margin: float
    estimate: float
    bound: float | None
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    n_missing: int
    sentence: str
    run_id: str
    report: str
    spent_usd: float | None

    def __bool__(self) -> bool:
        """A gate that did not pass never returns."""
        return True


@dataclass(frozen=True)
class Rate:
    """A share or mean with its one-sided 95 % bounds `low` and `high`; `at_least` is what it was held to."""

    estimate: float
    low: float
    high: float
    n: int
    n_clusters: int
    method: str
    at_least: float | None

    def __bool__(self) -> bool:
        """Whether it is shown to be at least `at_least`.

        Raises: TypeError where nothing was asked for, so that `assert rate(scores)` cannot pass by being there.
        """
        if self.at_least is None:
            raise TypeError("nothing to decide: rate(scores, at_least=0.9)")
        return self.low >= self.at_least


class Safetycatch:
    """What the fixture gives: `gate`, `rate` and `evaluate`; `budget_usd` is the ceiling of all gates of one test."""

    def __init__(self, root: Path, budget_usd: float | None, *, strict: bool) -> None:
        self._root, self._marked, self._left_usd, self._strict = root, budget_usd is not None, budget_usd or 0.0, strict

    def gate(
        self,
        experiment: str | os.PathLike[str],
        *,
        against: str = "baseline",
        noninferior: float | str | None = None,
        intersect: bool = False,
        inconclusive: Undecided = "fail",
    ) -> GateResult:
        """Return when an experiment's candidate is shown to be no worse than a baseline by more than a margin.

        `experiment` is a file, from pytest's root folder; `against` and `noninferior` are those of `safetycatch gate`.
        Fails the test when the gate failed or (`inconclusive`: "fail" or "skip") is inconclusive; skips it when missing
        rows alone kept it from passing or are too many to decide, a catch refuses, or budget or provider end the run.
        Without a marked budget nothing may be paid.
        """
        __tracebackhide__ = True
        _checked(inconclusive)
        code, told, rest = self._ran(
            [
                *(os.fspath(experiment), "--against", against, "--budget", f"${self._left_usd:.6f}"),
                *([] if noninferior is None else ["--noninferior", str(noninferior)]),
                *(["--intersect"] if intersect else []),
            ]
        )
        self._left_usd = max(0.0, self._left_usd - told["spent_at_least_usd"]) if "spent_usd" in told else 0.0
        how, text = concluded(code, told, rest, inconclusive=inconclusive, marked=self._marked)
        if how != "pass":
            self._end(text, how)
        return GateResult(**{one.name: told[one.name] for one in fields(GateResult)})

    def rate(  # noqa: RET503 - its last line never returns
        self,
        scores: Iterable[float | None],
        *,
        at_least: float | None = None,
        cluster: Sequence[Any] | None = None,
        inconclusive: Undecided = "fail",
    ) -> Rate:
        """Return the share (0/1 scores: Wilson) or mean (other scores: t) with its one-sided 95 % bounds.

        `at_least`: fails the test where the upper bound lies below it, and where it is inconclusive between the bounds
        (or skips: `inconclusive`). A score that is None or NaN skips the test: a mean over the others would hide it.
        Fails without a score: nothing was measured. Raises: StatisticsError with too few scores or clusters; ValueError
        for an `at_least` that is no number, or no share where the scores are.
        """
        __tracebackhide__ = True
        _checked(inconclusive, at_least)
        import numpy as np

        from safetycatch.stats import mean_interval, rate_interval

        values = np.array([math.nan if value is None else float(value) for value in scores])
        if not len(values):
            self._end("no scores were given, so nothing was measured: is the list of scores or rows empty?", "fail")
        missing = int(np.isnan(values).sum())
        if missing:
            self._skip(f"{missing:,} of {len(values):,} scores are missing")
        right_or_wrong = bool(np.isin(values, (0.0, 1.0)).all())
        if right_or_wrong or (values <= 1).all():
            _check_share(at_least, least=0.0 if right_or_wrong else -math.inf)
        made = rate_interval if right_or_wrong else mean_interval
        found = made(values, None if cluster is None else np.asarray(cluster), level=2 * LEVEL - 1)
        shown = Rate(found.estimate, found.low, found.high, found.n, found.n_clusters, found.method, at_least)
        if at_least is None or shown:
            return shown
        bounds = f"{shown.estimate:.4g} of n = {shown.n:,}, one-sided 95 % bounds [{shown.low:.4g}, {shown.high:.4g}]"
        if shown.high < at_least:
            self._end(f"below {at_least:g}: {bounds}", "fail")
        self._end(f"not shown to be at least {at_least:g}: {bounds}", inconclusive)

    def evaluate(
        self,
        function: Callable[[Any], Any],
        rows: Iterable[Any],
        *,
        score: Callable[[Any, Any], float | bool | None] | None = None,
        at_least: float | None = None,
        cluster: Sequence[Any] | None = None,
        inconclusive: Undecided = "fail",
    ) -> Rate:
        """Return the rate of `score(output, row)` over `function(row)`; a row that raises has no score, and so skips.

        Without `score` an output is right when it equals `row["target"]`. What the function itself pays is not bounded
        by the marker: put it into an experiment (`call:`) for that.
        """
        __tracebackhide__ = True
        _checked(inconclusive, at_least)
        if score is None:
            _check_share(at_least)
        judged = score or _equal
        scores: list[float | None] = []
        first, n_raised = "", 0
        for number, row in enumerate(rows):
            try:
                value = judged(function(row), row)
                scores.append(None if value is None else float(value))
            except Exception as error:  # noqa: BLE001 - any error of the user's function is a missing row
                scores.append(None)
                n_raised += 1
                first = first or f"row {number}: {type(error).__name__}: {str(error)[:MAX_ERROR]}"
        if scores and n_raised == len(scores):
            pytest.fail(f"all {n_raised:,} rows raised, e.g. {first}", pytrace=False)
        missing = sum(value is None or math.isnan(value) for value in scores)
        if missing:
            self._skip(f"{missing:,} of {len(scores):,} rows have no score{f', e.g. {first}' if first else ''}")
        return self.rate(scores, at_least=at_least, cluster=cluster, inconclusive=inconclusive)

    def _ran(self, words: list[str]) -> tuple[int, dict[str, Any], str]:
        """Return exit code, JSON and last lines of `safetycatch gate`; nobody is there to be asked."""
        # -P: a module of the user's in the root folder must not stand in for one of ours.
        command = [sys.executable, "-P", "-m", "safetycatch.cli.main", "gate", *words, "--json"]
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=self._root, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False
        )
        rest = "\n".join((done.stderr or done.stdout).splitlines()[-20:])
        try:
            told = json.loads(done.stdout)
        except ValueError:
            return done.returncode, {}, rest
        return done.returncode, told if isinstance(told, dict) else {}, rest

    def _skip(self, reason: str) -> NoReturn:
        __tracebackhide__ = True
        self._end(reason, "skip")

    def _end(self, reason: str, how: Undecided) -> NoReturn:
        __tracebackhide__ = True
        if how == "skip" and not self._strict:
            pytest.skip(reason)
        pytest.fail(reason, pytrace=False)


def concluded(
    code: int, told: Mapping[str, Any], rest: str, *, inconclusive: Undecided, marked: bool
) -> tuple[Literal["pass", "fail", "skip"], str]:
    """Return how a test ends for what `safetycatch gate --json` printed, and what it says.

    `rest` are its last lines; `marked` says whether the test has a budget of its own.
    Raises: KeyboardInterrupt where the gate was interrupted.
    """
    if code == PASSED and told.get("passed") is True:
        return "pass", ""
    if code in {FAILED, INCONCLUSIVE}:
        text = f"gate {told['gate'].upper()}: {told['sentence']}\n  report   {told['report']}"
        if told["settle"]:
            text += f"\n  settle   {told['settle']}"
        if code == FAILED:
            return "fail", text
        return ("skip" if told["missing_decides"] else inconclusive), text
    if code == SIGINT:
        raise KeyboardInterrupt
    error = told.get("error", {})
    text = error.get("message", rest)
    if code not in UNDECIDED:
        return "fail", f"the gate could not run (exit {code}): {text}"
    pays = code == BUDGET or any(row.get("code") == "SC307" for row in error.get("findings", []))
    hint = "\n  it would pay: add @pytest.mark.safetycatch(budget='$1')" if pays and not marked else ""
    return "skip", f"gate not decided (exit {code}): {text}{hint}"


def _checked(inconclusive: str, at_least: float | None = None) -> None:
    if inconclusive not in {"fail", "skip"}:
        raise ValueError(f"inconclusive={inconclusive!r}, expected 'fail' or 'skip'")
    if at_least is not None and not math.isfinite(at_least):
        raise ValueError(f"at_least={at_least!r}, expected a number, such as 0.9")


def _check_share(at_least: float | None, least: float = 0.0) -> None:
    """Refuse 90 where scores are at most 1 and .90 is meant: it would fail, or pass, whatever was measured."""
    if at_least is None or least <= at_least <= 1:
        return
    meant = f"; for {at_least:g} % write at_least={at_least / 100:g}" if 1 < at_least <= 100 else ""
    raise ValueError(f"at_least={at_least!r}, expected a share from 0 to 1, as the scores are{meant}")


def _equal(output: Any, row: Mapping[str, Any]) -> bool:
    return bool(output == row["target"])

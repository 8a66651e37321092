"""Flow `gate`: an experiment's claimed candidate must be shown to be at most a margin worse than a baseline."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.chain import as_task
from flows.evaluate import Digest, ExperimentFile, Overrides, policy_of, run_experiment
from flows.gate_terms import BASELINE, Wanted
from flows.watching import failed
from safetycatch.errors import EXIT_GATE_FAILED, EXIT_GATE_INCONCLUSIVE, EXIT_OK, StatisticsError, UsageError
from safetycatch.report import judged
from safetycatch.results.comparing import Metric
from safetycatch.results.corrected import Judging
from safetycatch.results.gate import decide_gate
from safetycatch.results.judged_margin import judged_noninferiority
from safetycatch.results.matrix import ScoreMatrix, build_matrix, stored_items, taken
from safetycatch.scoring.judged import is_judged
from safetycatch.store import Runs
from safetycatch.store.looks import look_of_run, looks_of
from tasks.looks import rivals_on_test
from tasks.report import JUDGING
from tasks.start import read_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.schemas.objects import State

    from flows.chain import Call
    from safetycatch.results.gate import Gate, JudgedTest
    from safetycatch.results.matrix import Floats, Items
    from safetycatch.stats import NonInferiority
    from safetycatch.store import Store, StoredRun
    from tasks.start import Inputs

EXIT_CODES = {"passed": EXIT_OK, "failed": EXIT_GATE_FAILED, "inconclusive": EXIT_GATE_INCONCLUSIVE}


def _run_name() -> str:
    return f"gate {Path(str(flow_run.parameters.get('experiment', ''))).stem}"


@flow(name="gate", flow_run_name=_run_name, persist_result=False, result_serializer="json")
def gate(
    experiment: ExperimentFile,
    baseline: str = BASELINE,
    noninferior: str = "",
    digest: Digest = "",
    overrides: Overrides | None = None,
    max_usd: float | None = None,
    *,
    intersect: bool = False,
    unattended: bool = True,
) -> Any:
    """Evaluate an experiment and decide whether its candidate may replace a baseline.

    Ends Completed when the gate passed, and Failed when it failed, is inconclusive, or never got that far.

    Args:
        experiment: The experiment file, from the project's root, such as experiments/demo.yaml
        baseline: "baseline" (the claim's own), another candidate, a stored run, RUN:candidate, or "last"
        noninferior: How much worse the candidate may be, such as 0.02 or "2 points"; else the claim's smallest_effect
        digest: The first 8 to 64 hex digits of the file's SHA-256, where only this content may run
        overrides: Catches to override, each with the reason that the report shows, such as {"SC501": "known, see 12"}
        max_usd: The ceiling in US dollars; the experiment's own stays where it is smaller
        intersect: Against a stored run, compare the shared items only
        unattended: Nobody is there to be asked, so a budget must be set
    """
    wanted = Wanted(baseline, noninferior, max_usd)
    try:
        ended = run_gate(
            Path(experiment), wanted, digest, overrides, intersect=intersect, unattended=unattended, call=as_task
        )
    except Exception as error:  # noqa: BLE001 - handed to the caller as the state's data
        return failed(error)
    return _state(ended)


def _state(ended: dict[str, Any]) -> State[Any]:
    message = f"{ended['gate']} · {ended['run_id']}"
    return Completed(message=message, data=ended) if ended["passed"] else Failed(message=message, data=ended)


def run_gate(
    path: Path,
    wanted: Wanted,
    digest: str = "",
    overrides: dict[str, str] | None = None,
    *,
    intersect: bool = False,
    unattended: bool = True,
    call: Call,
) -> dict[str, Any]:
    """Do what the flow does, with the stages called as `call` says; return what `safetycatch gate --json` prints."""
    inputs = read_inputs(path, digest)
    result = run_experiment(
        path,
        digest,
        overrides,
        intersect=intersect,
        unattended=unattended,
        purpose="gate",
        beyond=wanted,
        call=call,
    )
    policy = policy_of(inputs, overrides or {})
    run = Runs(inputs.place("").open_store()).load(result["run_id"])
    found = _decided(run, wanted.margin(inputs), policy.threshold("SC207", "rate"), inputs)
    return as_json(found, run, margin_given=bool(wanted.noninferior))


def _decided(run: StoredRun, margin: float, most_missing: float, inputs: Inputs) -> Gate:
    """Return how the gate ends for a finished run, from its stored scores."""
    summary = run.summary["summary"]
    metric = Metric(**summary["metric"])
    baseline, headline = summary["baseline"], summary["headline"]
    rows = [
        row
        for row in run.summary["result"]["comparisons"]
        if (row["baseline"], row["metric"], row["slice"]) == (baseline, metric.name, "all")
    ]
    # Without a single difference there is no headline: any of the rows then says that nothing can be tested.
    row = next((one for one in rows if headline in {None, one["candidate"]}), None)
    if row is None:
        raise UsageError(
            f"there is nothing to compare with {baseline}: {summary['undecided'] or 'one side has no scores'}",
            where=f"run {run.run_id}",
        )
    headline = row["candidate"]
    items = stored_items(run.table("items"))
    stored, _, other = baseline.partition(":")
    theirs_run = Runs(inputs.place("").open_store()).load(stored) if other else run
    ours = _means(run, headline, metric.name, items)
    theirs = _means(theirs_run, other or baseline, metric.name, items)
    shared = _shared(theirs_run, items) if other else [True] * len(items.ids)
    verdict = summary["verdicts"].get(headline) or {"guardrails": []}
    picked, n_besides = _history(run, inputs.place("").open_store(), headline, baseline, theirs_run)
    return decide_gate(
        ours[shared],
        theirs[shared],
        metric,
        margin,
        candidate=headline,
        against=baseline,
        interval=(row["low"], row["high"]),
        clusters=items.clusters[shared] if items.clustered else None,
        guardrails=verdict["guardrails"],
        picked=max(picked, len(rows) if summary["selected"] else 1),
        n_besides=n_besides,
        most_missing=most_missing,
        unreadable=(
            _unreadable(run, headline, metric, items),
            _unreadable(theirs_run, other or baseline, metric, items),
        ),
        same_system=bool(other) and _requests(run, headline) == _requests(theirs_run, other) != {},
        judged=_judged_test(run, items, (headline, baseline), shared) if is_judged(metric.name) else None,
    )


def _judged_test(run: StoredRun, items: Items, names: tuple[str, str], shared: list[bool]) -> JudgedTest:
    """Return the gate's test of a judge's scores, with what the run knew of its errors."""
    judging = Judging.of(json.loads(run.text(JUDGING)))
    own = taken(items, np.flatnonzero(shared).tolist())

    def test(
        ours: Floats, theirs: Floats, margin: float, clusters: np.ndarray | None, alpha: float, metric: Metric
    ) -> tuple[NonInferiority | None, str]:
        del clusters  # the items' own
        values = {(names[0], metric.name): ours[:, None], (names[1], metric.name): theirs[:, None]}
        matrix = ScoreMatrix(own, names, (metric.name,), values)
        assert judging is not None  # noqa: S101 - a run with a judge keeps what it knew of it
        try:
            found = judged_noninferiority(judging, matrix, names, metric, margin, alpha)
        except StatisticsError as error:
            return None, f"no bound: {error}"
        return found, found.reason if math.isnan(found.bound) else ""

    return test


def _beside(found: Gate, result: dict[str, Any]) -> str:
    """Return what stands beside a judged difference; empty beside any other."""
    facts = result.get("judged")
    row = judged.difference_of(facts, found.against, found.candidate, found.metric.name) if facts else None
    return judged.mark(facts, row, difference=True) if facts and row else ""


def _history(run: StoredRun, store: Store, candidate: str, baseline: str, theirs_run: StoredRun) -> tuple[int, int]:
    """Return of how many candidates looks at these items chose this one, and how many more they showed."""
    other = baseline.partition(":")[2]
    look = look_of_run(run, "gate", "", store.clock())
    if look is None:
        return 1, 0
    with looks_of(store) as looks:
        seen = looks.on(look)
    keys = _keys(run)
    if other:
        keys[baseline] = _keys(theirs_run).get(other, "")
    return rivals_on_test(seen, keys, candidate, baseline, look.terms["candidate"])


def _keys(run: StoredRun) -> dict[str, str]:
    """Return the fingerprints of a run's candidates by name; empty where the run is too old to say."""
    return dict(zip(run.summary.get("names", ()), run.summary["candidates"], strict=False))


def _means(run: StoredRun, candidate: str, metric: str, items: Items) -> Floats:
    """Return a candidate's mean score of every item; NaN where the run has none."""
    scores = run.table("scores")
    wanted = (pc.field("candidate") == candidate) & (pc.field("metric") == metric)
    scores = scores.filter(wanted & pc.field("example_id").isin(list(items.ids)))
    if not scores.num_rows:
        raise UsageError(f"run {run.run_id} has no scores of {metric!r} for {candidate!r}", where="--against")
    replicates = max(scores["replicate"].to_pylist()) + 1
    return build_matrix(items, scores.to_batches(), replicates).means(candidate, metric)


def _unreadable(run: StoredRun, candidate: str, metric: Metric, items: Items) -> float:
    """Return the share of a candidate's replies that gave no answer to score, refused and cut ones too.

    0 where the metric needs none: costs, times, judges and your own scorers, which are given the output as it is.
    """
    if metric.amount or ":" in metric.name or is_judged(metric.name):
        return 0.0
    rows = run.table("rows", ["candidate", "example_id", "status", "parsed"])
    rows = rows.filter((pc.field("candidate") == candidate) & pc.field("example_id").isin(list(items.ids)))
    replied = rows.filter(~pc.field("status").isin(["error", "invalid"]))
    return replied["parsed"].null_count / replied.num_rows if replied.num_rows else 0.0


def _shared(run: StoredRun, items: Items) -> list[bool]:
    held = set(run.table("items", ["example_id"])["example_id"].to_pylist())
    return [example_id in held for example_id in items.ids]


def _requests(run: StoredRun, candidate: str) -> dict[tuple[str, int], str]:
    """Return what was sent for every row, as the journal's keys; empty for anything but a model.

    A function's key does not know all of its code, and recorded outputs have none.
    """
    configured = {one["id"]: one for one in run.manifest["config"]["candidates"]}
    if configured.get(candidate, {}).get("model") is None:
        return {}
    rows = run.table("rows", ["candidate", "example_id", "replicate", "call_key"])
    rows = rows.filter(pc.field("candidate") == candidate)
    columns = [rows[name].to_pylist() for name in ("example_id", "replicate", "call_key")]
    return {(example_id, replicate): key for example_id, replicate, key in zip(*columns, strict=True)}


def _looks(findings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how often the claim has looked at the test set by now, its budget, and what that means beyond it."""
    evidence = next((row["evidence"] for row in findings if row["code"] == "SC504"), None)
    seen = json.loads(evidence) if isinstance(evidence, str) else evidence or {}
    n, budget = seen.get("looks_now"), seen.get("budget")
    beyond = n is not None and n > budget
    note = f"{n} looks at this test set by this claim (budget {budget}): a pass means less" if beyond else None
    return {"looks": n, "looks_budget": budget, "looks_note": note}


def as_json(found: Gate, run: StoredRun, *, margin_given: bool) -> dict[str, Any]:
    """Return a gate's outcome as `safetycatch gate --json` promises it."""
    result, flips = run.summary["result"], run.summary["summary"]["flips"]
    counted = next((one for one in flips if one["candidate"] == found.candidate), None)
    numbers = {name: getattr(found, name) for name in ("estimate", "bound", "low", "high")}
    keys = ("code", "level", "status", "title", "saw", "reason")
    findings = [{key: row[key] for key in keys} for row in result["findings"]]
    return {
        "gate": found.status,
        "passed": found.status == "passed",
        "candidate": found.candidate,
        "against": found.against,
        "metric": found.metric.name,
        "unit": found.metric.unit,
        "margin": found.margin,
        "margin_from": "--noninferior" if margin_given else "claim.smallest_effect",
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "level": found.level,
        "n": found.n,
        "n_clusters": found.n_clusters,
        "n_missing": found.n_missing,
        "missing_decides": found.missing_decides,
        "n_to_settle": found.n_to_settle,
        "settles_as": found.settles_as,
        "settle": found.settle,
        "picked_of": found.picked,
        "seen_besides": found.n_besides,
        "unchanged": found.unchanged,
        "guardrails": [asdict(rail) for rail in found.guardrails],
        "sentence": found.sentence + (f" {told}." if (told := _beside(found, result)) else ""),
        **({"beside": _beside(found, result), "judged": result["judged"]} if "judged" in result else {}),
        **_looks(result["findings"]),
        "run_id": run.run_id,
        "verdict": result["verdict"],
        "flips": None if counted is None else {"fixed": counted["n_fixed"], "broken": counted["n_broken"]},
        "candidates": result["candidates"],
        "calls": result["calls"],
        "findings": findings,
        "overrides": [
            {"code": row["code"], "reason": row["reason"]}
            for row in findings
            if row["status"] in {"overridden", "acknowledged"}
        ],
        "spent_usd": result["spent_usd"],
        "spent_at_least_usd": result.get("spent_at_least_usd", result["spent_usd"]),
        "report": result["report"],
        "command": run.summary["command"],
        "name": run.name,
        "exit_code": EXIT_CODES[found.status],
    }

"""Flow `evaluate`: one experiment from its file to a verdict."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.answers import answer
from flows.approval import approved
from flows.beyond import Measured
from flows.bootstrap import bootstrapped
from flows.chain import as_task, calls_of, prepare, sound_store, stop_if_refused
from flows.corrected import check_judge_of, judging_of, people_of
from flows.ensemble import asked_of_dev, check_dev, measured, vote_lines, voted
from flows.judging import (
    judge_all,
    judgement_lines,
    judgement_notes,
    n_verdicts,
    observe_canaries,
    scored_by,
    with_judges,
)
from flows.ladder import climb, ladder_lines
from flows.pin import made_of
from flows.reference import REFERENCE, as_reference
from flows.stored import baseline_of
from flows.watching import CallsArtifact, failed, publish, publish_refusal, status_of
from safetycatch.catches import Finding, Observation, Policy, judge, refuse
from safetycatch.catches.cost import ceiling_reached
from safetycatch.catches.finding import parse_overrides, with_matters
from safetycatch.catches.harness import run_id_free
from safetycatch.catches.statistics import errors_stopped
from safetycatch.errors import (
    ApprovalNeededError,
    BudgetReachedError,
    RefusedError,
    SafetycatchError,
    TooManyErrorsError,
)
from safetycatch.store import Ref, RunConflictError, Runs
from safetycatch.store.environment import environment
from tasks.check import observe_after, observe_ensemble
from tasks.compare import compare
from tasks.looks import record_look
from tasks.report import report
from tasks.result import Result
from tasks.score import score
from tasks.session import WATCHER, Session, current, make_importable, session
from tasks.start import Inputs, read_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.beyond import Beyond
    from flows.chain import Call
    from safetycatch.experiment import Claim
    from safetycatch.store import Run
    from safetycatch.store.looks import Look
    from tasks.prepared import Climbed, Prepared
    from tasks.stage import Place

UNREADABLE_SHARE = 0.05
MOST_RUNS = 10_000


def _run_name() -> str:
    return f"evaluate {Path(str(flow_run.parameters.get('experiment', ''))).stem}"


# The form of a deployment: constraints from here, descriptions from the docstring.
ExperimentFile = Annotated[str, Field(min_length=1, max_length=4096)]
Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{8,64})?$")]
Overrides = dict[Annotated[str, Field(pattern=r"^SC\d{3,4}$")], Annotated[str, Field(min_length=1, max_length=2000)]]


@flow(name="evaluate", flow_run_name=_run_name, persist_result=False, result_serializer="json")
def evaluate(
    experiment: ExperimentFile,
    digest: Digest = "",
    overrides: Overrides | None = None,
    *,
    intersect: bool = False,
    reference: bool = False,
    unattended: bool = True,
) -> Any:
    """Evaluate one experiment file; return what `safetycatch run --json` prints.

    The caller gets RefusedError, BudgetReachedError, ProviderUnusableError or StoppedError as they are; every one of
    them leaves a run that the same call resumes.

    Args:
        experiment: The experiment file, from the project's root, such as experiments/demo.yaml
        digest: The first 8 to 64 hex digits of the file's SHA-256, where only this content may run
        overrides: Catches to override, each with the reason that the report shows, such as {"SC501": "known, see 12"}
        intersect: Against a stored run, compare the shared items only
        reference: Record what was merged as what a gate's "last" means, claiming nothing
        unattended: Nobody is there to be asked, so a budget must be set
    """
    try:
        return run_experiment(
            Path(experiment),
            digest,
            overrides,
            intersect=intersect,
            unattended=unattended,
            purpose=REFERENCE if reference else "claim",
            call=as_task,
        )
    except Exception as error:  # noqa: BLE001 - raised to the caller; Prefect, which may be shared, gets no row's text
        return failed(error)


def run_experiment(
    path: Path,
    digest: str = "",
    overrides: dict[str, str] | None = None,
    *,
    intersect: bool = False,
    unattended: bool = True,
    purpose: str = "claim",
    beyond: Beyond | None = None,
    alone: bool = False,
    call: Call,
) -> dict[str, Any]:
    """Do what the flow does, with the stages called as `call` says: as Prefect tasks, or as plain functions.

    `purpose` says why the test split is looked at: a `claim`, or a `gate` or a `reference`, for which SC504 only
    warns. A reference has no verdict. `alone`: a claim may have one candidate, because `beyond` makes the others.
    """
    began, asked_at = time.monotonic(), datetime.now(UTC)
    inputs = read_inputs(path, digest, alone=alone)
    if beyond is not None:
        inputs = beyond.inputs(inputs)
    policy = policy_of(inputs, overrides or {})
    runs = Runs(sound_store(inputs.place(""), policy))
    if purpose == REFERENCE:
        inputs = as_reference(inputs)
    say = WATCHER.get().say or (lambda _stage, _text: None)

    def begin(now: datetime) -> Run:
        return runs.begin(
            inputs.experiment.name,
            inputs.identity(),
            config=inputs.experiment.model_dump(mode="json"),
            now=now,
            wait=lambda message: say("wait", message),
        )

    run = begin(asked_at)
    while run.status == "refused":
        # Another process was refused meanwhile: a refusal costs nothing, and is told with its findings.
        run = begin(datetime.now(UTC))
    if run.finished:
        return run.stored().summary["result"]
    with run:
        run.snapshot(inputs.copies)
        place = inputs.place(run.run_id, error_limit(policy))
        say("run", f"{run.run_id}{' (resumed)' if run.resumed else ''}")
        with session(place, inputs.experiment, inputs.project) as shared:
            try:
                return _evaluated(
                    inputs,
                    place,
                    policy,
                    run,
                    shared,
                    began,
                    call,
                    beyond,
                    intersect=intersect,
                    unattended=unattended,
                    purpose=purpose,
                )
            except SafetycatchError as error:
                _end(run, inputs, place, error, policy)
                raise


def error_limit(policy: Policy) -> float | None:
    """Return the share of failed calls above which a run stops: SC207's, where that catch would refuse."""
    observed = Observation("SC207", "fired", "")
    return policy.threshold("SC207", "rate") if policy.finding(observed).refuses else None


def policy_of(inputs: Inputs, overrides: dict[str, str]) -> Policy:
    """Return the catch settings in force: the project's, then the experiment's, then the command line's overrides."""
    from safetycatch.catches.catalogue import checked_settings

    settings = {**inputs.project.settings.catches, **inputs.experiment.catches}
    checked_settings(settings, str(inputs.path))
    for code, reason in overrides.items():
        parse_overrides([code], reason)
    return Policy(claiming=inputs.experiment.claiming, settings=settings, overrides=overrides)


def _evaluated(
    inputs: Inputs,
    place: Place,
    policy: Policy,
    run: Run,
    shared: Session,
    began: float,
    call: Call,
    beyond: Beyond | None,
    *,
    intersect: bool,
    unattended: bool,
    purpose: str,
) -> dict[str, Any]:
    say = WATCHER.get().say or (lambda _stage, _text: None)
    make_importable((place.folder, inputs.project.root))
    spent_before = shared.journal.spent(run.run_id)
    prepared = prepare(inputs, place, policy, call, unattended=unattended, purpose=purpose)
    stop_if_refused(prepared)
    stored, same = baseline_of(prepared, intersect=intersect)
    check_judge_of(prepared, stored)
    people = people_of(prepared)
    refuse(judge(same, policy))
    prepared, pool_replies = bootstrapped(approved(prepared, policy, shared.stop), policy, call)
    refuse(prepared.findings)
    everybody, climbed = prepared, None
    if prepared.ladder is not None:
        climbed = climb(prepared, prepared.ladder, call, _chosen_before(Runs(place.open_store()), inputs))
        if beyond is not None:
            climbed = beyond.going(everybody, climbed)
        prepared = replace(prepared, entries=climbed.entries)
        for line in ladder_lines(climbed, everybody):
            say("ladder", line)
    callers = [entry for entry in prepared.entries if not entry["candidate"]["outputs"]]
    n_replies = len(callers) * len(prepared.ids) * inputs.experiment.runs.replicates
    n_judged = n_verdicts(prepared)
    if climbed is not None and (expect := WATCHER.get().expect) is not None:
        expect(climbed.n_asked + n_replies + n_judged + sum(len(one.ids) for one in prepared.bootstraps))
    of_dev = asked_of_dev(prepared)
    progress = CallsArtifact(n_replies + n_judged)
    dev = answer(of_dev, call, progress.add) if of_dev else {}
    # Before test is asked.
    dev_notes = check_dev(prepared, dev)
    parts = answer(prepared, call, progress.add)
    vote = voted(prepared, call, parts, dev)
    for line in vote_lines(prepared, vote):
        say("vote", line)
    judgement = judge_all(prepared, call, {**parts, **dict.fromkeys(prepared.ensemble_ids, vote)}, progress.add)
    for line in judgement_lines(prepared, judgement):
        say("judge", line)
    more = beyond.measured(everybody, climbed, parts, call) if beyond else Measured()
    replies = [*pool_replies, *(climbed.rungs if climbed else []), *chain.from_iterable(parts.values()), *more.parts]
    replies += [*chain.from_iterable(dev.values()), *vote, *judgement.refs]
    calls = calls_of(prepared, replies, shared)
    if climbed is not None and prepared.scored_split == "dev":
        # The race's answers were read again from the journal: once is how often they came.
        again = sum(row["n_calls"] for row in climbed.standing if row["on"])
        calls["from_journal"] = max(0, calls["from_journal"] - again)
    if prepared.ensemble:
        parts[prepared.ensemble.settings.id] = vote
    settings = {
        "task": prepared.task,
        "labels": list(prepared.labels),
        "aliases": inputs.experiment.label_aliases,
        "scorers": list(prepared.scorers),
        "exclude": list(prepared.exclude),
        "sources": {name: inputs.sources[name] for name in prepared.scorers if name in inputs.sources},
    }
    scores = [
        call(score, place=place, **scored_by(prepared, judgement, settings, name, parts), examples=prepared.examples)
        for name in parts
    ]
    say("score", f"{len(prepared.ids)} items, {', '.join(prepared.scorers[:3])}")
    store = place.open_store()
    leaks = store.facts(Ref.from_dict(prepared.leaks))
    claim = inputs.experiment.claim
    effect = claim.smallest_effect if claim else None
    # Before the first comparison, so that a kill cannot hide it.
    looks = record_look(prepared, policy)
    k_history = _history(Runs(store), prepared, looks)
    judging = judging_of(prepared, people, parts, dict(zip(parts, scores, strict=True)), run.started_at)
    settings |= {"judging": judging} if judging else {}
    compared = call(
        compare,
        place=place,
        settings={
            **settings,
            "mode": "exploring" if purpose == REFERENCE else inputs.mode,
            "split": prepared.scored_split,
            "ids": list(prepared.ids),
            "slices": list(inputs.experiment.data.slices),
            "replicates": inputs.experiment.runs.replicates,
            "claim": _claim(claim, climbed),
            "smallest_effect": effect.value if effect else None,
            "candidates": list(parts),
            "baseline": stored["name"] if stored else inputs.experiment.baseline,
            "stored": stored,
            "power": policy.threshold("SC202", "power"),
            "k_history": k_history,
            "leaked": leaks["leaked_ids"],
            "crossed": leaks["crossed_ids"],
            "similar": leaks["similar_ids"],
        },
        examples=prepared.examples,
        splits=prepared.splits,
        parts=scores,
    )
    scored = {name: store.facts(Ref.from_dict(reference)) for name, reference in zip(parts, scores, strict=True)}
    summary = store.facts(Ref.from_dict(compared))
    ensemble = measured(prepared, call, parts, dict(zip(parts, scores, strict=True)), settings)
    changed = [*(found.name for found in run.changed_inputs(inputs.files)), *inputs.changed_data()]
    spent = shared.journal.spent(run.run_id)
    unpriced = store.facts(Ref.from_dict(prepared.plan))["unknown_prices"]
    called = with_judges(prepared, judgement, scored)
    after = [*observe_after(prepared, policy, summary, called, spent, changed, climbed, k_history)]
    after += more.observations(policy)
    after += observe_ensemble(prepared, ensemble)
    after += observe_canaries(prepared, judgement)
    codes = {observation.code for observation in after}
    findings = judge([*same, *after], policy)
    before = [_with_leak_scores(found, summary) for found in prepared.findings if found.code not in codes]
    findings = tuple(sorted([*findings, *before], key=_code_order))
    told_of_judges = judgement_notes(prepared, judgement)
    for line in (notes := [*dev_notes, *_unanswered(called, shared.last_error), *_unreadable(scored), *told_of_judges]):
        say("note", line)
    result = Result(
        run_id=run.run_id,
        prepared=prepared,
        comparisons=compared,
        summary=summary,
        scored=scored,
        findings=findings,
        calls={**calls, "perhaps_paid": spent.perhaps_calls},
        spent=spent,
        spent_before=spent_before,
        saved_usd=None if unpriced else _saved(scored, climbed, ensemble, spent.usd - spent_before.usd),
        perhaps=tuple(shared.journal.perhaps_paid(run.run_id)),
        climbed=climbed,
        started_at=run.started_at.isoformat(timespec="seconds"),
        wall_s=time.monotonic() - began,
        command=command_of(inputs, policy),
        environment=environment(inputs.path.parent),
        notes=(*prepared.notes, *notes),
        looks=tuple(looks),
        bench=more.bench,
        ensemble=ensemble,
        reference=purpose == REFERENCE,
        judging=judging,
        verdicts=tuple(judgement.refs),
    )
    call(report, result=result, run=run, parts=parts, scores=scores)
    refuse(findings)
    answered = result.as_json(str(run.path("report.html")), _tables(run, climbed, judged=bool(judgement.refs)))
    ended = {
        "result": answered,
        "summary": summary,
        "command": result.command,
        "items": prepared.items_key(),
        "candidates": [*prepared.candidate_keys(), *prepared.ensemble_keys()],
        "names": list(prepared.names),
        "raced": everybody.candidate_keys() if climbed else [],
        "chosen": climbed.chosen if climbed else None,
        "look": prepared.look.content if prepared.look else None,
        "made_of": made_of(prepared, looks),
    }
    run.finish("done", ended)
    publish(result, answered)
    return answered


def _unreadable(scored: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each candidate many of whose replies could not be read: its prompt is more likely at fault."""
    return [
        f"{name}: {facts['statuses']['unparsable']} of {facts['n']} replies could not be read, "
        f"e.g. {facts['unreadable']!r}"
        for name, facts in scored.items()
        if facts["statuses"].get("unparsable", 0) > UNREADABLE_SHARE * facts["n"]
    ]


def _unanswered(scored: dict[str, dict[str, Any]], last: dict[str, str]) -> list[str]:
    """Return a line for each candidate with calls that failed in this process, and what the last of them said."""
    found: list[str] = []
    for name, facts in scored.items():
        n_lost = facts["statuses"].get("error", 0) + facts["statuses"].get("invalid", 0)
        if n_lost and name in last:
            found.append(f"{name}: {n_lost:,} of {facts['n']:,} calls failed, the last: {last[name]}")
    return found


def _with_leak_scores(finding: Finding, summary: dict[str, Any]) -> Finding:
    """Return SC501 or SC502 with what its rows do to the headline's score, now that it is known."""
    kind = {"SC501": "leaked", "SC502": "crossed"}.get(finding.code)
    shown = summary["headline"] or summary["baseline"]
    found = (one for one in summary["leaks"] if one["kind"] == kind and one["candidate"] == shown)
    leaked = next(found, None)
    if leaked is None or finding.status == "passed" or summary["metric"]["unit"] != "points":
        return finding
    n = leaked["n_near"] + leaked["n_far"]
    whole = (leaked["near"] * leaked["n_near"] + leaked["far"] * leaked["n_far"]) / n
    return with_matters(
        finding,
        f"they score {100 * leaked['near']:.1f} %, the other {leaked['n_far']} score {100 * leaked['far']:.1f} %: "
        f"the {100 * whole:.1f} % of {leaked['candidate']} is {100 * leaked['far']:.1f} %",
    )


def _code_order(finding: Finding) -> tuple[int, int]:
    number = int(finding.code[2:])
    return number // 100, number


def _tables(run: Run, climbed: Climbed | None, *, judged: bool) -> dict[str, str]:
    names = ["rows", "scores", "comparisons", "findings", *(["ladder", "dev_rows"] if climbed else [])]
    names += ["verdicts"] if judged else []
    return {name: str(run.path(f"{name}.parquet")) for name in names}


def _saved(
    scored: dict[str, dict[str, Any]], climbed: Climbed | None, ensemble: dict[str, Any] | None, paid_now: float
) -> float:
    """Return what the answers of this run cost when they were bought, less what was paid now."""
    own = {name: facts for name, facts in scored.items() if ensemble is None or name != ensemble["id"]}
    bought = sum(facts["cost_usd"] or 0.0 for facts in own.values()) + (climbed.cost_usd if climbed else 0.0)
    bought += (ensemble["extra_usd"] or 0.0) + (ensemble["fit_usd"] or 0.0) if ensemble else 0.0
    return max(0.0, bought - paid_now)


def _chosen_before(runs: Runs, inputs: Inputs) -> str | None:
    """Return whom a finished run of the same experiment chose on dev: once test was seen, the choice stands."""
    identity = inputs.identity()
    before = (run for run in runs.ls(limit=MOST_RUNS) if run.status == "done" and run.identity == identity)
    return next((run.summary.get("chosen") for run in before), None)


def _claim(claim: Claim | None, climbed: Climbed | None) -> dict[str, Any] | None:
    """Return the claim with the candidate that the race chose on dev, where it names none itself."""
    if claim is None:
        return None
    return {**claim.model_dump(mode="json"), **({"candidate": climbed.chosen} if climbed else {})}


def command_of(inputs: Inputs, policy: Policy) -> str:
    """Return the command that reproduces the run, from the project's root (or the file's folder).

    Overrides with different reasons, which only a deployment can give, share the first one.
    """
    words = ["safetycatch", inputs.verb, inputs.shown, *inputs.options]
    for code in policy.overrides:
        words += ["--override", code]
    if policy.overrides:
        words += ["--because", next(iter(policy.overrides.values()))]
    return shlex.join(words)


def _history(runs: Runs, prepared: Prepared, looks: Sequence[Look]) -> int:
    """Return how many different candidates were ever scored on these items, this run's included.

    The `looks` hold those of every claim on this test set; dev items, which anybody may look at, are in the runs only.
    """
    seen = {*prepared.candidate_keys(), *prepared.ensemble_keys()}.union(*(look.candidates for look in looks))
    key = prepared.items_key()
    for run in runs.ls(limit=MOST_RUNS):
        if run.summary.get("items") == key:
            seen.update(run.summary["candidates"])
    return len(seen)


def _codes(findings: Sequence[object]) -> set[str]:
    return {finding.code for finding in findings if isinstance(finding, Finding)}


def _end(run: Run, inputs: Inputs, place: Place, error: SafetycatchError, policy: Policy) -> None:
    """Give an unfinished run its status, so that the next call resumes it (or, refused, starts a new one)."""
    status = status_of(error)
    findings = list(error.findings) if isinstance(error, (RefusedError, ApprovalNeededError)) else []
    if isinstance(error, BudgetReachedError):
        findings = list(judge([ceiling_reached(message=str(error).splitlines()[0])], policy))
    if isinstance(error, TooManyErrorsError):
        findings = list(judge([errors_stopped(message=str(error).splitlines()[0])], policy))
    if isinstance(error, RunConflictError):
        error.findings = judge([run_id_free(run_id=run.run_id, other=True)], policy)
        findings = list(error.findings)
    if run.finished or ("SC702" in _codes(findings) and run.stored().identity != run.identity):
        return  # somebody else's result: nothing is overwritten
    rows = [finding.row() for finding in findings if isinstance(finding, Finding)]
    spent = current().journal.spent(place.run_id)
    ended = {
        "error": str(error),
        "findings": rows,
        "spent_usd": None if spent.unpriced else spent.usd,
        "spent_at_least_usd": spent.usd,
        "perhaps_paid": spent.perhaps_calls,
        "command": command_of(inputs, policy),
        **({"asked": error.asked} if isinstance(error, ApprovalNeededError) else {}),
    }
    run.finish(status, ended)
    publish_refusal(run.run_id, status, rows)

"""What an experiment's parts must be to each other: checked once it is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from safetycatch.aggregate import BEST
from safetycatch.configuration import nearest
from safetycatch.errors import ExperimentError
from safetycatch.experiment.amounts import check_points
from safetycatch.experiment.parameters import check_params

if TYPE_CHECKING:
    from safetycatch.aggregate import AggregateSettings
    from safetycatch.experiment.model import Experiment

MAX_CANDIDATES = 200


def check_candidates(experiment: Experiment, where: str) -> None:
    """Refuse candidates that nobody could ask, or two of one name. Raises: ExperimentError."""
    seen: set[str] = set()
    for number, candidate in enumerate(experiment.candidates):
        place = f"{where}: candidates[{number}]"
        if candidate.id in seen:
            raise ExperimentError(f"the candidate id {candidate.id!r} twice", where=place, expected="distinct ids")
        seen.add(candidate.id)
        if candidate.call and candidate.outputs:
            raise ExperimentError("both 'call' and 'outputs'", where=place, expected="one of them")
        if candidate.kind == "call" and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", candidate.call or ""):
            raise ExperimentError(f"found {candidate.call!r}", where=f"{place}.call", expected="module:function")
        if candidate.kind != "model" and (candidate.model or candidate.prompt or candidate.shots.k):
            raise ExperimentError(
                f"'{candidate.kind}' beside model, prompt or shots", where=place, expected="only the one that answers"
            )
        if candidate.kind == "model":
            for key in ("model", "prompt"):
                if getattr(candidate, key) is None:
                    raise ExperimentError(f"no {key!r}", where=place, expected=f"'{key}' here or under 'defaults'")
        check_params(candidate, place)
    if len(experiment.candidates) > MAX_CANDIDATES:
        raise ExperimentError(
            f"{len(experiment.candidates)} candidates", where=where, expected=f"at most {MAX_CANDIDATES}"
        )


def check_aggregate(experiment: Experiment, found: AggregateSettings, where: str) -> None:
    """Refuse an ensemble of members that are not there, or whose answers are no votes. Raises: ExperimentError."""
    candidates = {candidate.id: candidate for candidate in experiment.candidates}
    named = [(f"members[{number}]", name) for number, name in enumerate(found.members)]
    for key, name in [*named, *([("tie", found.tie)] if isinstance(found.tie, str) and found.tie != BEST else [])]:
        known = list(candidates) if key != "tie" else found.members
        if name not in known:
            close = nearest(name, known)
            raise ExperimentError(
                f"found {name!r}",
                where=f"{where}.{key}",
                expected="one of " + ", ".join([BEST] * (key == "tie") + known),
                fix=f"did you mean {close!r}?" if close else "",
            )
    if found.id in candidates:
        raise ExperimentError(f"{found.id!r} is a candidate", where=f"{where}.id", expected="a name of its own")
    claim = experiment.claim
    if claim is not None and claim.baseline == found.id:
        raise ExperimentError(
            "the ensemble as the baseline",
            where=where.replace("aggregate", "claim.baseline"),
            expected="a candidate that answers by itself, or a stored run",
            fix=f"claim.candidate: {found.id}",
        )
    if experiment.task == "generate" or (found.rule == "dawid_skene" and experiment.task not in {None, "classify"}):
        raise no_votes(experiment.task or "", found, where)
    judge = experiment.judge_of_ties
    if judge is not None:
        check_params(judge, f"{where}.tie")
    if found.rule != "self_consistency":
        return
    member = candidates[found.members[0]]
    if member.outputs:
        raise ExperimentError(
            f"{member.id} is recorded: it cannot be asked again",
            where=f"{where}.members[0]",
            expected="a candidate that answers",
        )
    if experiment.runs.replicates > 1:
        raise ExperimentError(
            f"{experiment.runs.replicates} replicates beside samples",
            where=f"{where}.samples",
            expected="runs: {replicates: 1}: the samples are the replicates",
        )
    if member.params.get("temperature") == 0:
        raise ExperimentError(
            f"{member.id} has temperature 0: its samples would be one answer again and again",
            where=f"{where}.samples",
            expected="a temperature above 0",
            fix="params: {temperature: 0.7}",
        )


def check_judge(experiment: Experiment, where: str) -> None:
    """Refuse a judge whose parameters are not usable, or that is called as a candidate is. Raises: ExperimentError."""
    judges = experiment.judges
    for number, juror in enumerate(judges):
        check_params(juror, f"{where}: judge.jury[{number - 1}]" if number else f"{where}: judge")
    taken = {juror.id for juror in judges}.intersection(candidate.id for candidate in experiment.candidates)
    if taken:
        raise ExperimentError(
            f"a candidate called {min(taken)!r} beside a judge", where=where, expected="another name for the candidate"
        )


def no_votes(task: str, found: AggregateSettings, where: str) -> ExperimentError:
    """Return the error for a task whose answers a rule cannot count as votes."""
    if task == "generate":
        return ExperimentError(
            "free texts cannot be counted as votes", where=where, expected="task: classify, extract or answer"
        )
    return ExperimentError(
        f"rule: {found.rule} with task: {task}",
        where=f"{where}.rule",
        expected="labels: it estimates how often each is taken for each",
        fix="rule: majority",
    )


def check_claim(experiment: Experiment, where: str, *, alone: bool = False) -> None:
    """Refuse a claim about nobody, or with sizes that cannot be meant. Raises: ExperimentError."""
    claim = experiment.claim
    if claim is None:
        return
    ids = [candidate.id for candidate in experiment.candidates]
    ids += [experiment.aggregate.id] if experiment.aggregate else []
    if claim.candidate is not None and claim.candidate not in ids:
        close = nearest(claim.candidate, ids)
        raise ExperimentError(
            f"found {claim.candidate!r}",
            where=f"{where}: claim.candidate",
            expected="one of " + ", ".join(ids),
            fix=f"did you mean {close!r}?" if close else "",
        )
    if not experiment.baseline_is_run and experiment.baseline == claim.candidate:
        raise ExperimentError("the baseline is the candidate", where=f"{where}: claim", expected="two different ones")
    if len(ids) < 2 and not alone and not experiment.baseline_is_run:
        raise ExperimentError(
            "a claim with one candidate", where=where, expected="a baseline and at least one other candidate"
        )
    if claim.smallest_effect is not None:
        check_points(claim.metric, claim.smallest_effect, f"{where}: claim.smallest_effect")
        if claim.smallest_effect.relative:
            raise ExperimentError(
                f"{100 * claim.smallest_effect.value:g}% of the baseline is not built yet",
                where=f"{where}: claim.smallest_effect",
                expected="an absolute size",
                fix=f"smallest_effect: {100 * claim.smallest_effect.value:g} points",
            )
    for number, guardrail in enumerate(claim.guardrails):
        check_points(guardrail.metric, guardrail.worse_by, f"{where}: claim.guardrails[{number}].worse_by")
        if guardrail.metric == claim.metric:
            raise ExperimentError(
                f"the claimed metric {claim.metric!r} as its own guardrail",
                where=f"{where}: claim.guardrails[{number}]",
            )

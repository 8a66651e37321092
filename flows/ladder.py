"""The ladder: candidates race on dev, rung by rung; the survivors and the baseline go on to the scored split."""

from __future__ import annotations

import math
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from safetycatch.errors import ExperimentError
from safetycatch.store import Ref as StoreRef
from tasks.prepared import Climbed, Ladder
from tasks.race import ENOUGH, blocks_of, race

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.chain import Call
    from safetycatch.experiment import Experiment, Rung
    from safetycatch.scoring import Scorer
    from tasks.prepared import Prepared, Ref

# Of the challengers, what goes on after a rung whose `keep` is not said; after the last rung all who are left do.
SHARE_KEPT, FEWEST_KEPT = 0.6, 2


def raceable(experiment: Experiment, entries: Sequence[dict[str, Any]], dev_ids: Sequence[str]) -> str:
    """Return why there is nothing to race, or an empty text."""
    racing = [entry["candidate"]["id"] for entry in racers(experiment, entries)]
    if len(racing) <= ENOUGH:
        besides = " and are no members of the ensemble" if experiment.aggregate else ""
        return f"a race needs the baseline and two other candidates that answer{besides}"
    if experiment.baseline_is_run or experiment.baseline not in racing:
        return "the baseline is recorded, so it cannot answer dev rows"
    return "" if dev_ids else "the split has no dev rows"


def racers(experiment: Experiment, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return who races: who answers, without the members of an ensemble, which are all needed to the end."""
    members = set(experiment.aggregate.members if experiment.aggregate else ()) - {experiment.baseline}
    return [entry for entry in entries if not entry["candidate"]["outputs"] and entry["candidate"]["id"] not in members]


def race_metric(scorers: Sequence[Scorer]) -> str:
    """Return the metric to race on: the claimed one, or the first item-wise one where that needs the whole set.

    Raises: ExperimentError when none has a value between 0 and 1 for each item.
    """
    for scorer in scorers:
        if scorer.kind == "item" and scorer.unit in {"points", "score"}:
            return scorer.name
        if scorer.kind == "resource":
            break
    raise ExperimentError(
        f"a race on {scorers[0].name}",
        where="runs.ladder",
        expected="a metric between 0 and 1 for each item, such as accuracy",
        fix="leave the ladder out",
    )


def caps(rungs: Sequence[Rung], n_challengers: int) -> list[int | None]:
    """Return how many challengers go on after each rung; None where evidence alone decides."""
    found: list[int | None] = []
    left = n_challengers
    for number, rung in enumerate(rungs, 1):
        keep = rung.keep
        if keep is None:
            keep = "all" if number == len(rungs) else max(FEWEST_KEPT, math.ceil(SHARE_KEPT * left))
        found.append(None if keep == "all" or keep >= left else keep)
        left = left if keep == "all" else min(left, keep)
    return found


def make_ladder(
    experiment: Experiment,
    entries: Sequence[dict[str, Any]],
    shots: Sequence[Ref],
    dev_ids: Sequence[str],
    clusters: dict[str, str],
    metric: str,
) -> Ladder:
    """Return the rungs of a race over `dev_ids`; `entries` point into `shots`, which are those of dev rows."""
    racing = tuple({**entry, "scorers": [metric]} for entry in racers(experiment, entries))
    sizes: dict[str, int] = {}
    for example_id in dev_ids:
        sizes[clusters[example_id]] = sizes.get(clusters[example_id], 0) + 1
    blocks = blocks_of(dev_ids, clusters, experiment.split.seed, [rung.size for rung in experiment.runs.ladder])
    # The rung at which the items run out is the last one.
    keeps = caps(experiment.runs.ladder[: len(blocks)], len(racing) - 1)
    return Ladder(
        entries=racing,
        shots=tuple(shots),
        blocks=tuple(tuple(tuple(block) for block in rung) for rung in blocks),
        keeps=tuple(keeps),
        clusters={example_id: clusters[example_id] for rung in blocks for block in rung for example_id in block},
        largest_cluster=max(sizes.values()),
        metric=metric,
    )


def climb(prepared: Prepared, ladder: Ladder, call: Call, chosen: str | None = None) -> Climbed:
    """Race rung by rung; return who goes on to the scored split.

    `chosen` is whom an earlier, finished run of the same experiment chose: test was seen, so nobody is chosen anew.
    """
    experiment, store = prepared.experiment, prepared.place.open_store()
    baseline, replicates = experiment.baseline, experiment.runs.replicates
    rungs: list[Ref] = []
    facts: list[dict[str, Any]] = []
    for number in range(1, len(ladder.blocks) + 1):
        rungs.append(
            call(
                race,
                place=prepared.place,
                settings={
                    "rung": number,
                    "rungs": len(ladder.blocks),
                    "blocks": [[list(block) for block in rung] for rung in ladder.blocks[:number]],
                    "keeps": list(ladder.keeps[:number]),
                    "clusters": ladder.clusters,
                    "largest_cluster": ladder.largest_cluster,
                    "candidates": [dict(entry) for entry in ladder.entries],
                    "baseline": baseline,
                    "n_shots": len(ladder.shots),
                    "replicates": replicates,
                    **{key: ladder.entries[0][key] for key in ("task", "labels", "aliases", "scorers")},
                },
                examples=prepared.examples,
                parts=[*ladder.shots, *rungs],
                pool=prepared.pool,
            )
        )
        facts.append(store.facts(StoreRef.from_dict(rungs[-1])))
        if facts[-1]["over"]:
            break
    standing = [_whole(row, facts) for row in facts[-1]["standing"]]
    ranked = ranking(standing, higher_is_better=facts[-1]["higher_is_better"])
    challengers = [row for row in ranked if row["candidate"] != baseline]
    # The claim gets its verdict: where evidence dropped everybody, from the best of those dropped.
    going = [row["candidate"] for row in challengers if row["status"] == "running"] or [challengers[0]["candidate"]]
    named = (experiment.claim.candidate if experiment.claim else None) or chosen
    recorded = {entry["candidate"]["id"] for entry in prepared.entries if entry["candidate"]["outputs"]}
    members = experiment.aggregate.members if experiment.aggregate else []
    on = {baseline, *going, *recorded, *members, *([named] if named else [])}
    n_calls = sum(sum(len(block) for block in rung) for rung in ladder.blocks) * len(ladder.entries) * replicates
    return Climbed(
        rungs=tuple(rungs),
        entries=tuple(entry for entry in prepared.entries if entry["candidate"]["id"] in on),
        chosen=named or going[0],
        standing=tuple({**row, "on": row["candidate"] in on} for row in ranked),
        n_asked=sum(one["n_rows"] for one in facts),
        n_full=n_calls,
        cost_usd=sum(one["cost_usd"] for one in facts),
        metric=ladder.metric,
        failed={
            name: (sum(one["failed"][name][0] for one in facts), sum(one["failed"][name][1] for one in facts))
            for name in facts[0]["failed"]
        },
        errors=dict(sum((Counter(one["errors"]) for one in facts), Counter[str]())),
        tokens=dict(sum((Counter(one["tokens"]) for one in facts), Counter[str]())),
        returned=dict(sum((Counter(one["returned"]) for one in facts), Counter[str]())),
    )


def _whole(row: dict[str, Any], facts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a candidate's last standing with what it took in all rungs, and the rung it left in (None: it did not)."""
    name = row["candidate"]
    left = (
        number
        for number, one in enumerate(facts, 1)
        for seen in one["standing"]
        if seen["candidate"] == name and seen["status"] != "running"
    )
    took = [one["took"].get(name, {"n_calls": 0, "cost_usd": 0.0}) for one in facts]
    sums = {key: sum(one[key] for one in took) for key in ("n_calls", "cost_usd")}
    return {**row, "rung": next(left, None), **sums}


def ranking(standing: list[dict[str, Any]], *, higher_is_better: bool) -> list[dict[str, Any]]:
    """Return who went to the end first, then who left last; the best first, ties in the experiment's order."""
    sign = -1 if higher_is_better else 1

    def order(row: dict[str, Any]) -> tuple[float, float]:
        score = math.inf if row["estimate"] is None else sign * row["estimate"]
        return (-math.inf if row["status"] == "running" else -row["look"]), score

    return sorted(standing, key=order)


def ladder_lines(climbed: Climbed, prepared: Prepared) -> list[str]:
    """Return how the race went, in words."""
    if prepared.ladder is None:
        return []
    baseline, rungs = prepared.experiment.baseline, prepared.ladder.blocks[: len(climbed.rungs)]
    path = " → ".join(f"{total} rows" for total in accumulate(sum(len(block) for block in rung) for rung in rungs))
    out = [
        f"{names} {status} ({why})"
        for status, why in (("eliminated", "evidence"), ("pruned", "not among the best"))
        if (
            names := ", ".join(
                row["candidate"] for row in climbed.standing if row["status"] == status and not row["on"]
            )
        )
    ]
    if climbed.metric != (prepared.experiment.claim.metric if prepared.experiment.claim else climbed.metric):
        path += f" by {climbed.metric}"
    on = ", ".join(row["candidate"] for row in climbed.standing if row["on"] and row["candidate"] != baseline)
    return [
        " · ".join([path, *out, f"{baseline} (the baseline) always stays"]),
        f"{climbed.n_asked:,} of {climbed.n_full:,} calls · {on} and {baseline} go on to "
        + ("all dev rows" if prepared.scored_split == "dev" else "test"),
    ]

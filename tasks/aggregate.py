"""Stage `aggregate`: the members' replies to the scored items become the ensemble's, item by item."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from prefect import task

from safetycatch.ensembles import (
    Record,
    best_member,
    elect,
    fold_of,
    n_nobody,
    n_unvoted,
    ranked,
    settled,
    tie_counts,
    without_own_fold,
)
from safetycatch.errors import DataError
from safetycatch.store import Ref
from tasks.asking import Asked, ask_about_ties, ask_samples, cost_of
from tasks.calling import read_table, scorers_of
from tasks.counts import FAILED, added_counts
from tasks.evaluate import keep_rows
from tasks.stage import CacheKey, Place, parents_of, stage_fingerprint, transient

if TYPE_CHECKING:
    from safetycatch.ensembles import Ballot, Election

STAGE, VERSION = "aggregate", "2"
MAX_TIES_KEPT = 200
TOKENS = ("n_tokens_in", "n_tokens_cached", "n_tokens_out")
READ = ("example_id", "replicate", "status", "output", "parsed", *TOKENS, "cost_usd", "latency_s")

Key = tuple[str, int]
Row = dict[str, Any]


@task(
    name=STAGE,
    task_run_name="aggregate {settings[id]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=1,
    retry_condition_fn=transient,
)
def aggregate(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    splits: dict[str, Any],
    parts: list[dict[str, Any]],
    shots: dict[str, Any] | None = None,
    pool: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the reference of the ensemble's `rows`; ties, weights and the members' records are its facts.

    `parts` are the members' shards for the scored items, `settings[shards]` of each, then those for dev rows,
    `settings[dev_shards]` of each. `shots` are those of the member whose samples vote (self-consistency).
    Raises: DataError where weights are to be cross-fitted over one cluster; and what calls raise.
    """
    parents = parents_of({"examples": examples, "parts": parts, "pool": pool, "shots": shots, "splits": splits})
    store = place.open_store()
    name = stage_fingerprint(STAGE, VERSION, settings, parents)
    found = store.find(STAGE, name)
    if found is not None:
        return found.as_dict()
    with store.lock(STAGE, name):
        n_scored = sum(settings["shards"])
        members = _members(place, settings, settings["shards"], parts[:n_scored])
        dev = _members(place, settings, settings["dev_shards"], parts[n_scored:])
        asked = ask_samples(place, settings, members, examples, shots, pool or examples)
        evidence = _evidence(place, settings, examples, splits, dev or members)
        votes = _Votes(settings, members, asked.samples, evidence)
        election = votes.election()
        ties = {key: one.tied for key, one in zip(votes.keys, election.decisions, strict=True) if one.reason == "tie"}
        judged = ask_about_ties(place, settings, ties, examples)
        rows = [votes.row(key, election, at, judged.of_ties.get(key)) for at, key in enumerate(votes.keys)]
        fit_usd = cost_of([row for answered in dev.values() for row in answered.values()])
        facts = votes.facts(election, rows, asked, judged, fit_usd)
    n_failed = asked.n_failed + judged.n_failed
    return keep_rows(STAGE, VERSION, place, settings, parents, rows, facts, n_failed=n_failed)


def _members(
    place: Place, settings: dict[str, Any], shards: list[int], parts: list[dict[str, Any]]
) -> dict[str, dict[Key, Row]]:
    store, at = place.open_store(), 0
    found: dict[str, dict[Key, Row]] = {}
    for name, n_shards in zip(settings["members"], shards, strict=False):
        rows = [row for part in parts[at : at + n_shards] for row in store.read(Ref.from_dict(part), READ).to_pylist()]
        found[name] = {(row["example_id"], row["replicate"]): row for row in rows}
        at += n_shards
    return found


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The members' records for each fold of the scored items, over rows that are not in it; all of them in `whole`.

    `fold` gives an item's fold, nothing where all evidence is from other rows.
    """

    records: list[dict[str, Record]]
    whole: dict[str, Record]
    fold: dict[str, int]
    n_classes: int


def _evidence(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    splits: dict[str, Any],
    members: dict[str, dict[Key, Row]],
) -> _Evidence:
    """Return how often each member was right; nothing where neither weights nor ties ask for it."""
    given = {name: Record(*counts) for name, counts in (settings["records"] or {}).items()}
    if not settings["fits"]:
        return _Evidence([given], given, {}, max(2, len(settings["labels"])))
    judge = scorers_of(place, {**settings, "scorers": [settings["right_by"]]})[0] if settings["right_by"] else None
    known = read_table(place, examples)
    targets = dict(zip(known["example_id"].to_pylist(), known["target"].to_pylist(), strict=True))
    fold: dict[str, int] = {}
    if settings["cross_fit"]:
        table = read_table(place, splits)
        pairs = zip(table["example_id"].to_pylist(), table["cluster_id"].to_pylist(), strict=True)
        seen = {example_id for rows in members.values() for example_id, _ in rows}
        cluster = {example_id: name for example_id, name in pairs if example_id in seen}
        by_cluster = fold_of(cluster.values(), settings["seed"])
        if len(by_cluster) < 2:
            raise DataError(
                "all scored rows are one cluster",
                where="aggregate",
                expected="two or more: no row may inform its own vote, nor that of its twins",
                fix="tie: MEMBER and weights: {member: number}",
            )
        fold = {example_id: by_cluster[name] for example_id, name in cluster.items()}
    answers, passed_over = set[str](), set(settings["exclude"])
    by_fold = [dict.fromkeys(members, Record()) for _ in range(max(fold.values(), default=0) + 1)]
    for name, rows in members.items():
        for (example_id, _), row in rows.items():
            if row["status"] in FAILED or example_id in passed_over:
                continue
            said, target = row["parsed"], targets[example_id]
            answers.update(text for text in (said, target) if text is not None)
            right = said is not None and (
                said == target if judge is None else judge.score(said, target, {**row, "target": target}) >= 1
            )
            by_fold[fold.get(example_id, 0)][name] += Record(int(right), int(said is not None), 1)
    whole = {name: sum((one[name] for one in by_fold), Record()) for name in members}
    n_classes = len(settings["labels"]) or len(answers)
    return _Evidence(without_own_fold(by_fold) if fold else by_fold, whole, fold, max(2, n_classes))


@dataclass(frozen=True, slots=True)
class _Votes:
    """The members' rows, or one member's samples, as votes; and the rows that come of them."""

    settings: dict[str, Any]
    members: dict[str, dict[Key, Row]]
    samples: dict[str, list[list[Row]]]
    evidence: _Evidence

    @property
    def keys(self) -> list[Key]:
        """What is voted on, in the order of the rows."""
        return [(one, replicate) for one in self.settings["ids"] for replicate in range(self.settings["replicates"])]

    def cast(self, key: Key) -> dict[str, Row]:
        """Return the rows that vote on `key`, by who votes."""
        if self.samples:
            rows = [row for asked in self.samples[key[0]] for row in asked]
            return {f"sample {number}": row for number, row in enumerate(rows, 1)}
        return {name: rows[key] for name, rows in self.members.items()}

    def ballots(self) -> list[Ballot]:
        """Return what each voter said about each of the keys."""
        return [{name: row["parsed"] for name, row in self.cast(key).items()} for key in self.keys]

    def election(self) -> Election:
        """Return the decisions, ties settled where a member (or the first sample) is to settle them."""
        settings, evidence = self.settings, self.evidence
        ballots = self.ballots()
        folds = [evidence.fold.get(example_id, 0) for example_id, _ in self.keys]
        found = elect(ballots, settings["rule"], self.weights(), folds)
        if settings["tie"] == "best":
            orders = [ranked(own) for own in evidence.records]
            return settled(found, ballots, [orders[fold] for fold in folds], "best on dev: {}".format)
        if settings["tie"] == "first":
            return settled(found, ballots, [list(ballot) for ballot in ballots], lambda _name: "the first sample")
        if settings["tie"] == "judge":
            return found
        return settled(found, ballots, [[settings["tie"]] for _ in ballots], "vote of {}".format)

    def weights(self) -> list[dict[str, float]]:
        """Return the members' weights for each fold."""
        if self.settings["weights"]:
            return [self.settings["weights"]]
        of = [self.settings_records()] if self.settings["records"] else self.evidence.records
        return [{name: record.weight(self.evidence.n_classes) for name, record in own.items()} for own in of]

    def settings_records(self) -> dict[str, Record]:
        """Return the members' records in the stored run that weights are taken from."""
        return {name: Record(*counts) for name, counts in self.settings["records"].items()}

    def row(self, key: Key, election: Election, at: int, judged: Row | None) -> Row:
        """Return the ensemble's row; `judged` is the answer of whoever was asked about a tie.

        Where somebody answered and nothing was decided, the row counts as a refusal: nobody gets an answer from it.
        """
        decision, cast = election.decisions[at], self.cast(key)
        label = decision.label
        if judged is not None and judged["parsed"] in decision.tied:
            label = judged["parsed"]
        rows = [*cast.values(), *([judged] if judged else [])]
        answered = [row for row in cast.values() if row["status"] not in FAILED]
        status, why = ("answer", None) if label is not None else ("refusal", None)
        if not answered:
            status, why = "error", "no_member_answered"
        elif judged is not None and judged["status"] in FAILED:
            status, why = "error", judged["error_class"] or "invalid"
        said = [row["output"] for row in rows if row["parsed"] == label and row["output"] is not None]
        return {
            "candidate": self.settings["id"],
            "example_id": key[0],
            "replicate": key[1],
            "status": status,
            # What nobody said, as Dawid-Skene may conclude from who confuses what, has no words but its own.
            "output": next(iter(said), label) if status == "answer" else None,
            "parsed": label if status == "answer" else None,
            "model_requested": None,
            "model_returned": None,
            **{name: _total([row[name] for row in rows]) for name in TOKENS},
            "cost_usd": cost_of(rows),
            "latency_s": self._latency(key, judged),
            "call_key": None,
            "error_class": why,
        }

    def _latency(self, key: Key, judged: Row | None) -> float | None:
        """Return the seconds of the slowest member, or of the rounds of samples; a judge's come after them."""
        rounds = self.samples[key[0]] if self.samples else [list(self.cast(key).values())]
        slowest = [
            max((row["latency_s"] for row in asked if row["latency_s"] is not None), default=None) for asked in rounds
        ]
        return _total([*slowest, judged["latency_s"] if judged else None])

    def facts(
        self, election: Election, rows: list[Row], asked: Asked, judged: Asked, fit_usd: float | None
    ) -> dict[str, Any]:
        """Return what the report tells of the vote; the answers to dev rows cost `fit_usd` (None: price unknown)."""
        evidence, tie = self.evidence, Counter(tie_counts(election))
        items: list[dict[str, Any]] = []
        for key, decision, row in zip(self.keys, election.decisions, rows, strict=True):
            if not decision.tied:
                continue
            by = decision.by
            if key in judged.of_ties:
                by = "the judge" if row["status"] == "answer" else "undecided"
                tie.subtract(["undecided"])
                tie[by] += 1
            if len(items) < MAX_TIES_KEPT:
                items.append(
                    {"example_id": key[0], "tied": list(decision.tied), "label": row["parsed"], "by": by or "undecided"}
                )
        both = [one for one in (asked, judged) if one.calls is not None]
        missing = {name: sum(of[key]["parsed"] is None for key in self.keys) for name, of in self.members.items()}
        model = election.model
        return {
            "n": len(rows),
            "n_ties": sum(tie.values()),
            "ties": {by: count for by, count in sorted(tie.items()) if count},
            "tied": items,
            "n_nobody": n_nobody(election),
            "n_unvoted": n_unvoted(election, self.ballots()),
            "missing_votes": missing,
            "n_asked": asked.n_asked,
            "n_judged": judged.n_asked,
            "n_decided": sum(row["status"] == "answer" for row in rows),
            "weights": self.weights() if self.settings["rule"] == "weighted" else None,
            "n_folds": len(set(evidence.fold.values())),
            "records": {name: asdict(record) for name, record in evidence.whole.items()},
            "best": best_member(evidence.whole) if self.settings["fits"] else None,
            "model": None if model is None else {"n_rounds": model.n_rounds, "converged": model.converged},
            "extra_usd": cost_of([*asked.further(), *judged.further()]),
            "fit_usd": fit_usd,
            **({"calls": added_counts([one.calls or {} for one in both])} if both else {}),
            "cache_saved_usd": asked.cache_saved_usd + judged.cache_saved_usd,
        }


def _total(values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None

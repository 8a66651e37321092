"""The look that a claim takes at its test split: judged before a call is sent, recorded before the scores are shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safetycatch.catches import Policy, judge, refuse
from safetycatch.catches.aggregation import terms_kept
from safetycatch.catches.illusory import LookFacts, looked_at
from safetycatch.identity import fingerprint
from safetycatch.results.matrix import hash_of
from safetycatch.store.looks import (
    BEST_ON_DEV,
    Look,
    content_of,
    contents,
    distinct,
    is_replay,
    looker,
    looks_of,
    sketch_of,
    terms_of,
)
from safetycatch.tables import with_ids
from tasks.calling import read_table
from tasks.prepared import candidate_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from safetycatch.catches import Observation
    from tasks.prepared import Prepared

SHOWN = 5
JUDGE_DIGITS = 16
TYPED_AT_A_GATE = frozenset({"baseline", "candidate"})


def look_ahead(prepared: Prepared, purpose: str) -> Look | None:
    """Return the look that this run would be; None while exploring, which never opens test."""
    if not prepared.experiment.claiming:
        return None
    store, terms = prepared.place.open_store(), _terms(prepared)
    items = set(_contents(prepared, prepared.ids).values())
    content = content_of(
        items=prepared.items_key(),
        candidates=[*prepared.candidate_keys(), *_judge(prepared)],
        terms=terms,
        replicates=prepared.experiment.runs.replicates,
        chosen_by=_chosen_by(prepared),
        source=prepared.inputs.sources.get(terms["metric"], ""),
    )
    return Look(
        claim=prepared.experiment.name,
        content=content,
        purpose=purpose,
        run_id=prepared.place.run_id,
        who=looker(),
        looked_at=store.clock(),
        terms=terms,
        candidates=_tried(prepared),
        n_items=len(items),
        sketch=sketch_of(items),
    )


def _contents(prepared: Prepared, ids: Sequence[str]) -> dict[str, str]:
    """Return the content hash of each of `ids`."""
    table = with_ids(read_table(prepared.place, prepared.examples), list(ids))
    columns = (table[name].to_pylist() for name in ("example_id", "input", "target"))
    return {example_id: hash_of(text, target) for example_id, text, target in zip(*columns, strict=True)}


def _terms(prepared: Prepared) -> dict[str, Any]:
    judged = {"judge": prepared.judging["key"][:JUDGE_DIGITS]} if prepared.judging else {}
    return {**terms_of(prepared.experiment.model_dump(mode="json"), prepared.names), **judged}


def _tried(prepared: Prepared) -> tuple[str, ...]:
    return (*prepared.candidate_keys(), *prepared.ensemble_keys())


def _judge(prepared: Prepared) -> list[str]:
    """Return the fingerprint of who decides an ensemble's ties, prompt included; [] without a judge."""
    judge = prepared.ensemble.judge if prepared.ensemble else None
    return [candidate_key(judge)] if judge else []


def _chosen_by(prepared: Prepared) -> str:
    """Return the fingerprint of what chooses whom test sees: the dev items of a race's looks, or of an ensemble."""
    ladder, ensemble = prepared.ladder, prepared.ensemble
    if ladder is None and not (ensemble and ensemble.dev_ids):
        return ""
    race = None
    if ladder is not None:
        hashes = _contents(prepared, list(ladder.clusters))
        blocks = [[[hashes[name] for name in block] for block in rung] for rung in ladder.blocks]
        race = [blocks, ladder.keeps, ladder.metric]
    fitted = sorted(_contents(prepared, ensemble.dev_ids).values()) if ensemble else None
    return fingerprint(race, fitted)


def looks_so_far(prepared: Prepared) -> list[Look]:
    """Return the looks at this run's test set.

    Raises: StoreError when the ledger is damaged.
    """
    if prepared.look is None:
        return []
    with looks_of(prepared.place.open_store()) as looks:
        return looks.on(prepared.look)


def observe_looks(look: Look | None, looks: Sequence[Look], policy: Policy) -> Iterator[Observation]:
    """Yield what SC504 and SC1001 see in the `looks` at the test set before this one."""
    if look is None:
        yield looked_at(None, policy)
        yield terms_kept(claim="", first=None, now=None, seen="")
        return
    own = [one for one in looks if one.claim == look.claim]
    before = contents(own)
    told = {one.content: one.told for one in reversed(own)}
    yield looked_at(
        LookFacts(
            claim=look.claim,
            is_gate=look.purpose != "claim",
            seen=is_replay(look.content, before),
            n_claim=len(before),
            n_all=distinct(looks),
            n_items=look.n_items,
            told=[told[content] for content in before[-SHOWN:]],
        ),
        policy,
    )
    yield terms_kept(
        claim=look.claim,
        first=_first_terms(own) if own else None,
        now=_fixed(look),
        seen=own[0].told if own else "",
    )


def _fixed(look: Look) -> dict[str, Any]:
    """Return the terms that the file fixes: whom a gate compares with whom is an option of its command."""
    return {name: term for name, term in look.terms.items() if look.purpose != "gate" or name not in TYPED_AT_A_GATE}


def _first_terms(own: Sequence[Look]) -> dict[str, Any]:
    """Return each term of a claim as the first look says it that knows it, and every candidate that a look showed."""
    first: dict[str, Any] = {}
    for one in own:
        first = {**_fixed(one), **first}
    return {**first, "candidates": sorted({name for one in own for name in one.terms.get("candidates", ())})}


def rivals_on_test(
    looks: Sequence[Look], keys: Mapping[str, str], candidate: str, baseline: str, claimed: str
) -> tuple[int, int]:
    """Return of how many candidates one was chosen by scores on test, itself included, and how many more looks showed.

    It was chosen among those of each look that showed it beside others and was not the one claimed there, by name or as
    it is `claimed` now (best on dev). `keys` are the fingerprints by name of those scored now; looks that do not know
    whom they claimed chose nobody.
    """
    own, known = keys.get(candidate, ""), {keys.get(baseline)}
    beforehand = {candidate, *({claimed} & {BEST_ON_DEV})}
    choosing = (one for one in looks if own in one.candidates)
    among = {own}.union(
        *(one.candidates for one in choosing if one.terms.get("candidate", candidate) not in beforehand)
    )
    every = {key for one in looks for key in one.candidates}
    return len(among - known), len(every - among - {*keys.values()})


def record_look(prepared: Prepared, policy: Policy) -> list[Look]:
    """Record the run's look and return all at its test set, the first one first; nothing while exploring.

    Raises: RefusedError, nothing recorded, where another process used up the budget since `observe_looks`; StoreError.
    """
    if prepared.look is None:
        return []
    store = prepared.place.open_store()
    # Those who left the race were not seen on test.
    look = replace(prepared.look, candidates=_tried(prepared), terms=_terms(prepared), looked_at=store.clock())

    def check(before: list[Look]) -> None:
        refuse(judge(observe_looks(look, before, policy), policy))

    with looks_of(store) as looks:
        return looks.record(look, check)

"""What a run would still pay: every request of it is made and looked up in the journal; nothing is sent."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from safetycatch.catches.estimate import Estimate
from safetycatch.judge_settings import PAIRWISE
from safetycatch.judging.canaries import canary_items
from tasks.calling import read_table, requests_of, shard_rows
from tasks.judge import requests_about
from tasks.judging import items_to_judge
from tasks.plan import JUDGE, POOL, expected_usd
from tasks.session import ceiling, current

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from safetycatch.calls import Request
    from tasks.prepared import Bootstrap, Climbed, Prepared, Ref

LOOKUP_ROWS = 512
NOTHING = Estimate(0, 0, 0.0, 0.0, 0)


def estimate_of(
    prepared: Prepared,
    climbed: Climbed | None = None,
    answered: Mapping[str, list[Ref]] | None = None,
    *,
    bounded: bool = True,
) -> Estimate:
    """Return what the run would still pay; `bounded`: at most what its ceiling in dollars leaves.

    With a ladder the plan's forecast says which share of the calls is expected, until the race is over (`climbed`).
    What judges will be asked is planned until all is `answered`, which shows it.
    """
    left = ceiling(prepared.experiment).usd if bounded else None
    if left is not None:
        left = max(0.0, left - current().journal.spent(prepared.place.run_id).usd)
    asked: set[str] = set()
    ladder = prepared.ladder
    total = sum((_bootstrapping(prepared, one, asked) for one in prepared.bootstraps), NOTHING)
    total += _ensemble(prepared, asked)
    total += _judging(prepared, answered, asked)
    if ladder is None or climbed is not None:
        entries = prepared.entries if climbed is None else climbed.entries
        total = sum((_outstanding(prepared, entry, prepared.ids, prepared.shots, asked) for entry in entries), total)
        return total.under(left)
    ids = [example_id for rung in ladder.blocks for block in rung for example_id in block]
    # Exploring, the race's items are those that are scored: the plan has one row for both.
    raced = () if prepared.scored_split == "dev" else ladder.entries
    racing, scored = _shares(prepared, len(raced))
    for entry in raced:
        share = racing[entry["candidate"]["id"]]
        total += _outstanding(prepared, entry, ids, ladder.shots, asked).likely(share)
    for entry in prepared.entries:
        share = scored[entry["candidate"]["id"]]
        total += _outstanding(prepared, entry, prepared.ids, prepared.shots, asked).likely(share)
    return total.under(left)


def _shares(prepared: Prepared, n_racing: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return, by candidate, the share of its calls that the plan expects in the race, and on the scored split."""
    planned = read_table(prepared.place, prepared.plan).to_pylist()
    rows = [row for row in planned if row["split"] != POOL]
    shares = [row["expected_calls"] / row["n_calls"] if row["n_calls"] else 0.0 for row in rows]
    names = [row["candidate"] for row in rows]
    return dict(zip(names[:n_racing], shares, strict=False)), dict(
        zip(names[n_racing:], shares[n_racing:], strict=True)
    )


def _outstanding(
    prepared: Prepared, entry: dict[str, Any], ids: Sequence[str], shots_of: Sequence[Ref], asked: set[str]
) -> Estimate:
    """Return the estimate of one candidate's calls for `ids`, whose shots `entry` points to.

    `asked` holds the keys of the calls before, which are not made again, and takes those of these.
    """
    if entry["candidate"]["outputs"]:
        return NOTHING
    place = prepared.place
    rows = shard_rows(read_table(place, prepared.examples), list(ids))
    shots = shots_of[entry["shots_at"]] if entry["shots_at"] is not None else None
    shown = prepared.pool or prepared.examples
    requests = requests_of(place, entry, rows, shots, shown, prepared.experiment.runs.replicates)
    return not_held(requests, entry["task"], asked)


def _ensemble(prepared: Prepared, asked: set[str]) -> Estimate:
    """Return the estimate of what an ensemble asks besides its members' scored answers; `asked` as above.

    Who will be asked which tie is not known: a judge's calls count as if all labels were tied.
    """
    made, total = prepared.ensemble, NOTHING
    if made is None:
        return total
    for entry in made.dev_entries:
        total += _outstanding(prepared, entry, made.dev_ids, made.dev_shots, asked)
    rows = shard_rows(read_table(prepared.place, prepared.examples), list(prepared.ids))
    shown = prepared.pool or prepared.examples
    for entry, times, share in made.besides:
        shots = prepared.shots[entry["shots_at"]] if entry["shots_at"] is not None else None
        requests = requests_of(prepared.place, entry, rows, shots, shown, times)
        total += not_held(requests, entry["task"], asked).likely(share)
    return total


def _judging(prepared: Prepared, answered: Mapping[str, list[Ref]] | None, asked: set[str]) -> Estimate:
    """Return the estimate of what judges are asked, as planned or about what was `answered`; `asked` as above.

    An ensemble's answers are its members': the same questions.
    """
    found, settings = prepared.judging, prepared.experiment.judge
    if found is None or settings is None or not found["judges"]:
        return NOTHING
    if answered is None:
        names = {juror["candidate"]["id"] for juror in found["judges"]}
        planned = read_table(prepared.place, prepared.plan).to_pylist()
        rows = [row for row in planned if row["candidate"] in names]
        return sum(
            (
                Estimate(row["n_calls"], 0, row["expected_usd"], row["highest_usd"], row["highest_tokens"])
                for row in rows
            ),
            NOTHING,
        )
    place, pairs = prepared.place, settings.scale == PAIRWISE
    items = canary_items(
        settings,
        shard_rows(read_table(place, prepared.examples), list(prepared.ids)),
        prepared.experiment.split.seed,
    )
    for name, parts in answered.items():
        if not (pairs and name == prepared.experiment.baseline):
            own = {"judging": found, "candidate": name, "n_own": len(parts)}
            beside = answered[prepared.experiment.baseline] if pairs else []
            items += items_to_judge(place, own, prepared.examples, [*parts, *beside])
    total = NOTHING
    for juror in found["judges"]:
        requests = (request for request, _ in requests_about(place, found, juror, items))
        total += not_held(requests, JUDGE, asked)
    return total


def _bootstrapping(prepared: Prepared, one: Bootstrap, asked: set[str]) -> Estimate:
    """Return the estimate of the calls about pool rows; `asked` as above."""
    shown = prepared.pool or prepared.examples
    rows = shard_rows(read_table(prepared.place, shown), list(one.ids))
    return not_held(requests_of(prepared.place, one.entry, rows, None, shown, 1), one.entry["task"], asked)


def not_held(requests: Iterator[Request], task: str, asked: set[str]) -> Estimate:
    """Return the estimate of those `requests` whose answers the journal does not hold; `asked` as above."""
    shared = current()
    n_calls = n_held = tokens = 0
    expected = highest = 0.0
    known = True
    while chunk := list(islice(requests, LOOKUP_ROWS)):
        fresh = {request.key: request for request in chunk if request.key not in asked}
        asked.update(fresh)
        held = shared.journal.lookup(fresh)
        n_held += len(chunk) - len(fresh) + len(held)
        for request in (request for key, request in fresh.items() if key not in held):
            n_calls += 1
            tokens += request.max_tokens_in + request.max_tokens_out
            price = shared.prices.of(request)
            if price is None:
                known = False
                continue
            expected += expected_usd(request, price, task)
            highest += price.highest_usd(request.max_tokens_in, request.max_tokens_out)
    return Estimate(n_calls, n_held, expected if known else None, highest if known else None, tokens)

"""Stage `plan`: how many calls, how much money, and what difference the items can show; nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import task

from safetycatch.experiment import Candidate
from safetycatch.stats.race_forecast import forecast
from tasks.calling import read_table, requests_of, shard_rows
from tasks.design import cluster_facts, design_facts
from tasks.judge_plan import sample_questions
from tasks.race import AHEAD_BELOW_CALLS
from tasks.sending import sending_facts
from tasks.session import current
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, transient

if TYPE_CHECKING:
    from safetycatch.calls import Price, Request

STAGE, VERSION = "plan", "9"
SAMPLE_ROWS = 50
POOL = "pool"  # what the plan calls the split of calls about pool rows
FORECAST_SEED = 1
JUDGE = "judge"  # what the plan calls the task of judges
EXPECTED_TOKENS = {"classify": 16, JUDGE: 150}
BYTES_A_TOKEN = 4
SCHEMA = pa.schema(
    [
        pa.field("candidate", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("n_items", pa.int64(), nullable=False),
        pa.field("n_calls", pa.int64(), nullable=False),
        pa.field("expected_calls", pa.float64(), nullable=False),
        pa.field("price_known", pa.bool_(), nullable=False),
        pa.field("expected_usd", pa.float64()),
        pa.field("highest_usd", pa.float64()),
        pa.field("expected_tokens", pa.float64()),
        pa.field("highest_tokens", pa.int64()),
    ]
)


@task(
    name=STAGE,
    task_run_name="plan {settings[split]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=2,
    retry_condition_fn=transient,
)
def plan(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    splits: dict[str, Any],
    parts: list[dict[str, Any]],
    pool: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the reference of the plan: a row a candidate and split, extrapolated from prompts of a sample of items.

    `parts` are the shots, to which the entries of `settings[candidates]` and of `settings[race]` point by `shots_at`.
    Without the race every candidate would take its `n_calls`; with it about `expected_calls`.
    """

    def produce() -> Produced:
        unknown: set[str] = set()

        sent: list[dict[str, Any]] = []

        def rows_of(entries: list[dict[str, Any]], split: str, ids: list[str], shares: dict[str, float]) -> None:
            sent.clear()
            for entry in entries:
                row = _row(place, entry, {**settings, "ids": ids}, examples, parts, pool, unknown, sent)
                rows.append(_expected({**row, "split": split}, shares.get(row["candidate"], 1.0)))

        rows: list[dict[str, Any]] = []
        race = settings["race"]
        going = dict[str, float]()
        facts: dict[str, Any] = {"race": None}
        if race is not None:
            seen = forecast(
                len(race["candidates"]),
                race["looks"],
                race["keeps"],
                seed=FORECAST_SEED,
                ahead_below=AHEAD_BELOW_CALLS / settings["replicates"],
            )
            baseline, n_dev = race["baseline"], len(race["ids"])
            names = [entry["candidate"]["id"] for entry in race["candidates"]]
            asked = {name: seen.challenger_items if name != baseline else seen.baseline_items for name in names}
            going = {name: seen.share_on for name in names if name != baseline}
            racing = {name: items / n_dev for name, items in asked.items()}
            if settings["split"] != "dev":
                rows_of(race["candidates"], "dev", race["ids"], racing)
            facts["race"] = {
                "rungs": [sum(map(sum, rung)) for rung in race["looks"]],
                "keeps": race["keeps"],
                "n_full": len(names) * n_dev * settings["replicates"],
                "n_expected": round(sum(asked.values()) * settings["replicates"]),
                "assumption": seen.assumption,
            }
            if settings["split"] == "dev":
                # What was raced is not asked again: whoever is left answers the items that the race did not need.
                rest = 1 - asked[baseline] / n_dev
                going = {name: racing[name] + rest * going.get(name, 1.0) for name in names}
        rows_of(settings["candidates"], settings["split"], settings["ids"], going)
        rows += [
            _row_besides(place, one, settings, examples, parts, pool, unknown) for one in settings.get("besides", ())
        ]
        rows += [_bootstrap_row(place, one, pool or examples, unknown) for one in settings.get("bootstraps", ())]
        rows += _judge_rows(place, settings, examples, going, unknown, sent)
        clusters = cluster_facts(place, splits, settings["ids"])
        facts |= {"unknown_prices": sorted(unknown), "sent": sent, **clusters}
        facts |= design_facts(facts.pop("sizes"), settings)
        return Produced(pa.Table.from_pylist(rows, schema=SCHEMA), facts=facts)

    parents = parents_of({"examples": examples, "splits": splits, "parts": parts, "pool": pool})
    return run_stage(STAGE, VERSION, place, settings, parents, produce)


def _row(
    place: Place,
    entry: dict[str, Any],
    settings: dict[str, Any],
    examples: dict[str, Any],
    parts: list[dict[str, Any]],
    pool: dict[str, Any] | None,
    unknown: set[str],
    sent: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return what one candidate takes for `settings[ids]`.

    Models without a price are added to `unknown`, what is known of a candidate's requests to `sent`.
    """
    candidate = Candidate.model_validate(entry["candidate"])
    n_calls = 0 if candidate.kind == "outputs" else len(settings["ids"]) * settings["replicates"]
    row: dict[str, Any] = {
        "candidate": candidate.id,
        "n_items": len(settings["ids"]),
        "n_calls": n_calls,
        "price_known": True,
        "expected_usd": 0.0,
        "highest_usd": 0.0,
        "expected_tokens": 0.0,
        "highest_tokens": 0,
    }
    if candidate.model is not None:
        requests = _sample(place, entry, settings["ids"], examples, parts, pool)
        row |= _cost(requests, settings["task"], n_calls)
        if not row["price_known"]:
            unknown.add(candidate.model.full)
        if requests:
            price = current().prices.of(requests[0])
            sent.append(sending_facts(candidate.id, candidate.model.full, requests, price, n_calls))
    if candidate.kind == "call":
        most = candidate.max_cost_usd
        row |= {"price_known": most is not None, "expected_usd": None, "highest_usd": None}
        if most is None:
            unknown.add(f"call {candidate.call}")
        else:
            row |= {"expected_usd": most * n_calls, "highest_usd": most * n_calls}
    return row


def _row_besides(
    place: Place,
    asked: dict[str, Any],
    settings: dict[str, Any],
    examples: dict[str, Any],
    parts: list[dict[str, Any]],
    pool: dict[str, Any] | None,
    unknown: set[str],
) -> dict[str, Any]:
    """Return what an ensemble asks besides its members' scored answers, of which `asked[share]` is expected."""
    none: list[dict[str, Any]] = []
    own = {**settings, "ids": asked["ids"], "replicates": asked["times"]}
    row = _row(place, asked["entry"], own, examples, parts, pool, unknown, none)
    return _expected({**row, "split": asked["split"]}, asked["share"])


def _bootstrap_row(place: Place, asked: dict[str, Any], rows: dict[str, Any], unknown: set[str]) -> dict[str, Any]:
    """Return what it takes to ask a candidate's model about pool rows, to find those it answers right."""
    none: list[dict[str, Any]] = []
    settings = {"ids": asked["ids"], "task": asked["entry"]["task"], "replicates": 1}
    row = _row(place, {**asked["entry"], "shots_at": None}, settings, rows, none, None, unknown, none)
    return _expected({**row, "split": POOL}, 1.0)


def _judge_rows(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    going: dict[str, float],
    unknown: set[str],
    sent: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return what each juror is asked about the scored answers and canaries; `unknown` and `sent` as in `_row`."""
    judging, rows = settings.get("judging"), list[dict[str, Any]]()
    if judging is None:
        return rows
    ids, names = settings["ids"], judging["candidates"]
    n_answers = len(ids) * settings["replicates"] * judging["n_questions"]
    n_calls = len(names) * n_answers + judging["n_canary_questions"]
    n_expected = sum(going.get(name, 1.0) for name in names) * n_answers + judging["n_canary_questions"]
    for juror in judging["entry"]["judges"]:
        candidate = Candidate.model_validate(juror["candidate"])
        likely = sample_questions(place, judging, juror, ids, examples, judging["expected_bytes"])
        most = sample_questions(place, judging, juror, ids, examples, judging["highest_bytes"])
        costs, bounds = _cost(likely, JUDGE, n_calls), _cost(most, JUDGE, n_calls)
        price = current().prices.of(likely[0])
        full = candidate.model.full if candidate.model else ""
        if price is None:
            unknown.add(full)
        sent.append(sending_facts(candidate.id, full, likely, price, n_calls))
        row = {
            "candidate": candidate.id,
            "split": settings["split"],
            "n_items": len(ids),
            "n_calls": n_calls,
            "price_known": price is not None,
            "expected_usd": costs["expected_usd"],
            "highest_usd": bounds["highest_usd"],
            "expected_tokens": costs["expected_tokens"],
            "highest_tokens": bounds["highest_tokens"],
        }
        rows.append(_expected(row, n_expected / n_calls if n_calls else 1.0))
    return rows


def highest_judging_of_a_row(
    place: Place, judging: dict[str, Any], ids: list[str], examples: dict[str, Any]
) -> dict[str, float]:
    """Return the most that judging one item of all candidates takes, in usd, tokens and calls."""
    found = {"usd": 0.0, "tokens": 0.0, "calls": 0.0}
    n_calls = len(judging["candidates"]) * judging["n_questions"]
    for juror in judging["entry"]["judges"]:
        most = sample_questions(place, judging, juror, ids, examples, judging["highest_bytes"])
        bound = _cost(most, JUDGE, n_calls)
        found["usd"] += bound["highest_usd"] or 0.0
        found["tokens"] += bound["highest_tokens"]
        found["calls"] += n_calls
    return found


def _expected(row: dict[str, Any], share: float) -> dict[str, Any]:
    """Return the row with what is expected where a `share` of its calls is."""
    usd = row["expected_usd"]
    return {
        **row,
        "expected_calls": share * row["n_calls"],
        "expected_usd": None if usd is None else share * usd,
        "expected_tokens": share * row["expected_tokens"],
    }


def _sample(
    place: Place,
    entry: dict[str, Any],
    ids: list[str],
    examples: dict[str, Any],
    parts: list[dict[str, Any]],
    pool: dict[str, Any] | None,
) -> list[Request]:
    """Return one candidate's requests for a sample of items."""
    sample = ids[:: max(1, len(ids) // SAMPLE_ROWS)][:SAMPLE_ROWS]
    items = shard_rows(read_table(place, examples), sample)
    shots = parts[entry["shots_at"]] if entry["shots_at"] is not None else None
    return list(requests_of(place, entry, items, shots, pool or examples, 1))


def _cost(requests: list[Request], task: str, n_calls: int) -> dict[str, Any]:
    """Return what `n_calls` like these cost."""
    if not requests:
        return {"expected_usd": 0.0, "highest_usd": 0.0, "expected_tokens": 0.0, "highest_tokens": 0}
    price = current().prices.of(requests[0])
    scale = n_calls / len(requests)
    likely = sum(sum(_expected_tokens(request, task)) for request in requests)
    most = sum(request.max_tokens_in + request.max_tokens_out for request in requests)
    tokens = {"expected_tokens": likely * scale, "highest_tokens": round(most * scale)}
    if price is None:
        return {"price_known": False, "expected_usd": None, "highest_usd": None, **tokens}
    expected = sum(expected_usd(request, price, task) for request in requests)
    highest = sum(price.highest_usd(request.max_tokens_in, request.max_tokens_out) for request in requests)
    return {"expected_usd": expected * scale, "highest_usd": highest * scale, **tokens}


def expected_usd(request: Request, price: Price, task: str) -> float:
    """Return what a request is expected to cost, US dollars: four bytes a token, replies as long as the task's are."""
    return price.cost_usd(*_expected_tokens(request, task))


def _expected_tokens(request: Request, task: str) -> tuple[int, int]:
    """Return the tokens that a request is expected to take, in and out."""
    return len(request.canonical) // BYTES_A_TOKEN, expected_reply_tokens(task, request.max_tokens_out)


def expected_reply_tokens(task: str, most: int) -> int:
    """Return how many tokens a reply is expected to have, of `most` that it may."""
    return min(EXPECTED_TOKENS.get(task, most // 2), most)


def highest_cost_of_a_row(
    place: Place,
    entries: list[dict[str, Any]],
    ids: list[str],
    examples: dict[str, Any],
    parts: list[dict[str, Any]],
    pool: dict[str, Any] | None,
) -> tuple[float, int]:
    """Return the most that one item costs over all candidates, in US dollars and tokens, from a sample of items."""
    usd, tokens = 0.0, 0
    for entry in entries:
        if entry["candidate"]["call"] is None:
            found = _cost(_sample(place, entry, ids, examples, parts, pool), entry["task"], len(ids))
            usd += (found["highest_usd"] or 0.0) / len(ids)
            tokens += found["highest_tokens"] // len(ids)
    return usd, tokens

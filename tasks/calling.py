"""From a candidate, its items and shots to the requests of one shard, and the engine that answers them."""

from __future__ import annotations

import json
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from safetycatch.calls import Endpoint, Engine, EngineSettings, Request
from safetycatch.calls.parameters import ceiling_parameter
from safetycatch.calls.prompt_cache import floor_tokens, marked, takes_marks
from safetycatch.experiment import Candidate, ModelName
from safetycatch.fewshot.prompts import Prompt, make_prompt, render
from safetycatch.fewshot.selection import SHARED, Demonstrations
from safetycatch.project import Project, address_of, key_variable
from safetycatch.sandbox.settings import ANSWERS_VERSION
from safetycatch.scoring import scorer
from safetycatch.scoring.judged import is_judged
from safetycatch.store import Ref
from safetycatch.tables import with_ids
from tasks.session import WATCHER, current, load_function, make_importable
from tasks.stage import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import pyarrow as pa

    from safetycatch.scoring import Scorer
    from tasks.stage import Place


def endpoint_of(model: ModelName, project: Project) -> tuple[Endpoint, str]:
    """Return where a model answers and the name to send; `sandbox/…` starts the embedded server.

    Raises: InputError for an endpoint that nothing names.
    """
    address = address_of(model, project)
    if address.name == "sandbox":
        # The embedded server's port changes from run to run; its answers do not.
        return Endpoint(
            "sandbox", "direct", current().sandbox_url(), known_as=f"sandbox-{ANSWERS_VERSION}"
        ), address.model
    return Endpoint(
        address.name, address.transport, address.base_url, key_variable(address), variant=address.variant
    ), address.model


def endpoint_name(candidate: Candidate, project: Project) -> str:
    """Return where a candidate's model answers, so that another address is another artifact."""
    if candidate.model is None:
        return ""
    address = address_of(candidate.model, project)
    own = f"sandbox-{ANSWERS_VERSION}" if address.name == "sandbox" else address.name
    return f"{address.transport}:{address.base_url or own} {address.variant}".strip()


def shard_rows(examples: pa.Table, ids: list[str]) -> list[dict[str, Any]]:
    """Return the example rows with these ids, in this order."""
    chosen = with_ids(examples, ids).to_pylist()
    by_id = {row["example_id"]: row for row in chosen}
    return [by_id[example_id] for example_id in ids]


@lru_cache(maxsize=4)
def _table(store: str, ref: tuple[tuple[str, Any], ...]) -> pa.Table:
    return open_store(store).read(Ref.from_dict(dict(ref)))


def read_table(place: Place, ref: dict[str, Any]) -> pa.Table:
    """Return a referenced table; the last few are kept, since every shard of a run reads the same ones."""
    return _table(place.store, tuple(sorted(ref.items())))


def requests_of(
    place: Place,
    entry: dict[str, Any],
    rows: list[dict[str, Any]],
    shots: dict[str, Any] | None,
    shown: dict[str, Any],
    replicates: int,
) -> Generator[Request]:
    """Yield the requests of one candidate for `rows`, in order; `shown` references the table that shots come from."""
    project = place.open_project()
    candidate = Candidate.model_validate(entry["candidate"])
    if candidate.kind == "call":
        endpoint, name = Endpoint("function", "function"), candidate.call or ""
        for row in rows:
            body = {"function": name, "source_sha256": entry["source_sha256"], "row": function_row(row)}
            for replicate in range(replicates):
                yield Request(endpoint, body, candidate.id, row["example_id"], replicate, 0)
        return
    assert candidate.model is not None  # noqa: S101 - load_experiment refuses it
    endpoint, model = endpoint_of(candidate.model, project)
    prompt = make_prompt(entry["prompt_text"], candidate.prompt or "")
    demonstrations = None
    if shots is not None:
        demonstrations = Demonstrations(
            read_table(place, shots),
            read_table(place, shown),
            candidate.shots.name,
            [row["example_id"] for row in rows],
        )
    labels = tuple(entry["labels"])
    floor = floor_tokens(model) if takes_marks(endpoint, model) else None
    ceiling = ceiling_parameter(endpoint)
    own = candidate.shots
    n_shared = own.n_core if own.retrieval and own.order is None else 0
    for row in rows:
        examples = demonstrations.of(row["example_id"]) if demonstrations else ()
        body = chat_body(candidate, prompt, model, row, examples, labels, entry, ceiling)
        if floor is not None:
            same = demonstrations is None or examples is demonstrations.of(SHARED)
            stable = stable_turns(body["messages"], row, same_shots=same, n_shared=n_shared)
            body["messages"] = marked(body["messages"], stable, floor)
        for replicate in range(replicates):
            yield Request(endpoint, body, candidate.id, row["example_id"], replicate, entry["max_tokens"])


def engine_of(place: Place, entries: Sequence[dict[str, Any]], label: str) -> Engine:
    """Return the engine that answers the requests of `entries` within the session's journal and budget.

    `label` names its calls to whoever watches.
    """
    shared, watcher, runs = current(), WATCHER.get(), place.experiment().runs
    functions: dict[str, Callable[..., Any]] = {}
    for entry in entries:
        candidate = Candidate.model_validate(entry["candidate"])
        if candidate.call:
            folders = (place.folder, place.open_project().root)
            functions[candidate.call], _ = load_function(candidate.call, folders, f"candidate {candidate.id}: call")
    return Engine(
        shared.journal,
        shared.prices,
        shared.budget,
        EngineSettings(runs.concurrency, read_s=runs.timeout_s, max_error_rate=place.error_limit),
        run_id=place.run_id,
        functions=functions,
        lanes=shared.lanes,
        progress=partial(watcher.progress, label) if watcher.progress else None,
        say=partial(watcher.say, "wait") if watcher.say else None,
        stop=shared.stop,
    )


def scorers_of(place: Place, settings: dict[str, Any]) -> list[Scorer]:
    """Return the scorers named in a stage's settings, the claimed one first."""
    make_importable((place.folder, place.open_project().root))
    # The experiment is parsed for its judge only where one is asked for.
    judge = place.experiment().judge if any(map(is_judged, settings["scorers"])) else None
    return [
        scorer(name, task=settings["task"], labels=settings["labels"], aliases=settings["aliases"], judge=judge)
        for name in settings["scorers"]
    ]


def chat_body(
    candidate: Candidate,
    prompt: Prompt,
    model: str,
    row: dict[str, Any],
    shown: tuple[Any, ...],
    labels: tuple[str, ...],
    settings: dict[str, Any],
    ceiling: str,
) -> dict[str, Any]:
    """Return everything that is sent for one row; `ceiling` is how this endpoint calls the most tokens of an answer."""
    messages = render(prompt, row, shown, labels=labels, task=settings["task"])
    body: dict[str, Any] = {"model": model, "messages": messages, **candidate.params}
    extra = body.pop("extra_body", None)
    body |= extra or {}
    if not {"max_tokens", "max_completion_tokens"} & set(body):
        body[ceiling] = settings["max_tokens"]
    if candidate.send_ids:
        body["metadata"] = {**body.get("metadata", {}), "candidate": candidate.id, "example_id": row["example_id"]}
    return body


def stable_turns(messages: list[dict[str, Any]], row: dict[str, Any], *, same_shots: bool, n_shared: int = 0) -> int:
    """Return how many messages before the query are the same for all rows: instructions, and shots that all share.

    Of shots that are not the same for all rows, the first `n_shared` are.
    """
    before = len(messages) - (len(json.loads(row["input"])) if row["input_kind"] == "messages" else 1)
    if same_shots:
        return before
    # A shot of a chat may have more turns than two.
    shared = 0 if row["input_kind"] == "messages" else 2 * n_shared
    return min(before, int(messages[0]["role"] == "system") + shared)


def function_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a user's function gets of a row: never the target, nor which split it is in."""
    shown = {key: value for key, value in row.items() if key not in {"target", "given_split"}}
    if shown["input_kind"] != "text":
        shown["input"] = json.loads(shown["input"])
    return shown

"""What is known of a candidate's requests before any is sent: what their provider would not see, share, or end."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from safetycatch.calls import Price, Prices, Request
from safetycatch.calls.model_list import shutdown_of
from safetycatch.calls.parameters import Unseen, parameters_of, unseen_parameters
from safetycatch.calls.prompt_cache import floor_tokens, sharing_of, takes_marks, tokens_marked
from safetycatch.catches.cost import SharingFacts
from safetycatch.catches.lockin import ParameterFacts, ShutdownFacts
from safetycatch.identity import canonical_json

if TYPE_CHECKING:
    from safetycatch.calls import Endpoint

IN_THE_QUERY = "the row, in the same message as the instructions"


def sending_facts(
    candidate: str, model: str, requests: list[Request], price: Price | None, n_calls: int
) -> dict[str, Any]:
    """Return facts, as JSON, about a sample of the requests that one candidate sends `n_calls` times."""
    first = requests[0]
    named = {name: value for name, value in parameters_of(first).items() if name != "metadata"}
    extra = {"metadata": {}} if "metadata" in first.body else {}
    unseen = _unseen(first.endpoint, first.model, canonical_json({**named, **extra}).decode(), first.max_tokens_out)
    name, public = Prices.name_of(first.endpoint, first.model)
    ends = shutdown_of(name) if public else None
    return {
        "candidate": candidate,
        "model": model,
        "unseen": asdict(unseen),
        "sharing": _sharing(candidate, requests, price, n_calls),
        "listed": public,
        "ends": {"day": ends.day.isoformat(), "source": ends.source, "of": ends.of} if ends else None,
    }


@lru_cache(maxsize=256)
def _unseen(endpoint: Endpoint, model: str, parameters: str, max_tokens: int) -> Unseen:
    """Return what is not seen; candidates with the same parameters ask once."""
    body = {"model": model, "messages": [], "max_tokens": max_tokens, **json.loads(parameters)}
    return unseen_parameters(Request(endpoint, body, "", ""))


def _sharing(candidate: str, requests: list[Request], price: Price | None, n_calls: int) -> dict[str, Any] | None:
    found = sharing_of(requests)
    if found is None:
        return None
    first, start, parts_at = requests[0], found.start, found.parts_at
    if takes_marks(first.endpoint, first.model) and start > (marked := tokens_marked(first)):
        # Here only whole messages up to our mark are cached.
        start, parts_at = marked, IN_THE_QUERY
    discount = None
    if price is not None and price.cached_input_per_m is not None:
        discount = max(0.0, price.input_per_m - price.cached_input_per_m)
    return asdict(SharingFacts(candidate, start, found.common, floor_tokens(first.model), parts_at, n_calls, discount))


def sharing_facts(sent: list[dict[str, Any]]) -> list[SharingFacts]:
    """Return the facts behind SC306."""
    return [SharingFacts(**one["sharing"]) for one in sent if one["sharing"] is not None]


def parameter_facts(sent: list[dict[str, Any]]) -> list[ParameterFacts]:
    """Return the facts behind SC801."""
    return [_parameters(one["candidate"], one["model"], one["unseen"]) for one in sent]


def _parameters(candidate: str, model: str, unseen: dict[str, Any]) -> ParameterFacts:
    lists = {name: tuple(unseen[name]) for name in ("dropped", "refused", "foreign", "unsure")}
    return ParameterFacts(candidate, model, **lists, how=unseen["how"])


def shutdown_facts(sent: list[dict[str, Any]]) -> list[ShutdownFacts]:
    """Return the facts behind SC802, one a model."""
    ending = {one["model"]: one["ends"] for one in sent if one["ends"]}
    return [
        ShutdownFacts(model, dt.date.fromisoformat(ends["day"]), ends["source"], ends["of"])
        for model, ends in ending.items()
    ]

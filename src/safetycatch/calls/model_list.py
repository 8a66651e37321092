"""LiteLLM's bundled list of models, read as data without importing LiteLLM: prices, cache floors, days of shutdown."""

from __future__ import annotations

import datetime as dt
import difflib
import importlib.metadata
import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

MAP_FILE = "model_prices_and_context_window_backup.json"
SIMILAR = 3
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}|-\d{8}")


class Source(NamedTuple):
    """Where the list is from, and when it came onto this machine."""

    name: str
    date: str


class Shutdown(NamedTuple):
    """The day on which a provider ends a model, and the list that says so; `of` names the snapshot it is known of."""

    day: dt.date
    source: str
    of: str = ""


@cache
def _list() -> tuple[dict[str, dict[str, Any]], Source]:
    spec = importlib.util.find_spec("litellm")
    path = Path(spec.submodule_search_locations[0]) / MAP_FILE if spec and spec.submodule_search_locations else None
    if path is None or not path.is_file():
        return {}, Source("", "")
    date = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC).date().isoformat()
    version = importlib.metadata.version("litellm")
    loaded: dict[str, dict[str, Any]] = json.loads(path.read_bytes())
    return loaded, Source(f"the price list inside litellm {version}", f"installed {date}")


def source() -> Source:
    """Return where the list is from; empty without LiteLLM."""
    return _list()[1]


@cache
def providers() -> frozenset[str]:
    """Return the providers that the list names, as they stand before a model."""
    served = {str(entry.get("litellm_provider", "")) for entry in _list()[0].values()}
    return frozenset(one for one in served if re.fullmatch(r"[a-z0-9_]+", one))


@cache
def like(name: str) -> tuple[str, ...]:
    """Return the names `provider/model` of the list that `name` may have meant, the likeliest first."""
    names = {_full(key, entry): key for key, entry in _list()[0].items()}
    bare = [full for full, key in names.items() if key == name]
    if bare:
        return tuple(bare)
    close = difflib.get_close_matches(name, list(names if "/" in name else names.values()), n=SIMILAR)
    return tuple(dict.fromkeys(_full(key, _list()[0][key]) for key in (names.get(one, one) for one in close)))


def _full(key: str, entry: dict[str, Any]) -> str:
    provider = str(entry.get("litellm_provider", ""))
    return key if key.startswith(f"{provider}/") else f"{provider}/{key}"


def entry_of(name: str) -> dict[str, Any] | None:
    """Return what the list holds of `provider/model`, under its own name or as `model` that this provider serves."""
    provider, _, model = name.partition("/")
    if not model:
        return None
    entries = _list()[0]
    if name in entries:
        return entries[name]
    names = [model]
    if model.startswith("ft:"):
        names.append(":".join(model.split(":")[:2]))
    for candidate in names:
        for key in (candidate, f"{provider}/{candidate}"):
            entry = entries.get(key)
            # Vertex models are of vertex_ai-language-models and the like, Bedrock's of bedrock_converse.
            served = str(entry.get("litellm_provider", "")) if entry else ""
            if entry and (served.split("-")[0] == provider or served == f"{provider}_converse"):
                return entry
    return None


@cache
def shutdown_of(name: str) -> Shutdown | None:
    """Return when the provider ends `provider/model`; None when the list does not say.

    A floating name ends with the last of its dated snapshots, where each of them has a day.
    """
    entry = entry_of(name)
    if entry is None:
        return None
    day = _day(entry)
    if day is not None:
        return Shutdown(day, source().name)
    provider, _, model = name.partition("/")
    days: dict[str, dt.date | None] = {}
    for other, its in _list()[0].items():
        same = its.get("litellm_provider") == entry.get("litellm_provider")
        if same and other.startswith(model) and _SNAPSHOT.fullmatch(other, len(model)):
            days[other] = _day(its)
    last = max(days, key=lambda other: days[other] or dt.date.min, default="")
    final = days.get(last)
    return Shutdown(final, source().name, f"{provider}/{last}") if final and None not in days.values() else None


def _day(entry: dict[str, Any]) -> dt.date | None:
    stated = cast("object", entry.get("deprecation_date"))
    try:
        return dt.date.fromisoformat(stated) if isinstance(stated, str) else None
    except ValueError:
        return None

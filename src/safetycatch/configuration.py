"""Reading what users write in YAML: a small safe dialect, and errors that name file, key path and what was expected."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from safetycatch.errors import ExperimentError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_FILE_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_NODES = 50_000
BOOLEAN = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")

Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML without tags, anchors, dates or `yes`/`no` booleans: what looks like text stays text."""


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    kept: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items():
        kept[first] = [(tag, rule) for tag, rule in rules if tag.rsplit(":", 1)[-1] not in {"bool", "timestamp"}]
    for first in "tTfF":
        kept.setdefault(first, []).append(("tag:yaml.org,2002:bool", BOOLEAN))
    return kept


_Loader.yaml_implicit_resolvers = _resolvers()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word closest to `word`, or None when nothing is close."""
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[close[0]] if close else None


def _walk(stream: str, where: str) -> None:
    """Refuse aliases, tags, over-deep and over-large documents before anything is built from them."""
    depth = 0
    for nodes, event in enumerate(yaml.parse(stream, Loader=_Loader)):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ExperimentError(
                "a YAML anchor or alias", where=_line(where, event), expected="every value written out"
            )
        if getattr(event, "tag", None) not in {None, "!"}:
            raise ExperimentError("a YAML tag", where=_line(where, event), expected="plain values")
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ExperimentError(f"nested deeper than {MAX_DEPTH} levels", where=_line(where, event))
        if nodes > MAX_NODES:
            raise ExperimentError(f"more than {MAX_NODES} values", where=_line(where, event))


def _line(where: str, event: yaml.Event) -> str:
    mark = event.start_mark
    return where if mark is None else f"{where}, line {mark.line + 1}"


def _refuse_repeated_keys(node: yaml.Node | None, where: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise ExperimentError(
                        f"the key {key.value!r} twice", where=f"{where}, line {key.start_mark.line + 1}"
                    )
                seen.add(key.value)
            _refuse_repeated_keys(value, where)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(value, where)


def parse_mapping(text: str, where: str) -> dict[str, Any]:
    """Return the one mapping that a YAML text holds.

    Raises: ExperimentError for anything else: other documents, tags, anchors, repeated keys, control characters,
    depth or size over the limits.
    """
    try:
        _walk(text, where)
        _refuse_repeated_keys(yaml.compose(text, Loader=_Loader), where)
        loaded: Any = yaml.load(text, Loader=_Loader)  # noqa: S506, TID251 - _Loader is a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = where if mark is None else f"{where}, line {mark.line + 1}"
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ExperimentError(f"not valid YAML: {problem}", where=place) from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise ExperimentError(f"not readable: {type(error).__name__}", where=where) from None
    if not isinstance(loaded, dict):
        found = "an empty file" if loaded is None else f"a {type(loaded).__name__}"
        raise ExperimentError(found, where=where, expected="keys and values, such as 'data: tickets.csv'")
    bad = next((key for key in loaded if not isinstance(key, str)), None)
    if bad is not None:
        raise ExperimentError(f"the key {bad!r} is not text", where=where)
    return loaded


def read_text(path: Path, limit: int = MAX_FILE_BYTES) -> str:
    """Return a UTF-8 file's text.

    Raises: ExperimentError when it is missing, not a regular file, larger than `limit` bytes or not UTF-8.
    """
    shown = str(path)
    if not path.exists():
        sisters = [item.name for item in path.parent.glob("*")] if path.parent.is_dir() else []
        close = nearest(path.name, sisters)
        raise ExperimentError("no such file", where=shown, fix=str(path.parent / close) if close else "")
    if not path.is_file():
        raise ExperimentError("not a file", where=shown)
    if path.stat().st_size > limit:
        raise ExperimentError(f"{path.stat().st_size:,} bytes", where=shown, expected=f"at most {limit:,} bytes")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExperimentError(f"not UTF-8 at byte {error.start}", where=shown) from None


def build(model: type[Model], values: dict[str, Any], where: str, later: dict[str, str] | None = None) -> Model:
    """Return `values` as `model`, or say which key is wrong.

    `later` maps planned keys to what to do meanwhile; they are refused with "not yet".
    Raises: ExperimentError with file, key path, what was found, what was expected and the nearest valid key.
    """
    for key, meanwhile in (later or {}).items():
        if key in values:
            raise ExperimentError(f"'{key}' is planned but not built yet", where=f"{where}: {key}", fix=meanwhile)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _explained(error, model, where) from None


def _explained(error: ValidationError, model: type[BaseModel], where: str) -> ExperimentError:
    # The first error of the shortest path: a wrong outer key explains the inner ones.
    first = min(error.errors(include_url=False), key=lambda item: (item["type"] != "extra_forbidden", len(item["loc"])))
    path = _key_path(first["loc"])
    found = first.get("input")
    place = f"{where}: {path}" if path else where
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        close = nearest(str(first["loc"][-1]), known)
        return ExperimentError(
            f"unknown key {first['loc'][-1]!r}",
            where=place,
            expected="one of " + ", ".join(known),
            fix=f"did you mean {close!r}?" if close else "",
        )
    if first["type"] == "missing":
        return ExperimentError(f"no {first['loc'][-1]!r}", where=place, expected="it is required")
    shown = "" if found is None or (isinstance(found, (dict, list)) and len(str(found)) > 120) else f"found {found!r}"
    message = first["msg"].removeprefix("Value error, ")
    return ExperimentError(shown or "not usable", where=place, expected=message)


def _key_path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not re.search(r"[\[\](]|^(str|int|float|bool|list|dict|constrained-str)$|Settings$", part):
            # pydantic also names the branches of a union, which mean nothing to a user.
            text += f".{part}" if text else part
    return text


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: type[BaseModel] = model
    for part in location:
        field = current.model_fields.get(part) if isinstance(part, str) else None
        inner = None if field is None else _model_in(field.annotation)
        current = inner or current
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None

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

    from pydantic_core import ErrorDetails

MAX_FILE_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_NODES = 50_000
MAX_DIGITS = 18  # fits 64 bits
MAX_SHOWN = 120  # characters of a wrong value in a message

# The scalars of YAML 1.2: 12:30, 007, 1_000, 0x1F, yes and 2024-01-01 stay text, and 2e-4 is a number.
SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?i:inf))|\.(?i:nan)",
        list("-+.0123456789"),
    ),
)
TEXT_TAG = "tag:yaml.org,2002:str"
# NUL cannot stand in a path, escape sequences would reach a terminal, and a lone surrogate cannot be stored.
UNUSABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")

WRONG_BRANCH = frozenset({"dict_type", "list_type", "model_type", "string_type"})
PLAIN_WORDS = {
    "model_type": "keys and values",
    "dict_type": "keys and values",
    "list_type": "a list, such as [a, b]",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
}

Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML without tags, anchors, merge keys, dates or `yes`/`no` booleans: what looks like text stays text."""


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in SCALARS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), _first)


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


def _check(node: yaml.Node | None, where: str) -> None:
    """Refuse repeated keys, unusable characters and numbers beyond 64 bits; make every key text."""
    if isinstance(node, yaml.ScalarNode):
        place = f"{where}, line {node.start_mark.line + 1}"
        found = UNUSABLE.search(node.value)
        if found is not None:
            raise ExperimentError(f"the character U+{ord(found[0]):04X}", where=place, expected="printable text")
        if node.tag.endswith(":int") and len(node.value.lstrip("+-")) > MAX_DIGITS:
            raise ExperimentError(
                f"a number of {len(node.value)} digits", where=place, expected=f"at most {MAX_DIGITS}"
            )
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            _check(key, where)
            place = f"{where}, line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise ExperimentError("a key that is not text", where=place)
            key.tag = TEXT_TAG
            if key.value in seen:
                raise ExperimentError(f"the key {_shown(key.value)} twice", where=place)
            seen.add(key.value)
            _check(value, where)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check(value, where)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text):,} characters)"


def parse_mapping(text: str, where: str) -> dict[str, Any]:
    """Return the one mapping that a YAML text holds.

    Raises: ExperimentError for anything else: other documents, tags, anchors, repeated keys, control characters,
    depth or size over the limits.
    """
    try:
        _walk(text, where)
        loaded = _construct(text, where)
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
    return loaded


def _construct(text: str, where: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        _check(node, where)
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def read_text(path: Path, limit: int = MAX_FILE_BYTES) -> str:
    """Return a UTF-8 file's text.

    Raises: ExperimentError when it is missing, not a regular file, larger than `limit` bytes or not UTF-8.
    """
    shown = str(path)
    if not path.exists():
        raise ExperimentError("no such file", where=shown, fix=near_file(path))
    if not path.is_file():
        raise ExperimentError("not a file", where=shown)
    if path.stat().st_size > limit:
        raise ExperimentError(f"{path.stat().st_size:,} bytes", where=shown, expected=f"at most {limit:,} bytes")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExperimentError(f"not UTF-8 at byte {error.start}", where=shown) from None


def near_file(path: Path) -> str:
    """Return the file that `path` probably means: of nearly this name, or of this name one folder further; else ""."""
    folder = path.parent
    if not folder.is_dir():
        there = [item.name for item in folder.parent.glob("*") if item.is_dir()] if folder.parent.is_dir() else []
        close = nearest(folder.name, there)
        found = folder.parent / close / path.name if close else None
        return str(found) if found is not None and found.is_file() else ""
    close = nearest(path.name, [item.name for item in folder.glob("*") if item.is_file()])
    if close:
        return str(folder / close)
    deeper = sorted(item / path.name for item in folder.glob("[!.]*") if item.is_dir() and (item / path.name).is_file())
    return str(deeper[0]) if deeper else ""


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
    problems = error.errors(include_url=False)
    # Of a union, only the branch that the value was meant for: the one whose error lies deepest.
    problems = [item for item in problems if not (item["type"] in WRONG_BRANCH and _goes_deeper(item, problems))]
    # The first error of the shortest path: a wrong outer key explains the inner ones.
    first = min(problems, key=lambda item: (item["type"] != "extra_forbidden", len(item["loc"])))
    path = _key_path(first["loc"])
    found = first.get("input")
    place = f"{where}: {path}" if path else where
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        close = nearest(str(first["loc"][-1]), known)
        return ExperimentError(
            f"unknown key {_shown(first['loc'][-1])}",
            where=place,
            expected="one of " + ", ".join(known),
            fix=f"did you mean {close!r}?" if close else "",
        )
    if first["type"] == "missing":
        outer = first["loc"][:-1]
        keys = [str(item["loc"][-1]) for item in problems if (item["type"], item["loc"][:-1]) == ("missing", outer)]
        return ExperimentError(
            f"no {first['loc'][-1]!r}",
            where=f"{where}: {_key_path(outer)}" if outer else where,
            expected=", ".join(f"{key}: …" for key in keys),
        )
    if first["type"] == "string_type" and isinstance(found, (bool, int, float)):
        return ExperimentError(
            f"found {_shown(found)}", where=place, expected=f'text: "{str(found).lower()}" in quotes'
        )
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ExperimentError(
        "no value" if found is None else f"found {_shown(found)}",
        where=place,
        expected=PLAIN_WORDS.get(first["type"], message),
    )


def _goes_deeper(item: ErrorDetails, problems: list[ErrorDetails]) -> bool:
    outer = item["loc"][:-1]
    return any(len(other["loc"]) > len(item["loc"]) and other["loc"][: len(outer)] == outer for other in problems)


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

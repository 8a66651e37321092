"""JSON that fits a JSON Schema and says one text: how a small model fills a tool's arguments or a structured answer."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 24
MAX_VALUES = 1_000  # a schema that refers to itself twice would have no end
MAX_ITEMS = 32


def fitting(schema: dict[str, Any], text: str) -> str:
    """Return JSON that fits `schema` and carries `text` wherever a text may stand; {} is any object.

    Reads type, enum, const, properties, required, items, prefixItems, anyOf, oneOf, allOf, $ref and the limits of
    lengths and numbers; other keywords (pattern, format) are not honoured.
    """
    value = _Filler(schema, text).value(schema, 0) if schema else {"answer": text}
    return json.dumps(value, ensure_ascii=False)


def breaking(schema: dict[str, Any], text: str) -> str:
    """Return what breaks `schema`: an object without its fields, or no JSON where any object was asked for."""
    return json.dumps({"unexpected": text}, ensure_ascii=False) if schema else text


class _Filler:
    """Fills one schema with one text."""

    def __init__(self, root: dict[str, Any], text: str) -> None:
        self._root, self._text, self._left = root, text, MAX_VALUES

    def value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            return None
        if not isinstance(schema, dict):
            return self._text
        if "const" in schema:
            return schema["const"]
        options = schema.get("enum")
        if isinstance(options, list) and options:
            said = self._text.strip().casefold()
            return next((option for option in options if str(option).casefold() == said), options[0])
        if isinstance(schema.get("$ref"), str):
            return self.value(_referred(schema["$ref"], self._root), depth + 1)
        for keyword in ("anyOf", "oneOf", "allOf"):
            parts = schema.get(keyword)
            if isinstance(parts, list) and parts:
                rest = {name: part for name, part in schema.items() if name != keyword}
                every = parts if keyword == "allOf" else parts[:1]
                return self.value(_joined([rest, *every]), depth + 1)
        return self._of_kind(_kind(schema), schema, depth + 1)

    def _of_kind(self, kind: str, schema: dict[str, Any], depth: int) -> Any:
        if kind == "object":
            properties, required = schema.get("properties"), schema.get("required")
            named = properties if isinstance(properties, dict) else {}
            wanted = dict.fromkeys([*named, *(required if isinstance(required, list) else [])])
            return {name: self.value(named.get(name, {}), depth) for name in wanted}
        if kind == "array":
            return self._array(schema, depth)
        if kind in {"integer", "number"}:
            return _number(schema, self._text, whole=kind == "integer")
        if kind == "boolean":
            return self._text.strip().casefold() in {"true", "yes", "1"}
        if kind == "null":
            return None
        fits = self._text[: _whole(schema.get("maxLength"), len(self._text))]
        return fits.ljust(_whole(schema.get("minLength"), 0), ".")

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems")
        values = [self.value(item, depth) for item in first] if isinstance(first, list) else []
        least = max(_whole(schema.get("minItems"), 0), 1 if "items" in schema else 0)
        values += [self.value(schema.get("items", {}), depth) for _ in range(min(least, MAX_ITEMS) - len(values))]
        return values[: _whole(schema.get("maxItems"), len(values))]


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if {"properties", "required"} & set(schema) else "array" if "items" in schema else "string"


def _number(schema: dict[str, Any], text: str, *, whole: bool) -> int | float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    number = number if math.isfinite(number) else 0.0
    step = 1.0 if whole else 0.5
    for key, sign, shift in (
        ("minimum", 1, 0.0),
        ("exclusiveMinimum", 1, step),
        ("maximum", -1, 0.0),
        ("exclusiveMaximum", -1, step),
    ):
        limit = schema.get(key)
        if isinstance(limit, (int, float)) and not isinstance(limit, bool):
            end = limit + sign * shift
            number = max(number, end) if sign > 0 else min(number, end)
    return round(number) if whole else number


def _whole(value: Any, default: int) -> int:
    return value if type(value) is int and value >= 0 else default


def _joined(parts: list[Any]) -> dict[str, Any]:
    """Return one schema of several that hold at once."""
    joined: dict[str, Any] = {}
    for part in (part for part in parts if isinstance(part, dict)):
        for name, value in part.items():
            if name == "properties" and isinstance(value, dict):
                joined[name] = {**joined.get(name, {}), **value}
            elif name == "required" and isinstance(value, list):
                joined[name] = [*joined.get(name, []), *value]
            else:
                joined.setdefault(name, value)
    return joined


def _referred(reference: str, root: dict[str, Any]) -> Any:
    """Return what `#/$defs/Name` points to; anything else says nothing."""
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}

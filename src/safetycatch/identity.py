"""Names that depend on content only: canonical JSON, fingerprints, derived seeds, safe names."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import TYPE_CHECKING, Any

from safetycatch.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_JSON_DEPTH = 64
EXACT_FLOAT_INTEGERS = 2**53
OUTPUT_HASH_DIGITS = 16


def _normal(value: Any, depth: int) -> Any:
    if depth > MAX_JSON_DEPTH:
        raise InputError(f"JSON nested deeper than {MAX_JSON_DEPTH} levels")
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"text with an unpaired surrogate at character {error.start}") from None
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"the number {value} has no JSON form", expected="a finite number")
        # 0 and 0.0 are the same request; beyond 2**53 a float is not exactly the integer it prints as.
        return int(value) if value.is_integer() and abs(value) < EXACT_FLOAT_INTEGERS else value
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise InputError(
                f"a JSON object with a key that is not text: {next(k for k in value if type(k) is not str)!r}"
            )
        return {_normal(key, depth): _normal(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(item, depth + 1) for item in value]
    raise InputError(f"{type(value).__name__} has no JSON form", expected="text, numbers, lists or objects")


def canonical_json(value: Any) -> bytes:
    """Return the one JSON form of `value`: keys sorted, equal numbers equal, UTF-8, no spaces.

    Raises: InputError for NaN, infinities, non-text keys, unpaired surrogates, other types, over-deep nesting.
    """
    return json.dumps(
        _normal(value, 0), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 (64 hex digits) of the canonical JSON of `parts`."""
    return hashlib.sha256(canonical_json(list(parts))).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (64 hex digits) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def text_sha256(text: str) -> str:
    """Return the SHA-256 (64 hex digits) of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def output_hash(output: str) -> str:
    """Return the 16 hex digits by which labels and verdicts know an output: the beginning of its SHA-256."""
    return text_sha256(output)[:OUTPUT_HASH_DIGITS]


def derive_seed(seed: int, *names: str) -> int:
    """Return a 63-bit seed for one purpose, so that streams of one experiment never overlap by accident."""
    return int(fingerprint(seed, list(names))[:16], 16) >> 1


def keyed_fraction(seed: int, *names: str) -> float:
    """Return a number in [0, 1) that depends only on `seed` and `names`: the same row always gets the same one."""
    return int(fingerprint(seed, list(names))[:13], 16) / 16**13


def checked_name(text: str, where: str) -> str:
    """Return `text` when it is a safe name (lower case letters, digits, `.`, `_`, `-`; 64 at most).

    Raises: InputError with a valid suggestion otherwise. Such names are safe as file, run and candidate names.
    """
    if NAME_PATTERN.fullmatch(text):
        return text
    suggestion = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:64] or "name"
    raise InputError(
        f"{text[:80]!r} is not a usable name",
        where=where,
        expected="lower case letters, digits, '.', '_' or '-', at most 64, starting with a letter or digit",
        fix=suggestion,
    )

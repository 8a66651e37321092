"""A JSON file that vouches for itself: it carries the SHA-256 of its own content and has one possible spelling."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetycatch.errors import InputError, StoreError
from safetycatch.identity import canonical_json, fingerprint

if TYPE_CHECKING:
    from safetycatch.store.disk import Tree

FORMAT = 1
MAX_MANIFEST_BYTES = 32 << 20
SEAL = "manifest_sha256"


class ManifestError(ValueError):
    """A manifest is not what was written; the message says how."""


def render(body: dict[str, Any]) -> bytes:
    """Return the file content of a manifest.

    Raises: InputError when `body` holds something without a JSON form (NaN, NumPy numbers, dates).
    """
    plain: dict[str, Any] = json.loads(canonical_json({**body, "format": FORMAT}))
    plain[SEAL] = fingerprint(plain)
    return (json.dumps(plain, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def parse(data: bytes) -> dict[str, Any]:
    """Return a manifest's content.

    Raises: ManifestError when a single byte differs from what `render` wrote, or a newer safetycatch wrote it.
    """
    try:
        plain: Any = json.loads(data)
        if not isinstance(plain, dict):
            raise ManifestError("is no JSON object")
        claimed = plain.pop(SEAL, None)
        actual = fingerprint(plain)
        plain[SEAL] = actual
        spelled = (json.dumps(plain, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
    except (ValueError, RecursionError, InputError) as error:
        raise ManifestError(f"is no JSON of ours ({str(error).splitlines()[0][:120]})") from None
    if claimed != actual or spelled != data:
        raise ManifestError("was altered: its content does not have the SHA-256 that it states")
    if plain.get("format") != FORMAT:
        raise ManifestError(f"has format {plain.get('format')}; this safetycatch reads format {FORMAT}")
    del plain[SEAL]
    return plain


def load(tree: Tree, *parts: str) -> dict[str, Any] | None:
    """Return the content of the manifest at `parts`, or None when there is none.

    Raises: ManifestError, OSError.
    """
    try:
        data = tree.content(*parts, limit=MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        return None
    except StoreError as error:
        raise ManifestError(str(error)) from None
    return parse(data)

"""Which labelled items are sealed: one file for a store, whatever experiment asks; items are added and none moves.

Files of single experiments, from before, are read along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.errors import InputError, StoreError
from safetycatch.judging.sealing import PARTS, SEALED, Part, merged
from safetycatch.store import manifest as manifests
from safetycatch.store.artifacts import Problem
from safetycatch.store.locks import lock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from safetycatch.store.artifacts import Store

FOLDER = "sealed_labels"
ITEMS = "items.json"


def parts_before(store: Store) -> dict[str, Part]:
    """Return the part of every item that was ever dealt, by `LabelledItem.names`; {} before the first.

    Raises: StoreError when the file is damaged: dealing anew could move labels between tuning and the sealed test.
    """
    return merged(*(_read(store, name) for name in store.tree.names(FOLDER)))


def join(store: Store, deal: Callable[[dict[str, Part]], Mapping[str, Part]]) -> None:
    """Record the parts of items that are not recorded yet; `deal` gets those that are, nobody else adds meanwhile.

    Raises: StoreError as `parts_before`; what `deal` raises.
    """
    with store.tree.folder(FOLDER, create=True):
        pass
    with lock(store.lock_path("sealed-labels"), what="the sealed labels"):
        before = parts_before(store)
        after = {**deal(before), **before}
        if after != before:
            store.tree.write(manifests.render({"parts": after}), FOLDER, ITEMS)


def sealing_problems(store: Store, certified: Mapping[str, Collection[str]] | None = None) -> Iterator[Problem]:
    """Yield every list of sealed labels that is damaged, and that one is missing for a certificate's sealed items.

    `certified` holds the keys of the sealed items by certificate.
    """
    sealed, damaged = set[str](), False
    for name in store.tree.names(FOLDER):
        try:
            sealed |= {key for key, part in _read(store, name).items() if part == SEALED}
        except StoreError as error:
            damaged = True
            yield Problem(f"{FOLDER}/{name}", "altered", str(error))
    for certificate_id, keys in (certified or {}).items():
        if not damaged and (lost := set(keys) - sealed):
            yield Problem(
                FOLDER,
                "missing",
                f"{len(lost):,} items on which certificate {certificate_id[:12]} rests are sealed nowhere. Restore the "
                "folder: dealing anew could move labels between tuning and the sealed test",
            )


def _read(store: Store, name: str) -> dict[str, Part]:
    try:
        body = manifests.load(store.tree, FOLDER, name)
        parts: dict[str, Any] = {} if body is None else body["parts"]
        return {key: _part(value) for key, value in parts.items()}
    except (manifests.ManifestError, InputError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(
            f"{store.tree.path(FOLDER, name)} is damaged: {error}. Restore it: dealing anew could move labels between "
            "tuning and the sealed test"
        ) from None


def _part(value: Any) -> Part:
    return PARTS[PARTS.index(value)]

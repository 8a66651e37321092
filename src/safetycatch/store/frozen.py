"""Which split ledger is in force for a data file and its split settings: a small file that only ever moves forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetycatch.errors import InputError, StoreError
from safetycatch.store import manifest as manifests
from safetycatch.store.artifacts import Problem, Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.store.artifacts import Store

FOLDER = "frozen"


@dataclass(frozen=True, slots=True)
class FrozenSplit:
    """The ledger of every row ever assigned, and the split that was made of the examples with `examples_sha256`."""

    ledger: Ref
    table: Ref
    examples_sha256: str


def read_frozen(store: Store, key: str) -> FrozenSplit | None:
    """Return the frozen split of `key` (a fingerprint), or None before the first one.

    Raises: StoreError when its ledger is missing or damaged: splitting anew would move rows between train and test.
    """
    name = f"{key}.json"
    try:
        body = manifests.load(store.tree, FOLDER, name)
        found = None if body is None else _parsed(body)
    except (manifests.ManifestError, InputError, KeyError, TypeError) as error:
        raise StoreError(f"{store.tree.path(FOLDER, name)} is damaged: {error}") from None
    if found is None:
        return None
    if store.find(found.ledger.stage, found.ledger.fingerprint) is None:
        raise StoreError(
            f"the frozen split {store.tree.path(FOLDER, name)} points to a ledger that is missing or damaged; "
            "splitting anew could move rows between train and test. Restore the store, or remove that file on purpose"
        )
    return found


def write_frozen(store: Store, key: str, frozen: FrozenSplit) -> None:
    """Put a newer ledger in force; the older ones stay in the store."""
    body = {
        "ledger": frozen.ledger.as_dict(),
        "table": frozen.table.as_dict(),
        "examples_sha256": frozen.examples_sha256,
    }
    with store.tree.folder(FOLDER, create=True):
        pass
    store.tree.write(manifests.render(body), FOLDER, f"{key}.json")


def frozen_problems(store: Store) -> Iterator[Problem]:
    """Yield every frozen split that is damaged or whose ledger is gone."""
    if not store.tree.path(FOLDER).is_dir():
        return
    for name in store.tree.names(FOLDER):
        try:
            read_frozen(store, name.removesuffix(".json"))
        except StoreError as error:
            yield Problem(f"{FOLDER}/{name}", "altered", str(error))


def _parsed(body: dict[str, Any]) -> FrozenSplit:
    return FrozenSplit(Ref.from_dict(body["ledger"]), Ref.from_dict(body["table"]), str(body["examples_sha256"]))

"""The store's secret, from which the fences round judged texts are made: random once, readable by its owner only."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from safetycatch.errors import StoreError
from safetycatch.store.artifacts import Problem
from safetycatch.store.locks import lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.store.artifacts import Store

SECRET = "judge-secret"  # noqa: S105 - a file's name
N_BYTES = 32


def judge_secret(store: Store) -> bytes:
    """Return the secret of this store, made when first asked for (a file of mode 0600).

    Raises: StoreError when the file is not what was written: with another secret every verdict is asked and paid again.
    """
    try:
        return _read(store)
    except FileNotFoundError:
        pass
    with lock(store.lock_path(SECRET), what="the judges' secret"):
        try:
            return _read(store)
        except FileNotFoundError:
            store.tree.write(secrets.token_hex(N_BYTES).encode(), SECRET)
            return _read(store)


def secret_problems(store: Store) -> Iterator[Problem]:
    """Yield what is wrong with the secret; a store in which nothing was judged has none."""
    try:
        _read(store)
    except FileNotFoundError:
        pass
    except StoreError as error:
        yield Problem(SECRET, "altered", str(error))


def _read(store: Store) -> bytes:
    found = store.tree.content(SECRET, limit=4096)
    try:
        secret = bytes.fromhex(found.decode())
    except ValueError:
        secret = b""
    if len(secret) != N_BYTES:
        raise StoreError(
            f"{store.tree.path(SECRET)} is damaged; restore it, or remove it on purpose: judges are then asked anew"
        )
    return secret

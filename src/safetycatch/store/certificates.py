"""The certificates of a store: one sealed JSON file each, named by its content; added, never changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING

from safetycatch.errors import DataError, InputError, StoreError
from safetycatch.judging.certificate import Certificate
from safetycatch.store import manifest as manifests
from safetycatch.store.artifacts import Problem
from safetycatch.store.disk import named

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from safetycatch.store.artifacts import Store

FOLDER = "certificates"
PAGE = ".html"
ASIDE = ".damaged"  # what a person moved away is passed over
MAX_PAGE_BYTES = 64 << 20
SHARE_KNOWN = 0.5


class Certificates:
    """The certificates in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save(self, certificate: Certificate) -> str:
        """Write a certificate and return its id; saving the same one again changes nothing.

        Raises: StoreError naming the file.
        """
        certificate_id = certificate.certificate_id
        with self._store.tree.folder(FOLDER, create=True):
            pass
        self._store.tree.write(manifests.render(certificate.as_json()), FOLDER, f"{certificate_id}.json")
        return certificate_id

    def load(self, certificate_id: str) -> Certificate | None:
        """Return one certificate, None when there is none.

        Raises: StoreError when it is damaged.
        """
        name = f"{certificate_id}.json"
        try:
            with named("read", self._store.tree.path(FOLDER, name)):
                body = manifests.load(self._store.tree, FOLDER, name)
            if body is None:
                return None
            found = Certificate.from_json({name: value for name, value in body.items() if name != "format"})
        except (manifests.ManifestError, InputError, DataError) as error:
            raise StoreError(self._damaged(name, str(error))) from None
        if found.certificate_id != certificate_id:
            raise StoreError(self._damaged(name, "it is another certificate than its name says"))
        return found

    def _damaged(self, name: str, why: str) -> str:
        path = self._store.tree.path(FOLDER, name)
        fix = f"restore it; or mv {path} {path}{ASIDE}, and calibrate its judge again"
        return f"{path} is damaged: {why}\n  fix      {fix}"

    def page(self, certificate_id: str) -> Path:
        """Return where a certificate's page lies."""
        return self._store.tree.path(FOLDER, f"{certificate_id}{PAGE}")

    def write_page(self, certificate_id: str, text: str) -> Path:
        """Write a certificate's page beside it, its last line the SHA-256 of the rest, and return where.

        Raises: StoreError naming the file.
        """
        self._store.tree.write(_sealed_page(text.encode()), FOLDER, f"{certificate_id}{PAGE}")
        return self.page(certificate_id)

    def all(self, **about: str) -> list[Certificate]:
        """Return every certificate, the newest first; with `about`, those whose fields (texts) have these values.

        One that is damaged and yet says that it is about something else is passed over: `verify` tells of it.
        Raises: StoreError when another one is damaged.
        """
        found: list[tuple[datetime, int, str, Certificate]] = []
        for name in self._store.tree.names(FOLDER):
            if not name.endswith(".json"):
                continue
            try:
                one = self.load(name.removesuffix(".json"))
            except StoreError:
                if self._is_of_another(name, about):
                    continue
                raise
            if one is not None and all(getattr(one, field) == value for field, value in about.items()):
                found.append((one.issued_at, one.drift.get("round", 0), name, one))
        return [one for *_, one in sorted(found, key=lambda item: item[:3], reverse=True)]

    def _is_of_another(self, name: str, about: Mapping[str, str]) -> bool:
        """Whether a damaged certificate still holds, in its own spelling, another value of one of these fields."""
        try:
            lines = self._store.tree.content(FOLDER, name, limit=manifests.MAX_MANIFEST_BYTES).decode().splitlines()
        except (OSError, StoreError, ValueError):
            return False
        for field, value in about.items():
            said = [line.partition(": ")[2].rstrip(",") for line in lines if line.startswith(f' "{field}": "')]
            if len(said) == 1 and said[0].endswith('"') and said[0] != json.dumps(value, ensure_ascii=False):
                return True
        return False

    def newest(self, experiment: str) -> Certificate | None:
        """Return an experiment's newest certificate, None before the first one.

        Raises: StoreError when one is damaged.
        """
        return next(iter(self.all(experiment=experiment)), None)

    def every(self, judge_key: str) -> list[Certificate]:
        """Return the certificates of a judge, the newest first. Raises: StoreError when one is damaged."""
        return self.all(judge_key=judge_key)

    def of(self, judge_key: str, items: Collection[str] | None = None) -> Certificate | None:
        """Return the newest certificate of a judge (`asking.judge_key`), whatever its experiment is called.

        With `items` (`ItemKey.text` of labelled items), the newest that is about them (`is_about`).
        Raises: StoreError when one is damaged.
        """
        return next((one for one in self.every(judge_key) if items is None or is_about(one, items)), None)


def is_about(certificate: Certificate, items: Collection[str]) -> bool:
    """Whether at least half of a certificate's sealed items are among these labelled items (`ItemKey.text`).

    What a judge is worth on some labels says nothing of others. One without a sealed item is refused, whoever asks.
    """
    keys = certificate.sealed_keys
    return sum(key in items for key in keys) >= SHARE_KNOWN * len(keys)


def certificate_problems(store: Store) -> Iterator[Problem]:
    """Yield every certificate and every page that is not what was written, and files that are neither."""
    for name in store.tree.names(FOLDER):
        uri = f"{FOLDER}/{name}"
        try:
            if name.endswith(".json"):
                Certificates(store).load(name.removesuffix(".json"))
            elif name.endswith(PAGE):
                if not _page_is_whole(store.tree.content(FOLDER, name, limit=MAX_PAGE_BYTES)):
                    text = "the page is not what was written; safetycatch calibrate FILE writes it again"
                    yield Problem(uri, "altered", text)
            elif not name.endswith(ASIDE):
                yield Problem(uri, "unlisted", "neither a certificate nor its page")
        except StoreError as error:
            yield Problem(uri, "altered", str(error).partition("\n")[0])


def certified_keys(store: Store) -> dict[str, tuple[str, ...]]:
    """Return the keys of the sealed items by certificate, of those that can be read; recorded verdicts deal none."""
    found: dict[str, tuple[str, ...]] = {}
    for name in store.tree.names(FOLDER):
        if name.endswith(".json"):
            with contextlib.suppress(StoreError):
                one = Certificates(store).load(name.removesuffix(".json"))
                dealt = one is not None and not one.judge["recorded_sha256"]
                found |= {one.certificate_id: one.sealed_keys} if one and dealt else {}
    return found


def _sealed_page(page: bytes) -> bytes:
    page = page.rstrip(b"\n") + b"\n"
    return page + b"<!-- sha256 %s -->\n" % hashlib.sha256(page).hexdigest().encode()


def _page_is_whole(data: bytes) -> bool:
    page, _, _ = data.rstrip(b"\n").rpartition(b"\n")
    return _sealed_page(page) == data

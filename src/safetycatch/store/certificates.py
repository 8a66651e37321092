"""The certificates of a store: one sealed JSON file each, named by its content; added, never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.errors import DataError, InputError, StoreError
from safetycatch.judging.certificate import Certificate
from safetycatch.store import manifest as manifests
from safetycatch.store.artifacts import Problem
from safetycatch.store.disk import named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from safetycatch.store.artifacts import Store

FOLDER = "certificates"


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
            raise StoreError(f"{self._store.tree.path(FOLDER, name)} is damaged: {error}") from None
        if found.certificate_id != certificate_id:
            raise StoreError(f"{self._store.tree.path(FOLDER, name)} is another certificate than its name says")
        return found

    def page(self, certificate_id: str) -> Path:
        """Return where a certificate's page lies."""
        return self._store.tree.path(FOLDER, f"{certificate_id}.html")

    def write_page(self, certificate_id: str, text: str) -> Path:
        """Write a certificate's page beside it and return where.

        Raises: StoreError naming the file.
        """
        self._store.tree.write(text.encode(), FOLDER, f"{certificate_id}.html")
        return self.page(certificate_id)

    def all(self) -> list[Certificate]:
        """Return every certificate, the newest first.

        Raises: StoreError when one is damaged.
        """
        names = [name.removesuffix(".json") for name in self._store.tree.names(FOLDER) if name.endswith(".json")]
        found = [
            (one.issued_at, one.drift.get("round", 0), name, one)
            for name in names
            if (one := self.load(name)) is not None
        ]
        return [one for *_, one in sorted(found, key=lambda item: item[:3], reverse=True)]

    def newest(self, experiment: str) -> Certificate | None:
        """Return an experiment's newest certificate, None before the first one.

        Raises: StoreError when one is damaged.
        """
        return next((one for one in self.all() if one.experiment == experiment), None)

    def every(self, judge_key: str) -> list[Certificate]:
        """Return the certificates of a judge, the newest first. Raises: StoreError when one is damaged."""
        return [one for one in self.all() if one.judge_key == judge_key]

    def of(self, judge_key: str) -> Certificate | None:
        """Return the newest certificate of a judge (`asking.judge_key`), whichever experiment it was made with.

        Raises: StoreError when one is damaged.
        """
        return next((one for one in self.all() if one.judge_key == judge_key), None)


def certificate_problems(store: Store) -> Iterator[Problem]:
    """Yield every certificate that is damaged."""
    for name in store.tree.names(FOLDER):
        if not name.endswith(".json"):
            continue
        try:
            Certificates(store).load(name.removesuffix(".json"))
        except StoreError as error:
            yield Problem(f"{FOLDER}/{name}", "altered", str(error))

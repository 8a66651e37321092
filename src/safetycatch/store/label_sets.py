"""A label set: answers frozen for people to judge, and what each person said of them, in files made for git.

`labels/NAME/set.json` says what is judged and how, `items.jsonl` holds the answers in the order in which they are
shown, `by-ANNOTATOR.jsonl` one line for each act of one person. Lines are only ever added, and are on the medium
before `append` returns: any number of processes may write at a time, and a kill loses nothing that was confirmed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from safetycatch import tables
from safetycatch.errors import DataError, InputError, StoreError, UsageError
from safetycatch.folders import make_private
from safetycatch.identity import canonical_json, checked_name, fingerprint, output_hash, text_sha256
from safetycatch.judge_settings import PAIRWISE, PASS_FAIL, verdict_labels
from safetycatch.store import manifest as manifests
from safetycatch.store.disk import Tree, named
from safetycatch.store.label_events import SEPARATOR, Event, Label, Rename, Skip, Undo, from_line, to_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa

LABELS, SET, ITEMS = "labels", "set.json", "items.jsonl"
PREFIX, SUFFIX = "by-", ".jsonl"
MAX_ITEMS_BYTES, MAX_LABELS_BYTES = 1 << 30, 1 << 27

ItemKey = tuple[str, str]  # example_id, output_hash


@dataclass(frozen=True, slots=True)
class SetSettings:
    """How a set's answers are judged: `scale` and `criteria` as in `judge:`, the `rubric` that is shown, a seed.

    `source` says what the answers were taken from, for people: a run's id, or a file and its hash.
    """

    scale: str | tuple[int | str, ...] = PASS_FAIL
    criteria: dict[str, str] = field(default_factory=dict)
    rubric: str = ""
    seed: int = 0
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Every verdict that a person may give."""
        return verdict_labels(self.scale)

    @property
    def rubric_hash(self) -> str | None:
        """SHA-256 of the rubric; None without one."""
        return text_sha256(self.rubric) if self.rubric else None


class _File:
    """One person's acts, read as far as whole lines go; read further on `refresh`.

    `check` raises UsageError for an act that the set cannot have; `refused` says why the file is not read at all.
    """

    def __init__(self, path: Path, check: Callable[[Event], None]) -> None:
        self.path, self.check, self.offset, self.lines, self.inode = path, check, 0, 0, 0
        self.refused = ""
        self.events: dict[str, Event] = {}
        self.bad: list[str] = []
        self.torn = False

    def refresh(self) -> None:
        """Read what was added since."""
        if self.path.is_symlink() or not self.path.is_file():
            self.__init__(self.path, self.check)
            self.refused = "it is a link or no regular file"
            return
        with named("read", self.path), open(self.path, "rb", opener=_no_link) as file:
            status = os.fstat(file.fileno())
            size = status.st_size
            if size < self.offset or status.st_ino != self.inode:  # replaced, by git for one
                self.__init__(self.path, self.check)
                self.inode = status.st_ino
            if size > MAX_LABELS_BYTES:
                self.__init__(self.path, self.check)
                self.refused = f"it has {size:,} bytes, and at most {MAX_LABELS_BYTES:,} are read"
                return
            file.seek(self.offset)
            data = file.read(size - self.offset)
        whole, newline, rest = data.rpartition(b"\n")
        self.torn = bool(rest)
        if not newline:
            return
        for line in whole.split(b"\n"):
            self.lines += 1
            if not line:
                continue
            try:
                event = from_line(line)
                self.check(event)
            except UsageError as error:
                what = f"{error.found}, expected {error.expected}"
                self.bad.append(f"line {self.lines} of {self.path.name} was left out: {what}")
                continue
            except ValueError as error:
                self.bad.append(f"line {self.lines} of {self.path.name} is cut or damaged and was left out: {error}")
                continue
            self.events.setdefault(event.id, event)
        self.offset += len(whole) + 1

    @property
    def kept(self) -> list[Event]:
        """The acts that were not taken back, oldest first."""
        undone = {event.of for event in self.events.values() if isinstance(event, Undo)}
        return [event for event in self.events.values() if event.id not in undone and not isinstance(event, Undo)]


class LabelSet:
    """A label set on disk; safe for several threads and processes. Made by `LabelSet.create` or `LabelSet.open`."""

    def __init__(self, folder: Path, settings: SetSettings, created_at: str, items_sha256: str) -> None:
        self.folder, self.settings, self.created_at, self.items_sha256 = folder, settings, created_at, items_sha256
        self._files: dict[str, _File] = {}
        self._strays: list[str] = []
        self._guard = threading.RLock()

    @classmethod
    def create(cls, folder: Path, items: pa.Table, settings: SetSettings, *, now: datetime) -> LabelSet:
        """Freeze `items` (contract `label_items`, in the order in which they are to be shown) into a new set.

        Raises: UsageError when the folder holds a set already or is no usable name; DataError for items that are none.
        """
        checked_name(folder.name, "label set")
        if (folder / SET).exists():
            raise UsageError("there is a label set already", where=str(folder), fix="another --set NAME")
        items = tables.checked(items, "label_items", str(folder))
        if not items.num_rows:
            raise DataError("no items", where=str(folder), expected="at least one answer to be judged")
        for example_id, output, given in zip(
            *(items[name].to_pylist() for name in ("example_id", "output", "output_hash")), strict=True
        ):
            if given != output_hash(output):
                raise DataError(f"output_hash {given!r}", where=f"{folder}, {example_id}", expected=output_hash(output))
        lines = b"".join(canonical_json(_without_none(row)) + b"\n" for row in items.to_pylist())
        body = {
            "created_at": now.isoformat(timespec="seconds"),
            "items": {"rows": items.num_rows, "sha256": hashlib.sha256(lines).hexdigest()},
            "extra": [name for name in items.column_names if name not in tables.CONTRACTS["label_items"].names],
            "judged": {
                "scale": settings.scale if isinstance(settings.scale, str) else list(settings.scale),
                "criteria": [list(one) for one in settings.criteria.items()],  # in the order in which they are asked
                "rubric": settings.rubric,
                "seed": settings.seed,
            },
            "source": settings.source,
        }
        with named("make", folder):
            make_private(folder)
        tree = Tree(folder)
        # Last, and only the first of two creators: a folder without it is no set yet.
        with contextlib.closing(_Claim(folder)):
            if (folder / SET).exists():
                raise UsageError("there is a label set already", where=str(folder), fix="another --set NAME")
            tree.write(lines, ITEMS)
            tree.write(manifests.render(body), SET)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> LabelSet:
        """Open the label set in `folder`.

        Raises: UsageError when there is none; StoreError when its items or settings were altered.
        """
        try:
            body = manifests.load(Tree(folder), SET) if folder.is_dir() else None
        except manifests.ManifestError as error:
            raise StoreError(f"{folder / SET} {error}") from None
        if body is None:
            fix = "safetycatch review RUN --set NAME makes one"
            raise UsageError("no label set", where=str(folder), expected=f"a folder with {SET}", fix=fix)
        try:
            return cls(folder, _settings_of(body), _text(body["created_at"]), _text(body["items"]["sha256"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"{type(error).__name__}: {str(error)[:100]}"
            raise StoreError(f"{folder / SET} does not say what is judged and how ({what})") from None

    @cached_property
    def identity(self) -> str:
        """What tells this set from every other one, of the same name or the same items too: 64 hex digits."""
        judged = self.settings
        parts = (self.items_sha256, self.created_at, judged.seed, judged.rubric)
        return fingerprint(*parts, list(judged.verdicts), list(judged.criteria.items()))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The items as they lie in the file: in the order in which they are shown.

        Raises: StoreError when they are not those that the set was made of.
        """
        with named("read", self.folder / ITEMS):
            data = Tree(self.folder).content(ITEMS, limit=MAX_ITEMS_BYTES)
        if hashlib.sha256(data).hexdigest() != self.items_sha256:
            raise StoreError(
                f"{self.folder / ITEMS} was altered: labels are about the items that the set was made of "
                "(restore the file; new items belong into another set)"
            )
        found: list[dict[str, Any]] = []
        for number, line in enumerate(data.split(b"\n")[:-1], 1):
            try:
                row: Any = json.loads(line)
                for name in ("example_id", "candidate", "output_hash", "input", "output"):
                    _text(row[name])
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise StoreError(
                    f"line {number} of {self.folder / ITEMS} is no item ({type(error).__name__})"
                ) from None
            found.append(row)
        return found

    @property
    def n_answers(self) -> int:
        """How many answers there are to read: equal answers of several candidates to one question are one."""
        return len(self._keys)

    def items(self) -> pa.Table:
        """Return the items (contract `label_items`, slices as further columns), in the order in which they are shown.

        Raises: StoreError when they were altered.
        """
        import pyarrow as pa

        known = tables.schema("label_items")
        extra = list(dict.fromkeys(name for row in self.rows for name in row if name not in known.names))
        schema = pa.schema([*known, *((name, pa.string()) for name in extra)])
        return tables.checked(pa.Table.from_pylist(self.rows, schema=schema), "label_items", self.name)

    def annotators(self) -> list[str]:
        """Return who has done anything, who began first first."""
        self._refresh()
        with self._guard:
            begun = {name: min(e.at for e in file.events.values()) for name, file in self._files.items() if file.events}
        return sorted(begun, key=lambda name: (begun[name], name))

    def kept(self, annotator: str) -> list[Event]:
        """Return what a person did and did not take back, oldest first, failure modes as they were named then."""
        self._refresh()
        with self._guard:
            return self._files[annotator].kept if annotator in self._files else []

    def marks(self, annotator: str) -> dict[ItemKey, dict[str, Label] | None]:
        """Return what a person last said of each answer, by criterion; None where it was skipped."""
        found: dict[ItemKey, dict[str, Label] | None] = {}
        for event in self.kept(annotator):
            if isinstance(event, Label):
                found[event.example_id, event.output_hash] = {
                    **(found.get((event.example_id, event.output_hash)) or {}),
                    event.criterion: event,
                }
            elif isinstance(event, Skip):
                found.setdefault((event.example_id, event.output_hash), None)
        return found

    def renamed(self) -> dict[str, str]:
        """Return today's name of every failure mode that was renamed or merged, by anybody."""
        self._refresh()
        with self._guard:
            renames = [event for file in self._files.values() for event in file.kept if isinstance(event, Rename)]
        today: dict[str, str] = {}
        for event in sorted(renames, key=lambda event: (event.at, event.id)):
            for name in [name for name, now in today.items() if now == event.old]:
                today[name] = event.new
            today[event.old] = event.new
            today[event.new] = event.new
        return today

    def failure_modes(self) -> dict[str, int]:
        """Return how many labelled answers have each failure mode, by today's name, the oldest mode first."""
        today, answers = self.renamed(), dict[str, set[ItemKey]]()
        events = [event for name in self.annotators() for marks in self.marks(name).values() if marks
                  for event in marks.values()]  # fmt: skip
        for event in sorted(events, key=lambda event: (event.at, event.id)):
            for mode in event.failure_modes:
                answers.setdefault(today.get(mode, mode), set()).add((event.example_id, event.output_hash))
        return dict(Counter({mode: len(found) for mode, found in answers.items()}))

    def labels(self) -> pa.Table:
        """Return the labels (contract `labels`): each person's newest of an answer and criterion, per candidate.

        The same answer to the same question by several candidates is judged once and has a row for each. Where
        criteria are judged and nothing is said of the whole, the whole passes when every criterion does.
        """
        import pyarrow as pa

        from safetycatch.judging.people import with_whole

        today, of = self.renamed(), dict[ItemKey, list[dict[str, Any]]]()
        for item in self.rows:
            of.setdefault((item["example_id"], item["output_hash"]), []).append(item)
        found: list[dict[str, Any]] = []
        for annotator in self.annotators():
            for key, marks in self.marks(annotator).items():
                for event in (marks or {}).values():
                    modes = list(dict.fromkeys(today.get(mode, mode) for mode in event.failure_modes))
                    said = {
                        "annotator": annotator,
                        "criterion": event.criterion,
                        "label": event.label,
                        "critique": event.critique or None,
                        "failure_mode": SEPARATOR.join(modes) or None,
                        "rubric_hash": event.rubric_hash,
                        "labelled_at": event.at.isoformat(),
                    }
                    found += [
                        {
                            "example_id": item["example_id"],
                            "candidate": item["candidate"],
                            "output_hash": item["output_hash"],
                            "sampling_probability": item.get("sampling_probability"),
                            **said,
                        }
                        for item in of.get(key, [])
                    ]
        said_of = pa.Table.from_pylist(found, schema=tables.schema("labels"))
        return tables.checked(with_whole(said_of, self.settings.criteria), "labels", self.name)

    @property
    def notes(self) -> list[str]:
        """What could not be read: lines that a kill cut, and labels about answers that the set does not hold."""
        self._refresh()
        keys = {(item["example_id"], item["output_hash"]) for item in self.rows}
        with self._guard:
            told = [*self._strays, *(text for file in self._files.values() for text in file.bad)]
            told += [f"{one.path.name} was left out: {one.refused}" for one in self._files.values() if one.refused]
            told += [
                f"the last line of {file.path.name} was cut while it was written, before it counted as saved"
                for file in self._files.values()
                if file.torn
            ]
        for name in self.annotators():
            if strays := sum(key not in keys for key in self.marks(name)):
                told.append(f"{strays} labels of {name} are about answers that {self.name} does not hold: left out")
        return told

    def append(self, annotator: str, *events: Event) -> None:
        """Add what a person did; it is on the medium when this returns. An event whose id is there is not added again.

        Raises: UsageError for an answer, criterion or verdict that the set does not have, or an undo of nothing;
        InputError for a name that is none; StoreError naming the file.
        """
        checked_name(annotator, "annotator")
        path = self.folder / f"{PREFIX}{annotator}{SUFFIX}"
        for event in events:
            self._check(event)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._guard, named("write", path):
            fresh = not path.exists()
            fd = os.open(path, flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                file = self._files.setdefault(annotator, _File(path, self._check_judged))
                file.refresh()
                if file.refused:
                    raise StoreError(f"{path} cannot be read: {file.refused}")
                self._check_undo(file, events)
                new = {event.id: event for event in events if event.id not in file.events}
                if not new:
                    os.fsync(fd)  # written by another who may not have come this far
                    return
                # After a kill in the middle of a line, ours must not become part of it.
                start = b"\n" if file.torn else b""
                self._write(fd, start + b"".join(to_line(event) for event in new.values()))
                if fresh:
                    _fsync_folder(self.folder)
                file.refresh()
            finally:
                os.close(fd)

    @staticmethod
    def _write(fd: int, data: bytes) -> None:
        """Write all of `data` and bring it to the medium, or leave the file as it was."""
        size = os.fstat(fd).st_size
        try:
            done = os.write(fd, data)
            while done < len(data):
                done += os.write(fd, data[done:])
            os.fsync(fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, size)
            raise

    @cached_property
    def _keys(self) -> set[ItemKey]:
        return {(item["example_id"], item["output_hash"]) for item in self.rows}

    def _check(self, event: Event) -> None:
        if isinstance(event, (Label, Skip)) and (event.example_id, event.output_hash) not in self._keys:
            raise UsageError(f"no answer {event.example_id[:80]!r} {event.output_hash}", where=f"label set {self.name}")
        self._check_judged(event)

    def _check_judged(self, event: Event) -> None:
        if not isinstance(event, Label):
            return
        if event.label not in self.settings.verdicts:
            expected = ", ".join(self.settings.verdicts)
            raise UsageError(f"the label {event.label[:80]!r}", where=f"label set {self.name}", expected=expected)
        if event.criterion and event.criterion not in self.settings.criteria:
            expected = ", ".join(self.settings.criteria) or "no criterion: the whole answer is judged"
            raise UsageError(f"criterion {event.criterion[:80]!r}", where=f"label set {self.name}", expected=expected)

    def _check_undo(self, file: _File, events: Sequence[Event]) -> None:
        known = {*file.events, *(event.id for event in events)}
        for event in events:
            if isinstance(event, Undo) and event.of not in known:
                raise UsageError(f"nothing to undo: no event {event.of}", where=str(file.path))

    def _refresh(self) -> None:
        with self._guard:
            self._strays = []
            for path in sorted(self.folder.glob(f"{PREFIX}*{SUFFIX}")):
                annotator = path.name[len(PREFIX) : -len(SUFFIX)]
                if annotator in self._files:
                    continue
                try:
                    self._files[checked_name(annotator, str(path))] = _File(path, self._check_judged)
                except InputError as error:
                    what = f"{annotator[:80]!r} names no annotator (expected {error.expected})"
                    self._strays.append(f"{path.name[:80]!r} was left out: {what}")
            for name, file in list(self._files.items()):
                if file.path.is_symlink() or file.path.exists():
                    file.refresh()
                else:
                    del self._files[name]


class _Claim:
    """Held while a set is made: a second process waits, then sees the first one's set."""

    def __init__(self, folder: Path) -> None:
        with named("lock", folder):
            self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let the next one in."""
        os.close(self._fd)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _settings_of(body: dict[str, Any]) -> SetSettings:
    """Return what `create` wrote. Raises: KeyError, TypeError, ValueError, AttributeError for something else."""
    judged = body["judged"]
    scale, criteria = judged["scale"], {_text(name): _text(text) for name, text in judged["criteria"]}
    if not isinstance(scale, str):
        scale = tuple(grade if type(grade) is int else _text(grade) for grade in scale)
    if scale not in {PASS_FAIL, PAIRWISE} and (isinstance(scale, str) or not scale):
        raise ValueError(f"scale {judged['scale']!r:.60}")
    if type(judged["seed"]) is not int:
        raise TypeError("seed")
    return SetSettings(scale, criteria, _text(judged["rubric"]), judged["seed"], dict(body["source"].items()))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} where a text is expected")
    return value


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _without_none(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}

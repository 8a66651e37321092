"""What one person at the page sees and does: the answers in their order, and acts that are saved when they return.

Nothing that would sway a verdict leaves this room: no candidate's name, no judge's verdict, no score, and not why an
answer was picked.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from safetycatch.errors import UsageError
from safetycatch.identity import keyed_fraction
from safetycatch.judge_settings import FIRST, PAIRWISE, PASS, PASS_FAIL, SECOND, TIE
from safetycatch.report.escaping import visible
from safetycatch.store.label_events import Begin, Event, Label, Rename, Skip, Undo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from safetycatch.store.label_sets import ItemKey, LabelSet

SHARED = 0.2
FOLDED = 3_000
CHUNK = 100_000
HISTORY = 1000
MAX_ACTS = 50
PARTS = ("input", "output", "first", "second", "reference")
# Without the letters that do something else: c e m n o r s u, and p f where they mean pass and fail.
LETTERS = "abdghijklqtvwxyz"


def verdict_keys(scale: str | tuple[int | str, ...], verdicts: tuple[str, ...]) -> dict[str, str]:
    """Return the key that gives each verdict: p f, a b t for pairs, digits for grades, else digits, then letters."""
    if scale == PASS_FAIL:
        return {verdict: verdict[0] for verdict in verdicts}
    if scale == PAIRWISE:
        return {FIRST: "a", SECOND: "b", TIE: "t"}
    if all(len(verdict) == 1 and verdict.isdigit() for verdict in verdicts):
        return {verdict: verdict for verdict in verdicts}
    return dict(zip(verdicts, "123456789" + LETTERS, strict=False))


class AnotherSetError(UsageError):
    """A page of another label set asks: its numbers of answers mean others here."""


class Desk:
    """A label set as people work on it; several at a time, from several servers."""

    def __init__(self, labels: LabelSet, *, annotator: str, again: str, now: Callable[[], datetime]) -> None:
        """`annotator` is who is meant where a page names nobody, `again` the command that opens this page."""
        self.labels, self.annotator, self.again, self._now = labels, annotator, again, now

    @cached_property
    def answers(self) -> dict[ItemKey, dict[str, Any]]:
        """What is judged, in the set's order: equal answers to one question are one."""
        found: dict[ItemKey, dict[str, Any]] = {}
        for row in self.labels.rows:
            found.setdefault((row["example_id"], row["output_hash"]), row)
        return found

    @cached_property
    def _keys(self) -> list[ItemKey]:
        return list(self.answers)

    @cached_property
    def _shared(self) -> frozenset[ItemKey]:
        seed = self.labels.settings.seed
        return frozenset(key for key in self._keys if keyed_fraction(seed, "shared", key[0]) < SHARED)

    def check(self, identity: str) -> None:
        """Refuse a page of another label set. Raises: AnotherSetError."""
        if identity != self.labels.identity:
            raise AnotherSetError(
                "this page is of another label set than the one that is served here now",
                where=f"label set {self.labels.name}",
                fix="open the link that this set's server printed",
            )

    def begin(self, annotator: str) -> None:
        """Note that a person has come, the first time.

        Raises: InputError for a name that cannot be a file's.
        """
        if annotator not in self.labels.annotators():
            self.labels.append(annotator, Begin(at=self._now()))

    def queue(self, annotator: str) -> list[int]:
        """Return the numbers of the answers that this person has not dealt with, in their order.

        Everybody judges a keyed fifth of the questions, and of the others what nobody else has judged. Who came first
        goes through them as the set is ordered; the others begin with the shared fifth, then go in an order of theirs.
        """
        people = self.labels.annotators()
        others = [name for name in people if name != annotator]
        mine = self.labels.marks(annotator)
        taken = {key for name in others for key, marks in self.labels.marks(name).items() if self._whole(marks)}
        open_ = [
            number
            for number, key in enumerate(self._keys)
            if not (key in mine and self._dealt(mine[key])) and (key in self._shared or key not in taken)
        ]
        if not people or people[0] == annotator:
            return open_
        seed = self.labels.settings.seed

        def order(number: int) -> tuple[bool, float]:
            key = self._keys[number]
            return key not in self._shared, 0.0 if key in self._shared else keyed_fraction(seed, annotator, *key)

        return sorted(open_, key=order)

    def _dealt(self, marks: Mapping[str, Label] | None) -> bool:
        return marks is None or self._whole(marks)

    def _whole(self, marks: Mapping[str, Label] | None) -> bool:
        """Whether an answer is judged to the end: by every criterion, or as a whole."""
        return bool(marks) and ("" in marks or self.labels.settings.criteria.keys() <= marks.keys())

    def state(self, annotator: str) -> dict[str, Any]:
        """Return everything that a page needs to begin or to go on: settings, queue, failure modes, what was done."""
        settings, done = self.labels.settings, self.labels.kept(annotator)
        keys, numbers = verdict_keys(settings.scale, settings.verdicts), {k: n for n, k in enumerate(self._keys)}
        return {
            "annotator": annotator,
            "scale": settings.scale if isinstance(settings.scale, str) else "grades",
            "verdicts": [{"label": label, "key": keys.get(label, "")} for label in settings.verdicts],
            "criteria": [{"name": visible(name), "text": visible(text)} for name, text in settings.criteria.items()],
            "queue": self.queue(annotator),
            "modes": self.modes(),
            "saved": self.saved(annotator),
            "done": sum(self._dealt(marks) for marks in self.labels.marks(annotator).values()),
            "history": [
                {"id": event.id, "item": numbers[event.example_id, event.output_hash]}
                for event in done
                if isinstance(event, (Label, Skip)) and (event.example_id, event.output_hash) in numbers
            ][-HISTORY:],
            "again": self.again,
        }

    def modes(self) -> list[dict[str, Any]]:
        """Return the failure modes in the order in which they were first named, with the answers that have each."""
        return [{"name": visible(name), "n": n} for name, n in self.labels.failure_modes().items()]

    def saved(self, annotator: str) -> int:
        """Return how many answers of this person are on the medium, judged to the end."""
        return sum(self._whole(marks) for marks in self.labels.marks(annotator).values())

    def shown(self, annotator: str, number: int) -> dict[str, Any]:
        """Return an answer as the page shows it: its parts, the beginning of each and how many characters follow.

        Raises: UsageError for a number that none has.
        """
        parts = self._parts(annotator, number)
        return {
            "item": number,
            "parts": {name: {"text": visible(text[:FOLDED]), "more": max(0, len(text) - FOLDED)}
                      for name, text in parts.items()},
        }  # fmt: skip

    def text(self, annotator: str, number: int, part: str, start: int) -> dict[str, Any]:
        """Return more of a long part, from the character `start`, and how many characters follow.

        Raises: UsageError for a part that the answer does not have.
        """
        parts = self._parts(annotator, number)
        if part not in parts or start < 0:
            raise UsageError(f"no part {part[:80]!r} from {start}", expected=", ".join(parts))
        whole = parts[part]
        return {"text": visible(whole[start : start + CHUNK]), "more": max(0, len(whole) - start - CHUNK)}

    def _key(self, number: object) -> ItemKey:
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(self._keys):
            raise UsageError(f"no answer {number!r:.80}", expected=f"0 to {len(self._keys) - 1}")
        return self._keys[number]

    def _parts(self, annotator: str, number: int) -> dict[str, str]:
        key = self._key(number)
        item = self.answers[key]
        if self.labels.settings.scale == PAIRWISE:
            pair = json.loads(item["output"])
            left, right = (SECOND, FIRST) if self._swapped(annotator, key) else (FIRST, SECOND)
            judged = {"first": pair[left], "second": pair[right]}
        else:
            judged = {"output": item["output"]}
        reference = {"reference": item["reference"]} if item.get("reference") else {}
        return {"input": item["input"], **judged, **reference}

    def _swapped(self, annotator: str, key: ItemKey) -> bool:
        """Whether a pair's second answer is shown first to this person; the same at every look."""
        return keyed_fraction(self.labels.settings.seed, "side", annotator, *key) < 0.5

    def act(self, annotator: str, acts: list[Any]) -> dict[str, Any]:
        """Save what a page sends; every act is on the medium when this returns, or none is.

        An act that was sent before (its id is known) is not saved twice.
        Raises: InputError saying what is wrong with which act.
        """
        if len(acts) > MAX_ACTS:
            raise UsageError(f"{len(acts)} acts at once", expected=f"at most {MAX_ACTS}")
        events = [self._event(annotator, body) for body in acts]
        self.labels.append(annotator, *events)
        return {"saved": self.saved(annotator), "modes": self.modes()}

    def _event(self, annotator: str, body: Any) -> Event:
        if not isinstance(body, dict):
            raise UsageError(f"found {body!r:.80}", expected="an object for each act")
        said, at, own = _Said(body), self._now(), str(body.get("id"))
        kind = said.text("do")
        if kind == "undo":
            return Undo(at=at, id=own, of=said.text("of"))
        if kind == "rename":
            return Rename(at=at, id=own, old=said.text("old"), new=said.text("new"))
        key = self._key(body.get("item"))
        if kind == "skip":
            return Skip(at=at, id=own, example_id=key[0], output_hash=key[1])
        if kind != "label":
            raise UsageError(f"found {kind[:80]!r}", expected="label, skip, undo or rename")
        label = said.text("label")
        if self.labels.settings.scale == PAIRWISE and self._swapped(annotator, key):
            label = {FIRST: SECOND, SECOND: FIRST}.get(label, label)
        return Label(
            at=at,
            id=own,
            example_id=key[0],
            output_hash=key[1],
            label=label,
            criterion=said.text("criterion", ""),
            critique=said.text("critique", "").strip(),
            failure_modes=() if label == PASS else said.texts("modes"),
            rubric_hash=self.labels.settings.rubric_hash,
        )


class _Said:
    """The fields of an act as a page sent them: texts, or an error that names the field."""

    def __init__(self, body: dict[Any, Any]) -> None:
        self._body = body

    def text(self, name: str, otherwise: str | None = None) -> str:
        value = self._body.get(name, otherwise)
        if not isinstance(value, str):
            raise UsageError(f"{name}: {value!r:.80}", expected="text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._body.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise UsageError(f"{name}: {value!r:.80}", expected="a list of texts")
        return tuple(value)

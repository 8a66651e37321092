"""Labels from a file on their way into a label set: what is new, what is known, and what contradicts what is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from safetycatch.errors import DataError, UsageError
from safetycatch.judge_settings import FAIL, PAIRWISE, PASS, PASS_FAIL
from safetycatch.store.label_events import SEPARATOR, Label
from safetycatch.store.label_sets import LabelSet, SetSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safetycatch.data.label_files import Labelled

SHOWN = 20
Slot = tuple[str, str, str, str]  # annotator, example, hash of the output, criterion


@dataclass(frozen=True, slots=True)
class Conflict:
    """One person's two labels of one answer and criterion: in the set, and in the file."""

    annotator: str
    example_id: str
    criterion: str
    here: str
    there: str

    @property
    def text(self) -> str:
        """The conflict in a line."""
        what = f" ({self.criterion})" if self.criterion else ""
        return f"{self.annotator} on {self.example_id[:60]}{what}: {self.here} in the set, {self.there} in the file"


@dataclass(slots=True)
class Merging:
    """What an import would do: labels to add by annotator, how many are there already, and conflicts.

    `n_equal` labels say again what the same person's one to add says: of an answer that several candidates gave.
    """

    new: dict[str, list[Label]] = field(default_factory=dict[str, list[Label]])
    n_known: int = 0
    n_equal: int = 0
    conflicts: list[Conflict] = field(default_factory=list[Conflict])

    @property
    def n_new(self) -> int:
        """The number of labels to add."""
        return sum(map(len, self.new.values()))


def merging(into: LabelSet, found: Labelled, names: Mapping[str, str], *, now: datetime) -> Merging:
    """Return what an import of `found` would add to a set; `names` gives annotators of the file other names.

    A label that is there already is known, another label of the same person, answer and criterion a conflict: neither
    is written. Labels without a time get `now`.
    Raises: DataError for answers that the set does not hold; InputError for annotators whose names are none.
    """
    _check_items(into, found)
    labels = into.labels().to_pylist()
    here: dict[Slot, str] = {_slot(row, row["annotator"]): row["label"] for row in labels}
    whole = _derived(found)
    planned: dict[Slot, Label] = {}
    made = Merging()
    for row in found.labels.to_pylist():
        annotator = names.get(row["annotator"], row["annotator"])
        slot = _slot(row, annotator)
        earlier = here.get(slot) or (planned[slot].label if slot in planned else None)
        if earlier is not None:
            made.n_known += slot in here and earlier == row["label"]
            made.n_equal += slot not in here and earlier == row["label"]
            if earlier != row["label"]:
                made.conflicts.append(Conflict(annotator, row["example_id"], row["criterion"], earlier, row["label"]))
        elif (slot, row["label"]) not in whole:
            planned[slot] = _event(row, annotator, now)
    for (annotator, *_), event in planned.items():
        made.new.setdefault(annotator, []).append(event)
    return made


def write(into: LabelSet, made: Merging) -> None:
    """Add the new labels to a set. Raises: as `LabelSet.append`."""
    for annotator, events in made.new.items():
        into.append(annotator, *events)


def scale_of(text: str) -> str | tuple[int | str, ...]:
    """Return the scale that `text` names: pass_fail, pairwise, or grades or classes between commas.

    Raises: UsageError for fewer than two, or one twice.
    """
    if text in {PASS_FAIL, PAIRWISE}:
        return text
    names = [name.strip() for name in text.split(",")]
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        expected = f"{PASS_FAIL}, {PAIRWISE}, or at least two grades or classes, as 1,2,3 or billing,other"
        raise UsageError(f"{text[:80]!r}", where="--scale", expected=expected)
    graded = all(name.isascii() and name.isdecimal() and len(name) < 10 for name in names)
    return tuple(sorted(map(int, names))) if graded else tuple(names)


def made_of_file(
    folder: Path, found: Labelled, source: dict[str, Any], *, scale: str | tuple[int | str, ...], now: datetime
) -> LabelSet:
    """Return a new, empty label set of a file's answers, judged on `scale`; its criteria are those of the labels.

    Raises: as `LabelSet.create`.
    """
    criteria = sorted({row["criterion"] for row in found.labels.to_pylist()} - {""})
    return LabelSet.create(folder, found.items, SetSettings(scale, dict.fromkeys(criteria, ""), source=source), now=now)


def _slot(row: Mapping[str, Any], annotator: str) -> Slot:
    return annotator, row["example_id"], row["output_hash"], row["criterion"]


def _event(row: Mapping[str, Any], annotator: str, now: datetime) -> Label:
    at = datetime.fromisoformat(row["labelled_at"]) if row["labelled_at"] else now
    modes = [mode for mode in (row["failure_mode"] or "").split(SEPARATOR.strip()) if mode.strip()]
    try:
        return Label(
            at=at if at.tzinfo else at.replace(tzinfo=UTC),
            example_id=row["example_id"],
            output_hash=row["output_hash"],
            label=row["label"],
            criterion=row["criterion"],
            critique=row["critique"] or "",
            failure_modes=tuple(modes),
            rubric_hash=row["rubric_hash"],
        )
    except UsageError as error:
        raise DataError(
            error.found, where=f"{annotator} on {row['example_id'][:60]}", expected=error.expected
        ) from None


def _derived(found: Labelled) -> set[tuple[Slot, str]]:
    """Return the verdicts on whole answers that follow from the same person's criteria: a set derives them itself."""
    criteria: dict[tuple[str, ...], dict[str, str]] = {}
    for row in found.labels.to_pylist():
        criteria.setdefault(_slot(row, row["annotator"])[:3], {})[row["criterion"]] = row["label"]
    names = {name for said in criteria.values() for name in said} - {""}
    return {
        ((*key, ""), said[""])  # type: ignore[arg-type]
        for key, said in criteria.items()
        if names
        and "" in said
        and names <= said.keys()
        and said[""] == (PASS if all(said[name] == PASS for name in names) else FAIL)
    }


def _check_items(into: LabelSet, found: Labelled) -> None:
    """Raise unless the set holds every answer of a file, as it is there."""
    there = {(row["example_id"], row["output_hash"]) for row in into.rows}
    ids = {example_id for example_id, _ in there}
    strange = [
        row for row in found.items.to_pylist() if (row["example_id"], row["output_hash"]) not in there
    ]  # an unlabelled row that is strange hints at the wrong set too
    if not strange:
        return
    changed = [row for row in strange if row["example_id"] in ids]
    shown = ", ".join(row["example_id"][:40] for row in (changed or strange)[:SHOWN])
    more = len(changed or strange) - SHOWN
    found_text = (
        f"{len(changed):,} answers are not those of the set"
        if changed
        else f"{len(strange):,} examples are not in the set"
    )
    raise DataError(
        f"{found_text}: {shown}{f' and {more:,} more' if more > 0 else ''}",
        where=f"label set {into.name}",
        expected="labels of the set's answers, each exactly as it was exported",
        fix="labels import another NAME makes a set of its own of them",
    )

"""What calibration works on: labelled items in their parts, what the judge says of them, and the looks it takes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prefect import task

from safetycatch.data.label_files import item_key
from safetycatch.errors import DataError, UsageError
from safetycatch.identity import fingerprint
from safetycatch.judge_settings import FIRST, PAIRWISE, SECOND, JudgeSettings
from safetycatch.judging.calibration import JudgedItem
from safetycatch.judging.jury import combined
from safetycatch.judging.people import consensus
from safetycatch.judging.sealing import (
    DEV,
    FEW_SHOT,
    LEFT_OUT,
    SEALED,
    ItemKey,
    LabelledItem,
    Part,
    overlaps,
    part_before,
    recorded,
    seal,
)
from safetycatch.store.looks import SKETCH_SIZE, Look, distinct, looker, looks_of, sketch_of
from safetycatch.store.sealings import join, parts_before
from safetycatch.tables import CONTRACTS, schema
from tasks.evaluate import keep_rows
from tasks.judge import judged, judging_entry
from tasks.labels import labelled
from tasks.stage import CacheKey, Place, parents_of, stage_fingerprint, transient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from safetycatch.data.label_files import Labelled
    from safetycatch.judging.jury import Ruling
    from safetycatch.judging.sealing import Overlap, Sealing
    from tasks.start import Inputs

STAGE, VERSION = "label-verdicts", "1"
LOOK_PURPOSE = "calibrate"
# Verdicts on labelled items belong to no candidate's run; two outputs of one row are told apart by their replicate.
ITEM_COLUMNS = CONTRACTS["label_items"].names


@dataclass(frozen=True, slots=True)
class Material:
    """What a judge is calibrated by: every labelled item with its one label and part, verdicts not yet.

    `labels_hash` names what people said. `disputed` are the items on which they do not settle: no part and no figure
    has them, but how well people agree cannot be told without them.
    """

    settings: JudgeSettings
    labelled: Labelled
    items: tuple[JudgedItem, ...]
    left_out: dict[str, int]
    labels_hash: str
    disputed: tuple[JudgedItem, ...]
    notes: tuple[str, ...]

    def of(self, *parts: Part) -> list[JudgedItem]:
        """Return the items of some parts."""
        return [item for item in self.items if item.part in parts]

    @property
    def to_judge(self) -> list[JudgedItem]:
        """The items that the judge is asked about: recorded verdicts are read for every item."""
        own = list(self.items) if self.settings.verdicts is not None else self.of(DEV, SEALED)
        return [*own, *self.disputed]


@dataclass(frozen=True, slots=True)
class People:
    """What people said: the table, every item on which they settle, its part not known yet, and those they do not."""

    labelled: Labelled
    items: tuple[JudgedItem, ...]
    disputed: tuple[JudgedItem, ...]


def read_people(inputs: Inputs) -> People:
    """Return the labels of an experiment's judge, one for each item.

    Raises: UsageError without a judge or labels; what reading them raises.
    """
    settings, path = inputs.experiment.judge, inputs.path
    if settings is None:
        raise UsageError("no judge", where=str(path), expected="judge: {model: …, prompt: judge.md, labels: …}")
    if settings.labels is None:
        raise UsageError(
            "no labels: a judge is calibrated by what people say",
            where=f"{path}: judge.labels",
            expected="a label set or a file with the columns output and label",
            fix=f"safetycatch review {inputs.typed}, then judge: {{labels: labels/NAME}}",
        )
    found = labelled(path.parent / settings.labels, settings)
    rule = "median" if settings.grades else "majority"
    # Who settled the criteria settled the whole: the queue of disputes says so too.
    labels = consensus(found.labels, rule=rule, criteria=list(settings.criteria))
    rows = {ItemKey(*item_key(row)): row for row in found.items.to_pylist()}
    has_chances = any(row["sampling_probability"] is not None for row in rows.values())
    critiques = _critiques(found.labels)
    items = [
        _item(key, rows[key], label or "", has_chances=has_chances, critiques=critiques.get(key, ()))
        for key, label in labels.items()
        if key in rows
    ]
    disputed = tuple(replace(item, part=LEFT_OUT) for item in items if not item.label)
    return People(found, tuple(item for item in items if item.label), disputed)


def read_material(inputs: Inputs, place: Place) -> Material:
    """Return the labelled items of an experiment's judge, each in its part for good.

    Recorded verdicts cannot be tuned here, so that all items drawn are their sealed test. Otherwise what was dealt
    before stays where it is.
    Raises: DataError where no label can be used; as `read_people`.
    """
    people = read_people(inputs)
    settings = inputs.experiment.judge
    if settings is None or not people.items:
        raise DataError(
            f"no label that stands ({len(people.disputed)} items are disputed)",
            where=f"{inputs.path}: judge.labels",
            expected="labelled items",
            fix="safetycatch labels adjudicate" if people.disputed else f"safetycatch review {inputs.typed}",
        )
    said = fingerprint(sorted([*item.key, item.label] for item in people.items))
    if settings.verdicts is not None:
        parts: dict[ItemKey, Part] = {item.key: SEALED if item.drawn else DEV for item in people.items}
        left_out: dict[str, int] = {}
    else:
        own = [as_labelled(item) for item in people.items]
        dealt: list[Sealing] = []

        def deal(before: dict[str, Part]) -> dict[str, Part]:
            dealt.append(seal(own, before))
            return recorded(own, dealt[-1])

        join(place.open_store(), deal)
        parts, left_out = dealt[-1].parts, dealt[-1].why
    return Material(
        settings,
        people.labelled,
        tuple(replace(item, part=parts[item.key]) for item in people.items),
        left_out,
        said,
        people.disputed,
        people.labelled.notes,
    )


def item_names(found: Labelled) -> set[str]:
    """Return the labelled items by `ItemKey.text`, disputed ones too: which certificates are about them."""
    return {ItemKey(*item_key(row)).text for row in found.items.to_pylist()}


def dealt_items(people: People, place: Place) -> list[JudgedItem]:
    """Return the items that a calibration has dealt already, in their parts; nothing is dealt here."""
    before = parts_before(place.open_store())
    dealt = ((item, part_before(as_labelled(item), before)) for item in people.items)
    return [replace(item, part=part) for item, part in dealt if part is not None]


def sealed_overlaps(inputs: Inputs, items: Sequence[JudgedItem], shots: Sequence[dict[str, Any]] = ()) -> list[Overlap]:
    """Return the sealed ones of `items` whose texts the judge could know.

    It knows its rubric, the `shots` that it is shown, and dev and few-shot items.
    """
    seen = {part: ["\n".join(texts_of(item)) for item in items if item.part == part] for part in (FEW_SHOT, DEV)}
    seen["judge.shots"] = [f"{shot['input']}\n{shot['output']}" for shot in shots]
    files = {juror.prompt for juror in inputs.experiment.judges}
    rubrics = {name: prompt.text for name, prompt in inputs.prompts.items() if name in files}
    sealed = (as_labelled(item) for item in items if item.part == SEALED)
    return overlaps(sealed, seen, prompts=rubrics)


def _item(
    key: ItemKey, row: dict[str, Any], label: str, *, has_chances: bool, critiques: tuple[str, ...]
) -> JudgedItem:
    return JudgedItem(
        key=key,
        part=SEALED,
        label=label,
        verdict=None,
        input=row["input"] or "",
        output=row["output"],
        reference=row["reference"] or "",
        probability=row["sampling_probability"],
        drawn=not has_chances or row["sampling_probability"] is not None,
        slices={name: str(value) for name, value in row.items() if name not in ITEM_COLUMNS and value is not None},
        critiques=critiques,
    )


def as_labelled(item: JudgedItem) -> LabelledItem:
    """Return an item as it is dealt."""
    return LabelledItem(item.key, item.label, texts_of(item), item.drawn)


def texts_of(item: JudgedItem) -> tuple[str, ...]:
    """Return the texts by which an item is known again: what was asked, and the answer."""
    return (item.input, item.output)


def _critiques(labels: pa.Table) -> dict[ItemKey, tuple[str, ...]]:
    found: dict[ItemKey, tuple[str, ...]] = {}
    for row in labels.to_pylist():
        told = "; ".join(text for text in (row["failure_mode"], row["critique"]) if text)
        if told:
            key = ItemKey(row["example_id"], row["candidate"], row["output_hash"])
            found[key] = (*found.get(key, ()), f"{row['annotator']}: {told}")
    return found


def question_of(item: JudgedItem, settings: JudgeSettings, replicate: int = 0) -> dict[str, Any]:
    """Return an item as `tasks.judge` asks about it. Raises: DataError for a pair that is not `{first, second}`."""
    about: dict[str, Any] = {
        "example_id": item.key.example_id,
        "candidate": item.key.candidate,
        "replicate": replicate,
        "input": item.input,
        "reference": item.reference,
    }
    if settings.scale != PAIRWISE:
        return {**about, "output": item.output}
    try:
        pair = json.loads(item.output)
        return {**about, FIRST: str(pair[FIRST]), SECOND: str(pair[SECOND])}
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"the output {item.output[:40]!r}",
            where=f"the label of {item.key.example_id}",
            expected='a pair as JSON: {"first": "…", "second": "…"}',
        ) from None


def questions_of(items: Sequence[JudgedItem], settings: JudgeSettings, nth: int = 0) -> list[dict[str, Any]]:
    """Return the questions about `items`; of several outputs for one row and candidate, the second is replicate 1.

    Those of another round (`nth`) are asked anew, whatever was answered before.
    """
    asked = [question_of(item, settings, replicate) for item, replicate in _numbered(items)]
    return [{**question, "round": nth} for question in asked] if nth else asked


def _numbered(items: Sequence[JudgedItem]) -> Iterator[tuple[JudgedItem, int]]:
    seen: dict[tuple[str, str], int] = {}
    for item in items:
        about = item.key.example_id, item.key.candidate
        seen[about] = seen.get(about, -1) + 1
        yield item, seen[about]


def with_verdicts(
    items: Sequence[JudgedItem], rows: Sequence[dict[str, Any]], settings: JudgeSettings
) -> list[JudgedItem]:
    """Return `items` with the judge's ruling on each, from rows of the `verdicts` contract."""
    rulings: dict[tuple[str, str, int], Ruling] = combined(rows, settings)
    judged_items: list[JudgedItem] = []
    for item, replicate in _numbered(items):
        ruling = rulings.get((item.key.candidate, item.key.example_id, replicate))
        if ruling is None:
            judged_items.append(replace(item, status="unasked"))
            continue
        judged_items.append(replace(item, verdict=ruling.label, status=ruling.status, judge_critique=ruling.critique))
    return judged_items


@task(
    name=STAGE,
    task_run_name="judge the labelled items of {settings[experiment]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=2,
    retry_condition_fn=transient,
)
def judge_labels(place: Place, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the reference of the `verdicts` on the questions in `settings`; its facts hold the calls.

    With verdicts that infrastructure failed it is `label-verdicts-partial`, as in `evaluate`: they are asked again.
    Raises: what the engine raises, after everything answered is in the journal.
    """
    store, columns = place.open_store(), schema("verdicts")
    name = stage_fingerprint(STAGE, VERSION, settings, parents_of({}))
    found = store.find(STAGE, name)
    if found is not None:
        return found.as_dict()
    with store.lock(STAGE, name):
        rows, facts = judged(place, settings["judging"], settings["questions"], "calibrate")
    return keep_rows(STAGE, VERSION, place, settings, parents_of({}), rows, facts, columns=columns)


def judging_settings(
    inputs: Inputs, items: Sequence[JudgedItem], settings: JudgeSettings, nth: int = 0
) -> dict[str, Any]:
    """Return the settings of `judge_labels` for `items`, asked for the `nth` time anew."""
    return {
        "experiment": inputs.experiment.name,
        "judging": judging_entry(inputs),
        "questions": questions_of(items, settings, nth),
    }


# -- looks at the sealed test -----------------------------------------------------------------------------------------


def look_at(inputs: Inputs, place: Place, material: Material, judge_key: str, nth: int = 0) -> Look:
    """Return the look that measuring this judge on the sealed test is; the same judge and labels are a replay."""
    sealed = material.of(SEALED)
    # A second opinion makes an item disputed, which withdraws no label.
    standing = sketch_of(item.key.text for item in (*sealed, *material.disputed))
    return Look(
        claim=f"judge of {inputs.experiment.name}",
        content=fingerprint(judge_key, nth, sorted([item.key.text, item.label] for item in sealed)),
        purpose=LOOK_PURPOSE,
        run_id=place.run_id,
        who=looker(),
        looked_at=place.open_store().clock(),
        terms={"judge": judge_key, "standing": standing},
        candidates=(judge_key,),
        n_items=len(sealed),
        sketch=sketch_of(item.key.text for item in sealed),
    )


@dataclass(frozen=True, slots=True)
class Looked:
    """How often the sealed test was looked at, this look included.

    `revision`: with this judge. `total`: what the budget counts, one for each revision of a judge, and one more each
    time that labels were withdrawn before the same one was measured again; more labels for it cost nothing.
    """

    revision: int
    total: int


def spent_looks(looks: Sequence[Look]) -> int:
    """Return what looks at a sealed test cost of their budget, the first one first (`Looked.total`)."""
    spent = dict[tuple[str, ...], list[list[Look]]]()
    for look in looks:
        chains = spent.setdefault(look.candidates, [])
        own = next((chain for chain in chains if _keeps(chain[-1], look)), None)
        if own is None:
            chains.append([look])
        else:
            own.append(look)
    return sum(map(len, spent.values()))


def _keeps(before: Look, now: Look) -> bool:
    """Whether no item that was sealed `before` is without a label `now`, as far as the sketches show."""
    standing = now.terms.get("standing") or now.sketch
    last = max(standing, default="") if len(standing) == SKETCH_SIZE else None
    return all(key in standing for key in before.sketch if last is None or key <= last)


def record_look(place: Place, look: Look, check: Callable[[Looked], None] | None = None) -> Looked:
    """Record a look before anything is measured, and return how many there are now. Raises: what `check` raises."""

    def counted(found: Sequence[Look]) -> Looked:
        ours = [one for one in found if one.purpose == LOOK_PURPOSE]
        return Looked(distinct(one for one in ours if one.candidates == look.candidates), spent_looks(ours))

    def before(found: list[Look]) -> None:
        if check is not None:
            check(counted([*found, look]))

    with looks_of(place.open_store()) as looks:
        return counted(looks.record(look, before))


def call_counts(counts: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return the calls of a session, added up."""
    names = ("sent", "answered", "from_journal", "perhaps_paid", "errors", "retried")
    return {name: sum(one[name] for one in counts) for name in names}

"""`labels agreement` and `labels adjudicate`: how far people agree, and the last word where they do not."""

from __future__ import annotations

import math
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from safetycatch.cli.output import Output
    from safetycatch.data.label_files import Labelled
    from safetycatch.judging.people import Dispute, People
    from safetycatch.store.label_sets import LabelSet

SHOWN = 20
WHOLE = "the whole answer"
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Rule = Annotated[str, typer.Option(help="How labels settle an item: majority, unanimous or median.")]


def folder_of(name: str) -> Path:
    """Return the folder of a label set: `name` itself where it leads somewhere, else below labels/."""
    from safetycatch.store.label_sets import LABELS

    own = Path(name)
    return own if own.is_dir() or len(own.parts) != 1 else Path(LABELS) / name


def is_set(folder: Path) -> bool:
    """Return whether there is a label set in `folder`."""
    from safetycatch.store.label_sets import SET

    return (folder / SET).is_file()


def near_set(name: str) -> str:
    """Return the label set that a wrong name or folder probably means; "" where none is near."""
    from safetycatch.configuration import nearest

    folder = folder_of(name)
    close = nearest(folder.name, [item.name for item in folder.parent.glob("*") if is_set(item)])
    return str(folder.parent / close) if close else ""


def set_named(name: str) -> LabelSet:
    """Return the label set of a name or folder. Raises: UsageError when there is none; StoreError."""
    from safetycatch.store.label_sets import LabelSet

    folder = folder_of(name)
    near = "" if is_set(folder) else near_set(name)
    if near:
        raise UsageError(f"no label set {name[:80]!r}", where=str(folder), fix=f"{near}, if that was meant")
    return LabelSet.open(folder)


def agreement(
    source: Annotated[str, typer.Argument(metavar="SET|FILE", help="A label set, or a file of labels.")],
    rule: Rule = "majority",
    json: Json = False,
) -> None:
    """Show how far people agree: per criterion, pair and annotator, and on what they differ too much to measure by."""
    from safetycatch.cli.output import Output
    from safetycatch.judging.people import disputes, people_agreement

    output, found = Output(json=json), labelled(source)
    grades = _grades(found)
    people = people_agreement(found.labels, rule=rule, grades=grades)
    open_items = _once(disputes(found.labels, rule=rule))
    output.document(_as_json(people, len(open_items), found.notes))
    if not json:
        _tell(output, people, len(open_items), source)
        output.block("note", list(found.notes))


def labelled(source: str) -> Labelled:
    """Return the items and labels of a set, by name or folder, or of a file. Raises: as `tasks.labels.labelled`."""
    from safetycatch.cli import pipeline
    from safetycatch.project import find_project

    path = Path(source)
    folder = folder_of(source)
    where = path if path.is_file() else folder
    if not where.exists():
        near = near_set(source)
        fix = f"{near}, if that was meant" if near else "safetycatch review makes a label set"
        raise UsageError(f"no label set or file {source[:80]!r}", where=str(where), fix=fix)
    return pipeline.module("tasks.labels", find_project(Path.cwd())).labelled(where)


def _grades(found: Labelled) -> list[str]:
    whole = {row["label"] for row in found.labels.to_pylist() if not row["criterion"]}
    graded = len(whole) > 1 and all(label.isascii() and label.isdecimal() for label in whole)
    return sorted(whole, key=int) if graded else []


def _once(found: list[Dispute]) -> list[Dispute]:
    """Return disputes, one an answer and criterion: several candidates may have given the same answer."""
    return list({(one.key.example_id, one.key.output_hash, one.criterion): one for one in found}.values())


def _as_json(people: People, n_open: int, notes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "contested": [name or WHOLE for name in people.contested],
        "criteria": [
            {
                "criterion": one.criterion,
                "items": one.n_items,
                "shared": one.n_shared,
                "split": one.n_split,
                "disputed": one.n_disputed,
                "agreed": one.agreed,
                "alpha": one.alpha,
                "low": one.low,
                "high": one.high,
                "reason": one.reason or None,
                "contested": one.contested,
            }
            for one in people.criteria
        ],
        "pairs": [
            {
                "annotators": [one.first, one.second],
                "criterion": one.criterion,
                "n": one.n,
                "agreed": one.agreed.estimate,
                "kappa": one.kappa.estimate,
                "low": one.kappa.low,
                "high": one.kappa.high,
                "reason": one.kappa.reason or None,
            }
            for one in people.pairs
        ],
        "pairs_left_out": people.n_pairs_left_out,
        "annotators": [
            {
                "annotator": one.annotator,
                "criterion": one.criterion,
                "labels": one.n_labels,
                "n": one.n,
                "agreed": one.n_agreed,
                "rate": one.rate,
            }
            for one in people.annotators
        ],
        "to_adjudicate": n_open,
        "notes": list(notes),
    }


def _coefficient(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "—"
    return f"{value:.2f}" + ("" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]")


def _percent(value: float) -> str:
    return "—" if math.isnan(value) else f"{value:.0%}"


def _tell(output: Output, people: People, n_open: int, source: str) -> None:
    from safetycatch.cli.output import safe

    if not people.criteria:
        output.line("no label yet")
        return
    for name in people.contested:
        word = output.painted("people disagree", "bad")
        output.line(f"{word} on {safe(name or WHOLE)}: settle what it means before a judge is measured by it")
    rows = [("  criterion", "answers", "by two", "split", "agreed", "alpha")]
    rows += [
        (
            f"  {one.criterion or WHOLE}",
            f"{one.n_items:,}",
            f"{one.n_shared:,}",
            f"{one.n_split:,}",
            _percent(one.agreed),
            _coefficient(one.alpha, one.low, one.high),
        )
        for one in people.criteria
    ]
    output.table(rows)
    if people.pairs:
        output.line()
        pairs = [("  pair", "on", "n", "agreed", "kappa")]
        for one in people.pairs[:SHOWN]:
            kappa = _coefficient(one.kappa.estimate, one.kappa.low, one.kappa.high)
            names = f"  {one.first} · {one.second}"
            pairs.append((names, one.criterion or WHOLE, f"{one.n:,}", _percent(one.agreed.estimate), kappa))
        output.table(pairs)
    output.line()
    alone = [("  annotator", "on", "labels", "agrees with what the others settle")]
    for one in sorted(people.annotators, key=lambda one: (math.isnan(one.rate), one.rate))[:SHOWN]:
        told = f"{one.n_agreed:,} of {one.n:,} ({_percent(one.rate)})" if one.n else "—"
        alone.append((f"  {one.annotator}", one.criterion or WHOLE, f"{one.n_labels:,}", told))
    output.table(alone)
    hidden = people.n_pairs_left_out + max(0, len(people.pairs) - SHOWN)
    if hidden:
        output.field("note", f"{hidden:,} more pairs: fewer than 10 answers in common, or less than those shown")
    if n_open:
        name, first = safe(source), ""
        if Path(source).is_file():
            name, first = "NAME", f"labels import NAME {name}, then "
        output.line(f"\n{n_open:,} to adjudicate: safetycatch {first}labels adjudicate {name}")


def adjudicate(
    label_set: Annotated[
        str, typer.Argument(metavar="SET", help="A label set: its name below labels/, or its folder.")
    ],
    item: Annotated[str | None, typer.Argument(help="The disputed answer, as the list names it.")] = None,
    label: Annotated[str | None, typer.Argument(help="The last word.")] = None,
    criterion: Annotated[str, typer.Option(help="The criterion, where several are judged.")] = "",
    critique: Annotated[str, typer.Option(help="Why; kept with the label.")] = "",
    name: Annotated[str | None, typer.Option("--as", help="Who decides; by default the login name.")] = None,
    rule: Rule = "majority",
    json: Json = False,
) -> None:
    """List the answers on which people differ; with ITEM and LABEL, say the last word on one."""
    from safetycatch.cli.output import Output
    from safetycatch.judging.people import disputes

    output, found = Output(json=json), set_named(label_set)
    queue = _once(disputes(found.labels(), rule=rule))
    if item is None:
        _list(output, found, queue, label_set)
        return
    if label is None:
        expected = ", ".join(found.settings.verdicts)
        raise UsageError("no label", where="safetycatch labels adjudicate", expected=f"one of {expected}")
    _decide(output, found, item, label, criterion, critique, name)


def _list(output: Output, found: LabelSet, queue: list[Dispute], source: str) -> None:
    from safetycatch.cli.output import safe

    texts = {(row["example_id"], row["output_hash"]): row for row in found.rows}

    def told(one: Dispute) -> dict[str, Any]:
        row = texts[one.key.example_id, one.key.output_hash]
        return {
            "item": f"{one.key.example_id}@{one.key.output_hash}",
            "criterion": one.criterion,
            "said": one.said,
            "input": row["input"],
            "output": row["output"],
        }

    documents = [told(one) for one in queue]
    output.document({"set": found.name, "disputes": documents})
    if output.json:
        return
    if not queue:
        output.line("nothing to adjudicate: every labelled answer is settled")
        return
    rows = [
        (
            one["item"],
            one["criterion"] or "—",
            ", ".join(f"{who} {label}" for who, label in one["said"].items()),
            " ".join(one["output"].split())[:80],
        )
        for one in documents
    ]
    output.table(rows)
    first, named = documents[0], ["safetycatch", "labels", "adjudicate", source]
    about = ["--criterion", first["criterion"]] if first["criterion"] else []
    words = shlex.join([*named, first["item"], next(iter(first["said"].values())), *about, "--as", "NAME"])
    output.line(f"\ndecide, with your label and name: {safe(words)}")


def _named(key: tuple[str, str], example_id: str, digest: str) -> bool:
    return key[0] == example_id and bool(digest) and key[1].startswith(digest)


def _decide(
    output: Output, found: LabelSet, item: str, label: str, criterion: str, critique: str, name: str | None
) -> None:
    from safetycatch.cli.output import safe
    from safetycatch.errors import InputError
    from safetycatch.identity import checked_name
    from safetycatch.judging.people import ADJUDICATOR
    from safetycatch.store.label_events import Label
    from safetycatch.store.ledger import consent

    example_id, _, digest = item.rpartition("@") if "@" in item else (item, "", "")
    there = {(row["example_id"], row["output_hash"]) for row in found.rows}
    matching = sorted(key for key in there if key[0] == item or _named(key, example_id, digest))
    if len(matching) != 1:
        many = f"{len(matching)} answers to {item[:60]!r}"
        raise UsageError(
            many if matching else f"no answer {item[:80]!r}",
            where=f"label set {found.name}",
            expected="EXAMPLE@HASH, as `safetycatch labels adjudicate SET` lists them; the hash's first digits will do",
        )
    who = consent(name).name
    try:
        annotator = checked_name(f"{ADJUDICATOR}-{who}", "--as")
    except InputError as error:
        fix = f"--as {error.fix.removeprefix(f'{ADJUDICATOR}-')}"
        raise UsageError(f"{who[:80]!r} names no annotator", where="--as", expected=error.expected, fix=fix) from None
    now = datetime.now(UTC)
    ((example_id, digest),) = matching
    found.append(
        annotator,
        Label(
            at=now,
            example_id=example_id,
            output_hash=digest,
            label=label,
            criterion=criterion,
            critique=critique,
            rubric_hash=found.settings.rubric_hash,
        ),
    )
    said = [
        row for row in found.labels().to_pylist() if (row["example_id"], row["output_hash"]) == (example_id, digest)
    ]
    partial = who in {row["annotator"] for row in said if row["criterion"] == criterion}
    output.document(
        {"set": found.name, "item": f"{example_id}@{digest}", "criterion": criterion, "label": label, "by": annotator,
         "labelled_it_before": partial}
    )  # fmt: skip
    output.line(f"{safe(example_id)}: {safe(label)} · by {annotator}")
    if partial:
        output.field("note", f"{who} labelled it before: a third person would be more convincing")

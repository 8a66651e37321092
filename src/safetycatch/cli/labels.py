"""`labels`: what people said of outputs, to files and back, and the verbs on their agreement and promotion."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.cli import label_people, promoting
from safetycatch.errors import EXIT_BAD_INPUT, EXIT_OK, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.cli.output import Output
    from safetycatch.store.label_merging import Merging
    from safetycatch.store.label_sets import LabelSet

PANEL = "People"
SHOWN = 20

app = typer.Typer()
SetName = Annotated[str, typer.Argument(metavar="SET", help="A label set: its name below labels/, or its folder.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def register(verbs: typer.Typer) -> None:
    """Add this group of verbs."""
    app.command("agreement")(label_people.agreement)
    app.command("adjudicate")(label_people.adjudicate)
    app.command("promote")(promoting.promote)
    verbs.add_typer(app, name="labels", rich_help_panel=PANEL)


@app.callback(invoke_without_command=True)
def _start(context: typer.Context) -> None:
    """Export and import labels, see how far people agree, settle disputes, promote rows to the test set."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("export")
def export(
    label_set: SetName,
    file: Annotated[Path, typer.Argument(help="Where: .csv, .jsonl, .parquet, or .json for Label Studio.")],
    json: Json = False,
) -> None:
    """Write the answers of SET and everything people said of them to a new FILE; `labels import` reads it back."""
    from safetycatch.cli.output import Output
    from safetycatch.data.label_files import Labelled
    from safetycatch.data.label_writing import label_file
    from safetycatch.store.disk import Tree

    output, found = Output(json=json), label_people.set_named(label_set)
    target = _new_file(file)
    made = label_file(Labelled(found.items(), found.labels()), file.suffix.lower())
    with Tree(target.parent).temporary(target.name) as temporary:
        temporary.write(made.content)
        temporary.publish(target.name)
    told = {
        "file": str(target),
        "rows": made.n_rows,
        "labels": found.labels().num_rows,
        "defused_cells": made.n_defused,
    }
    output.document({**told, "notes": found.notes})
    output.line(f"{told['labels']:,} labels of {found.items().num_rows:,} answers")
    output.field("file", str(file))
    if made.n_defused:
        output.field(
            "note", f"{made.n_defused:,} cells began like a formula: a ' stands before them, import takes it off"
        )
    output.block("note", found.notes)


def _new_file(file: Path) -> Path:
    target = file.absolute()
    if not target.parent.is_dir():
        raise UsageError("there is no such folder", where=str(target.parent), fix=f"mkdir -p {file.parent}")
    if target.exists() or target.is_symlink():
        raise UsageError("a file of that name is there", where=str(file), expected="a new name")
    return target


@app.command("import")
def import_labels(
    label_set: SetName,
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSONL, Parquet, or Label Studio's JSON export.")],
    rename: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="Who an annotator of FILE is here; repeatable.")
    ] = None,
    keep_mine: Annotated[
        bool, typer.Option("--keep-mine", help="Where the set says otherwise, it stays; import the rest.")
    ] = False,
    scale: Annotated[
        str | None, typer.Option(help="Of a new set: pass_fail, pairwise, or grades or classes, as 1,2,3.")
    ] = None,
    json: Json = False,
) -> int:
    """Add the labels in FILE to SET, made of the file where there is none; what contradicts the set is only listed."""
    from safetycatch.cli.output import Output
    from safetycatch.data.label_files import read_labels
    from safetycatch.judge_settings import PASS_FAIL, verdict_labels
    from safetycatch.store import label_merging

    output, now, names = Output(json=json), datetime.now(UTC), _names(rename or [])
    folder = label_people.folder_of(label_set)
    there = label_people.is_set(folder)
    into = label_people.set_named(label_set) if there else None
    if into is not None and scale is not None:
        raise UsageError("--scale is of a new set", where=str(folder), expected="a name that no set has")
    judged = label_merging.scale_of(PASS_FAIL if scale is None else scale)
    found = read_labels(file, verdicts=into.settings.verdicts if into is not None else verdict_labels(judged))
    said_by: set[str] = {row["annotator"] for row in found.labels.to_pylist()}
    if strange := names.keys() - said_by:
        raise UsageError(
            f"no annotator {min(strange)[:80]!r} in the file",
            where="--rename",
            expected=f"one of {', '.join(sorted(said_by)[:SHOWN])}",
        )
    _check_names([names.get(name, name) for name in sorted(said_by)])
    if into is None:
        source = {"file": file.name, "sha256": _sha256(file)}
        into = label_merging.made_of_file(folder, found, source, scale=judged, now=now)
    made = label_merging.merging(into, found, names, now=now)
    stopped = bool(made.conflicts) and not keep_mine
    if not stopped:
        label_merging.write(into, made)
    output.document(_as_json(into, made, found.notes, stopped=stopped, created=not there))
    _tell(output, into, made, found.notes, stopped=stopped, created=not there)
    return EXIT_BAD_INPUT if stopped else EXIT_OK


def _names(given: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for text in given:
        old, equals, new = text.rpartition("=")
        if not equals or not old or old in names:
            raise UsageError(f"{text[:80]!r}", where="--rename", expected="OLD=NEW, each OLD once")
        names[old] = new
    return names


def _check_names(names: Sequence[str]) -> None:
    from safetycatch.errors import InputError
    from safetycatch.identity import checked_name

    for name in names:
        try:
            checked_name(name, "annotator")
        except InputError as error:
            fix = f"--rename {name[:60]!r}={error.fix}"
            raise UsageError(error.found, where=error.where, expected=error.expected, fix=fix) from None


def _sha256(file: Path) -> str:
    from safetycatch.identity import file_sha256

    return file_sha256(file)


def _as_json(into: LabelSet, made: Merging, notes: Sequence[str], *, stopped: bool, created: bool) -> dict[str, Any]:
    return {
        "set": into.name,
        "folder": str(into.folder),
        "created": created,
        "new": 0 if stopped else made.n_new,
        "known": made.n_known,
        "equal": made.n_equal,
        "conflicts": [
            {name: getattr(one, name) for name in ("annotator", "example_id", "criterion", "here", "there")}
            for one in made.conflicts
        ],
        "written": not stopped,
        "notes": list(notes),
    }


def _tell(output: Output, into: LabelSet, made: Merging, notes: Sequence[str], *, stopped: bool, created: bool) -> None:
    if stopped:
        output.line(f"nothing was written: {len(made.conflicts):,} labels contradict the set")
    else:
        output.line(f"{made.n_new:,} new labels, {made.n_known:,} there already · {into.name}")
        output.field("made" if created else "set", str(into.folder))
    shown = [one.text for one in made.conflicts[:SHOWN]]
    if len(made.conflicts) > SHOWN:
        shown.append(f"and {len(made.conflicts) - SHOWN:,} more (--json lists all)")
    output.block("conflict" if stopped else "kept", shown)
    if stopped:
        output.field(
            "fix", "--keep-mine leaves these as the set has them; --rename NAME=NAME-2 if it is another person"
        )
    if made.n_equal:
        notes = [*notes, f"{made.n_equal:,} labels are of an answer that another candidate gave too: labelled once"]
    output.block("note", list(notes))

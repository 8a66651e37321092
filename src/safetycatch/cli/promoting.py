"""`labels promote`: examples that people reviewed become rows of a new version of the test set."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.cli.output import Output
    from safetycatch.data.label_files import Labelled

SHOWN = 20
NUMBERED = re.compile(r"(?P<stem>.+)-v(?P<number>[1-9]\d{0,4})")


def promote(
    source: Annotated[str, typer.Argument(metavar="SET|FILE", help="A label set, or a file of labels.")],
    experiment: Annotated[
        Path, typer.Option("--to-test", metavar="EXPERIMENT", help="The experiment whose test set grows.")
    ],
    only: Annotated[str | None, typer.Option(help="Examples with this label only, such as fail.")] = None,
    rule: Annotated[str, typer.Option(help="How labels settle an item: majority, unanimous or median.")] = "majority",
    out: Annotated[Path | None, typer.Option(help="The new data file; default: NAME-v2 beside the old one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Write a new version of an experiment's data with reviewed examples as test rows, and what changed."""
    from safetycatch.cli import pipeline
    from safetycatch.cli.label_people import labelled
    from safetycatch.cli.output import Output
    from safetycatch.project import find_project
    from safetycatch.store.new_files import write_new

    output, found, name = Output(json=as_json), labelled(source), Path(source).name
    room = pipeline.module("tasks.next_version", find_project(Path.cwd()))
    made = room.next_version(experiment, found, name, only=only, rule=rule)
    if not made.added:
        _refused(output, made.refused)
        raise UsageError(
            "no example can join the test set", where=source, expected="examples that people settled, and that are new"
        )
    target = out if out is not None else _next(made.old)
    if target.suffix.lower() != made.old.suffix.lower():
        raise UsageError(f"the file ends with {target.suffix!r}", where="--out", expected=made.old.suffix)
    if target.exists() or target.is_symlink():
        raise UsageError("a file of that name is there", where=str(target), fix="--out another name")
    told = _manifest(made, found, name, target)
    manifest = json.dumps(told, ensure_ascii=False, indent=2) + "\n"
    write_new(target.parent, {target.name: made.content, f"{target.name}.manifest.json": manifest})
    output.document(told)
    _tell(output, made, target)


def _next(old: Path) -> Path:
    """Return the name of the next version that is free: data.csv, data-v2.csv, data-v3.csv …."""
    match = NUMBERED.fullmatch(old.stem)
    stem, number = (match["stem"], int(match["number"]) + 1) if match else (old.stem, 2)
    while (path := old.with_name(f"{stem}-v{number}{old.suffix}")).exists():
        number += 1
    return path


def _manifest(made: Any, found: Labelled, name: str, target: Path) -> dict[str, Any]:
    from importlib.metadata import version

    from safetycatch.identity import fingerprint

    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "safetycatch": version("safetycatch"),
        "labels": {"source": name, "fingerprint": fingerprint(sorted(map(repr, found.labels.to_pylist())))},
        "from": {"file": made.old.name, "sha256": hashlib.sha256(made.old.read_bytes()).hexdigest()},
        "to": {"file": target.name, "sha256": hashlib.sha256(made.content).hexdigest()},
        "rows": {"before": made.n_old, "added": len(made.added), "set_aside_left_out": made.left_out},
        "split_column": made.split_column,
        "added": [
            {
                "example_id": one.example_id,
                "label": one.label,
                "labelled_by": one.by,
                "failure_modes": one.failure_modes,
                "outputs": one.outputs,
                "picked": one.picked,
                "target_from": one.target_from or None,
            }
            for one in made.added
        ],
        "refused": [{"example_id": example_id, "why": why} for example_id, why in made.refused],
    }


def _tell(output: Output, made: Any, target: Path) -> None:
    output.line(f"{len(made.added):,} rows join {made.n_old:,} · {target.name}")
    output.field("file", str(target))
    output.field("manifest", f"{target}.manifest.json")
    split = f"; split: {{column: {made.split_column}}}" if made.split_column else ""
    output.field("use it", f"data: {{path: {target.name}, …, slices: [promoted_from]}}{split}")
    if any(one.picked for one in made.added):
        output.field(
            "note",
            "rows that were picked, for failing say, make what failed on them look worse than it is on all: read the "
            "slice promoted_from apart",
        )
    _refused(output, made.refused)


def _refused(output: Output, refused: Sequence[tuple[str, str]]) -> None:
    lines = [f"{example_id}: {why}" for example_id, why in refused[:SHOWN]]
    if len(refused) > SHOWN:
        lines.append(f"and {len(refused) - SHOWN:,} more")
    output.block("left out", lines)

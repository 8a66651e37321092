"""The arguments of `compare`: stored runs and files, each with the systems that it holds."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.data.foreign import ForeignFile, ForeignSide, Wanted
    from safetycatch.results.comparing import Metric
    from safetycatch.results.sides import Side
    from safetycatch.store import StoredRun

_NAMED = re.compile(r"([^=/\\]{1,64})=(.+)", re.DOTALL)
_FILE = re.compile(r"(.+?\.(?:csv|tsv|jsonl|ndjson|parquet|json))(?::(.+))?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Source(ABC):
    """A stored run or a file: its `label`, the systems asked for (`parts`; "" is a file's only one), if `named`."""

    label: str
    parts: tuple[str, ...]
    named: bool
    renamed: bool

    @property
    @abstractmethod
    def key(self) -> str:
        """What tells one source from another."""

    @property
    @abstractmethod
    def told(self) -> str:
        """What it is and the hash of what was read."""

    @property
    def notes(self) -> tuple[str, ...]:
        """How a file was read."""
        return ()

    @property
    def main(self) -> Metric | None:
        """The metric of a run; None where names and values are all there is."""
        return None

    @abstractmethod
    def metrics(self, part: str) -> list[str]:
        """Return the metrics that a system has scores of, the main one first."""

    @abstractmethod
    def side(self, part: str, metric: str) -> Side:
        """Return a system's scores on one metric, aligned by item."""

    @abstractmethod
    def texts(self, part: str, ids: Sequence[str]) -> dict[str, dict[str, str | None]]:
        """Return what is known of these items (input, target, output of the first run), by kind and item."""

    def name(self, part: str) -> str:
        """Return a system's name in the comparison."""
        alone = self.renamed and len(self.parts) == 1
        if not part or not self.label:
            return part or self.label
        return self.label if alone else f"{self.label}:{part}"


@dataclass(frozen=True, slots=True)
class FileSource(Source):
    """Scores from a file."""

    file: ForeignFile

    @property
    def key(self) -> str:
        """The file's path."""
        return str(self.file.path.resolve())

    @property
    def told(self) -> str:
        """Path, format and SHA-256."""
        return f"{self.file.path}, {self.file.format}, sha256 {self.file.sha256}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What was read how, with the file's name."""
        return tuple(f"{self.label or self.file.path}: {note}" for note in self.file.notes)

    @property
    def clustered(self) -> bool:
        """Whether the file says which items belong together."""
        return any(side.clusters for side in self.file.sides)

    def foreign(self, part: str) -> ForeignSide:
        """Return a system as the file tells it."""
        return next(side for side in self.file.sides if side.name == part)

    def metrics(self, part: str) -> list[str]:
        """Return the file's metrics in its order."""
        return list(self.foreign(part).scores)

    def side(self, part: str, metric: str) -> Side:
        """Return a system's scores, a column a run."""
        import numpy as np

        from safetycatch.results.sides import Side

        foreign = self.foreign(part)
        runs = foreign.scores[metric]
        values = np.full((len(foreign.items), max(map(len, runs.values()))), math.nan)
        for row, name in enumerate(foreign.items):
            values[row, : len(runs[name])] = runs[name]
        return Side(self.name(part), foreign.items, values, foreign.clusters, foreign.slices, foreign.contents)

    def texts(self, part: str, ids: Sequence[str]) -> dict[str, dict[str, str | None]]:
        """Return what the file has."""
        return {
            kind: {name: found[name] for name in ids if name in found}
            for kind, found in self.foreign(part).texts.items()
        }


@dataclass(frozen=True, slots=True)
class RunSource(Source):
    """Scores of a stored run."""

    run: StoredRun

    @property
    def key(self) -> str:
        """The run's id."""
        return self.run.run_id

    @property
    def told(self) -> str:
        """The run's id, its time, and the SHA-256 of its scores."""
        ended = f", {self.run.finished_at:%Y-%m-%d %H:%M} UTC" if self.run.finished_at else ""
        digest = self.run.manifest["tables"]["scores"]["sha256"]
        return f"run {self.run.run_id}{ended}, scores sha256 {digest}"

    @property
    def main(self) -> Metric:
        """The metric that the run claimed or showed first."""
        from safetycatch.results.comparing import Metric

        return Metric(**self.run.summary["summary"]["metric"])

    def metrics(self, part: str) -> list[str]:
        """Return the metrics of a candidate's scores."""
        import pyarrow.compute as pc

        scores = self.run.table("scores", ["candidate", "metric"])
        return scores.filter(pc.field("candidate") == part)["metric"].unique().to_pylist()

    def side(self, part: str, metric: str) -> Side:
        """Return a candidate's scores.

        Raises: UsageError when it has none; StoreError when the run is damaged.
        """
        import pyarrow.compute as pc

        from safetycatch.results.matrix import build_matrix, stored_items
        from safetycatch.results.sides import Side

        scores = self.run.table("scores")
        scores = scores.filter((pc.field("candidate") == part) & (pc.field("metric") == metric))
        if not scores.num_rows:
            raise UsageError(f"no scores of {metric!r}", where=f"{self.run.run_id}:{part}", fix="--metric accuracy")
        items = stored_items(self.run.table("items"))
        matrix = build_matrix(items, scores.to_batches(), max(scores["replicate"].to_pylist()) + 1)
        slices = {
            name: {key: str(value) for key, value in zip(items.ids, values.tolist(), strict=True) if value is not None}
            for name, values in items.slices.items()
        }
        return Side(
            self.name(part),
            items.ids,
            matrix.rows(part, metric),
            dict(zip(items.ids, items.clusters.tolist(), strict=True)),
            slices,
            {"item": dict(zip(items.ids, items.content.tolist(), strict=True))},
        )

    def texts(self, part: str, ids: Sequence[str]) -> dict[str, dict[str, str | None]]:
        """Return the outputs that the run's rows hold."""
        import pyarrow.compute as pc

        from safetycatch.tables import with_ids

        if "rows" not in self.run.table_names:
            return {}
        table = self.run.table("rows", ["candidate", "example_id", "replicate", "output"])
        table = with_ids(table.filter((pc.field("candidate") == part) & (pc.field("replicate") == 0)), list(ids))
        return {"output": dict(zip(table["example_id"].to_pylist(), table["output"].to_pylist(), strict=True))}


def read_source(text: str, wanted: Wanted) -> Source:
    """Return what an argument names: `RUN`, `RUN:candidate`, `FILE` or `FILE:system`, each with `NAME=` before it.

    Raises: UsageError for an unknown run or system; DataError for a file that cannot be read; StoreError.
    """
    named = None if Path(text).is_file() else _NAMED.fullmatch(text)
    label, target = (named[1].strip(), named[2]) if named else ("", text)
    found = _FILE.fullmatch(target)
    return _run(target, label) if found is None else _file(found[1], found[2] or "", label, wanted)


def _file(path: str, part: str, label: str, wanted: Wanted) -> FileSource:
    from safetycatch.data.foreign import read_foreign

    file = read_foreign(Path(path), wanted)
    held = tuple(side.name for side in file.sides)
    if part and part not in held:
        several = held != ("",)
        raise UsageError(
            f"{path} has no system {part[:80]!r}",
            expected=", ".join(held) if several else "no name: the file holds one system",
            fix=f"{path}:{held[0]}" if several else path,
        )
    return FileSource(label or path, (part,) if part else held, bool(part), bool(label), file)


def _run(text: str, label: str) -> RunSource:
    from safetycatch.cli.reading import load, status_of

    run_id, _, candidate = text.partition(":")
    run = load(run_id)
    if run.status != "done":
        raise UsageError(
            f"run {run.run_id} is {status_of(run)}: it has no scores to compare", fix=f"safetycatch show {run.run_id}"
        )
    held = tuple(str(row["id"]) for row in run.summary["result"]["candidates"] if row["status"] != "stored")
    if not held or (candidate and candidate not in held):
        raise UsageError(
            f"run {run.run_id} has no candidate {candidate[:80]!r}",
            expected=", ".join(held),
            fix=f"{run.run_id}:{held[0]}" if held else "",
        )
    return RunSource(label or run.run_id, (candidate,) if candidate else held, bool(candidate), bool(label), run)

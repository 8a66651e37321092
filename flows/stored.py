"""A stored run as the baseline: found, and refused unless it holds the same items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.catches.statistics import same_items
from safetycatch.configuration import nearest
from safetycatch.errors import UsageError
from safetycatch.results.matrix import items_of
from safetycatch.store import Runs
from tasks.calling import read_table

if TYPE_CHECKING:
    from safetycatch.catches import Observation
    from safetycatch.store import StoredRun
    from tasks.prepared import Prepared

LAST = "last"


def baseline_of(prepared: Prepared, *, intersect: bool) -> tuple[dict[str, Any] | None, list[Observation]]:
    """Return the stored baseline's run, candidate and name, and what SC204 saw; None without one.

    `claim.baseline` is a run id, its unique beginning, or `last` (the experiment's newest finished run), each with an
    optional `:candidate`. The first run against `last` has no baseline yet: that is no error.
    Raises: UsageError when nothing is stored under another name.
    """
    experiment = prepared.experiment
    if experiment.claim is None or not experiment.baseline_is_run:
        return None, []
    name, _, candidate = (experiment.claim.baseline or "").partition(":")
    found = _find(prepared, name)
    if found is None:
        return None, []
    held = [row["id"] for row in found.summary["result"]["candidates"]]
    wanted = candidate or experiment.claim.candidate or experiment.candidates[0].id
    if wanted not in held:
        raise UsageError(
            f"run {found.run_id} has no candidate {wanted!r}",
            where="claim.baseline",
            expected=", ".join(held),
            fix=f"baseline: {found.run_id}:{held[0]}" if held else "",
        )
    stored = {"run_id": found.run_id, "candidate": wanted, "name": f"{found.run_id}:{wanted}"}
    return stored, [compared_items(prepared, found, intersect=intersect)]


def _find(prepared: Prepared, name: str) -> StoredRun | None:
    runs = Runs(prepared.place.open_store())
    if name != LAST:
        try:
            return runs.load(name)
        except UsageError as error:
            ids = [candidate.id for candidate in prepared.experiment.candidates]
            close = nearest(name, ids)
            raise UsageError(
                f"{name!r} is no candidate and no stored run ({error.found})",
                where="claim.baseline",
                expected=f"one of {', '.join(ids)}, a run id, or 'last'",
                fix=f"did you mean {close!r}?" if close else "safetycatch ls",
            ) from None
    own = (run for run in runs.ls(limit=1000) if run.name == prepared.experiment.name)
    return next((run for run in own if run.status == "done" and run.run_id != prepared.place.run_id), None)


def compared_items(prepared: Prepared, found: StoredRun, *, intersect: bool) -> Observation:
    """Return what SC204 sees between this run's items and a stored run's."""
    place = prepared.place
    items = items_of(
        read_table(place, prepared.examples),
        read_table(place, prepared.splits),
        prepared.scored_split,
        [],
        prepared.ids,
    )
    table = found.table("items")
    theirs = dict(zip(table["example_id"].to_pylist(), table["content"].to_pylist(), strict=True))
    ours = dict(zip(items.ids, items.content.tolist(), strict=True))
    return same_items(
        left=place.run_id,
        right=found.run_id,
        only_left=sorted(set(ours) - set(theirs)),
        only_right=sorted(set(theirs) - set(ours)),
        changed=sorted(example_id for example_id in set(ours) & set(theirs) if ours[example_id] != theirs[example_id]),
        intersect=intersect,
    )

"""Recorded answers, read before anything is asked: a broken file, or too few answers in it, must not cost a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.errors import DataError
from tasks.recorded import read_recorded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tasks.prepared import Ensemble
    from tasks.stage import Place
    from tasks.start import Inputs

Answered = dict[str, frozenset[tuple[str, int]]]


def recordings(inputs: Inputs, place: Place, known: Collection[str]) -> Answered:
    """Return the items and replicates that each candidate with `outputs:` has an answer to; `known` ids are the data's.

    Raises: DataError for a file that cannot be read, or that is about other items.
    """
    found: Answered = {}
    own = inputs.experiment.data.id
    for candidate in inputs.experiment.candidates:
        if not candidate.outputs:
            continue
        rows = read_recorded(place, candidate, inputs.sha256[candidate.outputs], own)
        held = [example_id for example_id, _ in rows]
        if not any(example_id in known for example_id in held):
            raise DataError(
                f"none of its {len(held):,} ids, such as {held[0][:40]!r}, is in the data",
                where=candidate.outputs,
                expected=f"ids such as {next(iter(known))[:40]!r}",
                fix="" if own else "data: {id: COLUMN}, so that the rows have names that the file can hold",
            )
        found[candidate.id] = frozenset(key for key, row in rows.items() if row["output"] is not None)
    return found


def unrecorded(
    answered: Answered, ids: Iterable[str], replicates: int, ensemble: Ensemble | None, where: str
) -> dict[str, tuple[int, int]]:
    """Return, of each candidate with recorded answers, how many rows have none, and rows; members' dev rows besides.

    Raises: DataError for a member without any answer to the dev rows that weights and the best member come from.
    """
    scored = [(example_id, replicate) for example_id in ids for replicate in range(replicates)]
    found = {name: (len(set(scored) - have), len(scored)) for name, have in answered.items()}
    made = ensemble
    if made is None or not made.dev_ids:
        return found
    dev = {(example_id, replicate) for example_id in made.dev_ids for replicate in range(replicates)}
    for name in made.settings.members:
        if name not in answered:
            continue
        missing = len(dev - answered[name])
        if missing == len(dev):
            raise DataError(
                f"the member {name!r} has no answer to a dev row",
                where=where,
                expected="answers to dev rows, from which weights and the best member come",
                fix="record its answers to dev rows as well, or: tie: MEMBER and weights: {member: number}",
            )
        found[f"{name} (dev)"] = (missing, len(dev))
    return found

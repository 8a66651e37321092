"""Judged scores of stored runs side by side: what was known of their judge's errors, and the words for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from safetycatch.cli.sides import Arrangement
    from safetycatch.results.corrected import Judging
    from safetycatch.results.sides import SideBySide

FILE = "judging.json"


def judging_of_sides(arrangement: Arrangement, metric: str) -> Judging | None:
    """Return what the runs knew of the one judge that scored all sides, the newest certificate; None of no judge.

    Scores in files, whose judge nobody knows, are left as they are and marked.
    Raises: UsageError where two judges scored: what they say of an answer is not one scale.
    """
    from safetycatch.cli.sources import RunSource
    from safetycatch.results.corrected import Judging
    from safetycatch.scoring.judged import is_judged

    if not is_judged(metric):
        return None
    known: list[tuple[str, str, RunSource, dict[str, Any]]] = [
        (source.name(part), part, source, json.loads(source.run.text(FILE)))
        for source, part in arrangement.systems
        if isinstance(source, RunSource)
    ]
    if len(known) < len(arrangement.systems):
        return Judging(scale="rate", state="", facts=_nothing())
    first = known[0]
    for name, _, _, body in known[1:]:
        if body["judge_key"] != first[3]["judge_key"]:
            raise UsageError(
                f"{name} was scored by another judge than {first[0]} (model, prompt, parameters or scale differ)",
                where=f"--metric {metric}",
                expected="verdicts of one judge on all sides",
                fix="run both as candidates of one experiment",
            )
    newest = max(known, key=lambda one: (one[3]["certificate"] or {}).get("issued_at", ""))[3]
    of_sides: dict[str, dict[str, dict[str, Any]]] = {"labels": {}, "known": {}}
    for name, part, _, body in known:
        for what, found in of_sides.items():
            for of, by_candidate in body.get(what, {}).items():
                if part in by_candidate:
                    found.setdefault(of, {})[name] = by_candidate[part]
    return Judging.of({**newest, **of_sides})


def _nothing() -> dict[str, Any]:
    return {
        "scale": "rate", "certificate": None, "another": None, "n_labels": 0, "n_here": 0, "n_drawn": 0,
        "n_disputed": 0, "changed": {},
    }  # fmt: skip


def judged_of(facts: SideBySide, judging: Judging | None) -> dict[str, Any] | None:
    """Return what the judged scores are worth, and the words for it; None where nothing is judged."""
    from safetycatch.report.judged import told
    from safetycatch.results.corrected import judged_facts
    from safetycatch.results.summary import as_json

    if judging is None:
        return None
    comparisons = (*facts.differences, *facts.pairs, *facts.slices)
    found: dict[str, Any] = as_json(judged_facts(judging, facts.estimates, (), comparisons))
    return {**found, "told": told(found, "FILE"), "canaries": None}

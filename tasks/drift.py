"""Sentinels of a certificate asked again, and what their verdicts and fresh labels say together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.drift import SentinelDrift, sentinel_drift
from safetycatch.judging.jury import combined
from tasks.judge import verdicts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safetycatch.judging.drift import LabelDrift
    from tasks.stage import Place


def rejudged(
    place: Place, judging: dict[str, Any], sentinels: Sequence[Mapping[str, Any]], release: int
) -> SentinelDrift:
    """Return what the judge says of its sentinels now, against the `verdict` that each holds.

    `release` counts the times that they were asked (0: when the judge was certified): each asks anew, and is answered
    from the journal when it is repeated. Raises: what the engine raises.
    """
    settings = JudgeSettings.model_validate(judging["settings"])
    # Of the repeats of a question only the last is new; the ones before are in the journal.
    items: list[dict[str, Any]] = [{**item, "candidate": str(at), "replicate": 0} for at, item in enumerate(sentinels)]
    rows = verdicts_of(place, judging, items, "sentinels", replicates=release + 1)
    last = [row for row in rows if row["replicate"] == release]
    rulings = combined(last, settings)
    now = [rulings[item["candidate"], item["example_id"], release].label for item in items]
    return sentinel_drift([str(item["verdict"]) for item in sentinels], now, settings)


def drift_facts(sentinels: SentinelDrift | None, labels: LabelDrift | None) -> dict[str, Any]:
    """Return what SC103 judges: `alarm` and `detail`, and both findings as they are (None: not made)."""
    found = [one for one in (sentinels, labels) if one is not None]
    loud = [one for one in found if one.alarm]
    return {
        "alarm": bool(loud),
        "detail": "; ".join(one.detail for one in loud or found),
        "sentinels": sentinels.as_dict() if sentinels else None,
        "labels": labels.as_dict() if labels else None,
    }

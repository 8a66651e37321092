"""What judges will be asked before there is an answer: how many questions, and how long the answers in them are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.judge_settings import PAIRWISE, JudgeSettings
from tasks.calling import read_table, shard_rows
from tasks.judge import requests_about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.calls import Request
    from tasks.stage import Place

SAMPLE_ROWS = 20
FILLER = "x"

Item = dict[str, Any]


def questions_of_an_answer(settings: JudgeSettings) -> int:
    """Return how often each juror is asked about one answer: each criterion, in each order."""
    return max(1, len(settings.criteria)) * (2 if settings.both_orders else 1)


def n_canary_questions(settings: JudgeSettings) -> int:
    """Return how many questions about canaries each juror is asked: two a twin, each criterion by itself."""
    return settings.canaries // 2 * 2 * max(1, len(settings.criteria))


def n_questions(judging: dict[str, Any] | None) -> float:
    """Return how many questions all jurors are asked about one answer; 0 without a judge that is asked."""
    return 0.0 if judging is None else float(len(judging["entry"]["judges"]) * judging["n_questions"])


def sample_questions(
    place: Place,
    judging: dict[str, Any],
    juror: dict[str, Any],
    ids: Sequence[str],
    examples: dict[str, Any],
    n_bytes: int,
) -> list[Request]:
    """Return a juror's requests about a sample of rows whose answers have `n_bytes` each."""
    settings = JudgeSettings.model_validate(judging["entry"]["settings"])
    sample = list(ids)[:: max(1, len(ids) // SAMPLE_ROWS)][:SAMPLE_ROWS]
    text = FILLER * n_bytes
    answer = {"first": text, "second": text} if settings.scale == PAIRWISE else {"output": text}
    items: list[Item] = [
        {
            "example_id": row["example_id"],
            "candidate": "",
            "replicate": 0,
            "input": row["input"],
            "reference": row["target"] or None,
            **answer,
        }
        for row in shard_rows(read_table(place, examples), sample)
    ]
    return [request for request, _ in requests_about(place, judging["entry"], juror, items)]

"""Judges asked about items, every call through engine, journal and budget; or their recorded verdicts read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.calls import Request
from safetycatch.calls.parameters import ceiling_parameter
from safetycatch.calls.prompt_cache import floor_tokens, marked, takes_marks
from safetycatch.data.label_files import item_key, read_labels
from safetycatch.experiment import Candidate, max_tokens
from safetycatch.fewshot.template import compile_template
from safetycatch.identity import output_hash, text_sha256
from safetycatch.judge_settings import PAIRWISE, JudgeSettings
from safetycatch.judging.asking import AS, SWAPPED, judge_key, messages_of, order_of, output_text, swapped
from safetycatch.judging.verdicts import parse_verdict
from safetycatch.store.secret import judge_secret
from tasks.calling import endpoint_name, endpoint_of
from tasks.counts import added_counts, answer_all
from tasks.evaluate import call_columns
from tasks.recorded_verdicts import recorded_verdicts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    from safetycatch.calls import Reply
    from tasks.stage import Place
    from tasks.start import Inputs

Item = dict[str, Any]
Row = dict[str, Any]
# first and second of a verdict are the item's, whichever was shown first.
EXCHANGED = {"first": "second", "second": "first"}
ANSWER, UNPARSED = "answer", "unparsed"
# An item of another `round` is asked anew, whatever the journal holds of the rounds before.
REPEATS_A_ROUND = 100


def judging_entry(inputs: Inputs, rubric: str | None = None, shots: Sequence[Item] | None = None) -> dict[str, Any]:
    """Return who judges and how, as JSON: settings, jurors with their rubrics, labelled `shots`, the judge's key.

    A shot is an item with `label`, `critique` and, where criteria are judged, the `criterion` it is about. Another
    `rubric` in place of the judge's prompt, and other `shots`, are for trying them.
    Raises: ValueError for an experiment without a judge; DataError for a file of shots that cannot be read.
    """
    settings = inputs.experiment.judge
    if settings is None:
        raise ValueError("an experiment without a judge")
    judges: list[dict[str, Any]] = [
        {
            "candidate": juror.model_dump(mode="json"),
            "rubric": rubric
            if rubric is not None and juror.prompt == settings.prompt
            else rubric_text(inputs.prompts[juror.prompt or ""].text, juror.prompt or ""),
            "endpoint": endpoint_name(juror, inputs.project),
            "max_tokens": max_tokens(juror, "generate"),
        }
        for juror in inputs.experiment.judges
    ]
    rubrics = {one["candidate"]["id"]: one["rubric"] for one in judges}
    recorded = inputs.sha256[settings.verdicts] if settings.verdicts else ""
    shown = shots_in(inputs.path.parent / settings.shots, settings) if shots is None and settings.shots else shots or ()
    said = {**rubrics, **({"verdicts": recorded} if recorded else {})}
    return {
        "settings": settings.model_dump(mode="json"),
        "judges": judges,
        "shots": [dict(shot) for shot in shown],
        "recorded_sha256": recorded,
        "own_id": inputs.experiment.data.id or "",
        "key": judge_key(settings, said, shots=shown),
    }


def shots_in(path: Path, settings: JudgeSettings) -> list[Item]:
    """Return the labelled answers of a file as turns to show, in the file's order; the first label of each counts."""
    found = read_labels(path, settings)
    items = {item_key(row): row for row in found.items.to_pylist()}
    shots: dict[tuple[Any, ...], Item] = {}
    for row in found.labels.to_pylist():
        item = items[item_key(row)]
        shot = {
            "input": item["input"],
            "output": item["output"],
            "reference": item["reference"] or "",
            "label": row["label"],
            "critique": row["critique"] or "",
            "criterion": row["criterion"],
        }
        shots.setdefault((*item_key(row), row["criterion"]), shot)
    return list(shots.values())


def rubric_text(text: str, path: str) -> str:
    """Return a rubric as the judge reads it. Raises: ExperimentError for one that is no template or asks for values."""
    return compile_template(text, path, text_sha256(text), "").render({})


def verdicts_of(
    place: Place, judging: dict[str, Any], items: Sequence[Item], label: str, *, replicates: int = 1
) -> list[Row]:
    """Return what every juror says of every item, as rows of the `verdicts` contract, in the items' order.

    An item is `{example_id, candidate, replicate, input, output, reference}`, `first` and `second` in place of `output`
    for a pair; with `order` (as, swapped) it decides itself which of a pair is shown first. The `verdict` on a pair is
    about the item's first and second in either order. With `replicates` each question is asked so often, and a row's
    replicate is the item's times `replicates` plus the repeat's number. `label` names the calls to who watches.
    Raises: what the engine raises, after everything answered is in the journal.
    """
    return judged(place, judging, items, label, replicates=replicates)[0]


def judged(
    place: Place, judging: dict[str, Any], items: Sequence[Item], label: str, *, replicates: int = 1
) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows of `verdicts_of` with facts about the calls, as the stage `evaluate` keeps them; {} for none."""
    settings = JudgeSettings.model_validate(judging["settings"])
    if settings.verdicts is not None:
        return recorded_verdicts(place, judging, settings, items), {}
    counts: list[dict[str, Any]] = []
    rows: list[Row] = []
    saved = 0.0
    for juror in judging["judges"]:
        asking = _Asking(place, judging, juror, settings, items, replicates)
        name = juror["candidate"]["id"]
        shown = f"{label} · {name}" if len(judging["judges"]) > 1 else label
        counts.append(answer_all(place, [juror], shown, asking.requests(), asking.keep))
        rows += asking.rows
        saved += asking.cache_saved_usd
    where = {(item["candidate"], item["example_id"], item["replicate"]): at for at, item in enumerate(items)}
    rows.sort(key=lambda row: where[row["candidate"], row["example_id"], row["replicate"] // replicates])
    return rows, {"calls": added_counts(counts), "cache_saved_usd": saved}


def requests_about(
    place: Place, judging: dict[str, Any], juror: dict[str, Any], items: Iterable[Item], *, replicates: int = 1
) -> Generator[tuple[Request, Row]]:
    """Yield what one juror is asked about `items`, each with what its row is about and the token to bring back."""
    settings = JudgeSettings.model_validate(judging["settings"])
    candidate = Candidate.model_validate(juror["candidate"])
    if candidate.model is None:
        raise ValueError("a juror without a model")
    endpoint, model = endpoint_of(candidate.model, place.open_project())
    floor = floor_tokens(model) if takes_marks(endpoint, model) else None
    params = {**candidate.params, **candidate.params.get("extra_body", {})}
    params.pop("extra_body", None)
    if not {"max_tokens", "max_completion_tokens"} & set(params):
        params[ceiling_parameter(endpoint)] = juror["max_tokens"]
    secret = judge_secret(place.open_store())
    for item in items:
        digest = output_hash(output_text(item))
        for order in _orders(item, settings, secret):
            shown = swapped(item) if order == SWAPPED else item
            for criterion in settings.criteria or ("",):
                asked = messages_of(
                    juror["rubric"], shown, settings, secret, criterion=criterion, shots=judging["shots"]
                )
                messages: list[dict[str, Any]] = list(asked.messages)
                if floor is not None:
                    messages = marked(asked.messages, len(messages) - 1, floor)
                body = {"model": model, "messages": messages, **params}
                for repeat in range(replicates):
                    about = {
                        "judge": candidate.id,
                        "candidate": item["candidate"],
                        "example_id": item["example_id"],
                        "replicate": item["replicate"] * replicates + repeat,
                        "criterion": criterion,
                        "order": order,
                        "output_hash": digest,
                        "check": asked.check,
                    }
                    # Equal questions about two answers are one call: only a repeat asks again.
                    nth = repeat + REPEATS_A_ROUND * int(item.get("round", 0))
                    yield Request(endpoint, body, candidate.id, item["example_id"], nth, juror["max_tokens"]), about


class _Asking:
    """One juror's questions and answers; equal questions are asked once and answer every row that asks them."""

    def __init__(
        self,
        place: Place,
        judging: dict[str, Any],
        juror: dict[str, Any],
        settings: JudgeSettings,
        items: Sequence[Item],
        replicates: int,
    ) -> None:
        self._asked = requests_about(place, judging, juror, items, replicates=replicates)
        self._labels = settings.verdict_labels
        self._waiting: dict[str, list[int]] = {}
        self.rows: list[Row] = []
        self.cache_saved_usd = 0.0

    def requests(self) -> Generator[Request]:
        for request, about in self._asked:
            self._waiting.setdefault(request.key, []).append(len(self.rows))
            self.rows.append(about)
            yield request

    def keep(self, request: Request, reply: Reply) -> None:
        at = self._waiting[request.key].pop()
        self.rows[at] = _row(self.rows[at], request, reply, self._labels)
        self.cache_saved_usd += reply.cache_saved_usd or 0.0


def _orders(item: Item, settings: JudgeSettings, secret: bytes) -> tuple[str, ...]:
    if settings.scale != PAIRWISE:
        return (AS,)
    if item.get("order"):
        return (item["order"],)
    return (AS, SWAPPED) if settings.both_orders else (order_of(item, secret),)


def _row(about: Row, request: Request, reply: Reply, labels: tuple[str, ...]) -> Row:
    found = None
    status: str = reply.state
    if reply.state == ANSWER:
        found = parse_verdict(reply.text or "", labels, about["check"])
        status = ANSWER if found else UNPARSED
    verdict = found.label if found else None
    if about["order"] == SWAPPED and verdict is not None:
        verdict = EXCHANGED.get(verdict, verdict)
    return {
        **{name: value for name, value in about.items() if name != "check"},
        "status": status,
        "verdict": verdict,
        "critique": found.critique if found else None,
        "output": reply.text,
        **call_columns(request, reply),
    }

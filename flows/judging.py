"""Judges in a run: who is asked, what that takes, their verdicts on every candidate, and what is to be said of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safetycatch.catches.judges import canaries_obeyed
from safetycatch.errors import DataError, ExperimentError
from safetycatch.judge_settings import PAIRWISE
from safetycatch.report.numbers import money
from safetycatch.scoring.judged import is_judged
from safetycatch.store import Ref as StoreRef
from tasks.judge import judging_entry
from tasks.judge_catches import judge_use
from tasks.judge_plan import n_canary_questions, questions_of_an_answer
from tasks.judging import judge_answers, judge_canaries
from tasks.plan import BYTES_A_TOKEN, expected_reply_tokens
from tasks.recorded import read_recorded
from tasks.recorded_verdicts import read_verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from flows.chain import Call
    from safetycatch.catches import Observation
    from safetycatch.experiment import Experiment
    from tasks.prepared import Prepared, Ref
    from tasks.stage import Place
    from tasks.start import Inputs

# What a run cannot know of answers that are not asked of a model: as long as a model's may be.
UNKNOWN_TOKENS = 1024
MANY_UNREADABLE = 0.02
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Judgement:
    """What judges said: `verdicts` by candidate, and on canaries."""

    verdicts: dict[str, Ref] = field(default_factory=dict[str, "Ref"])
    canaries: Ref | None = None

    @property
    def refs(self) -> list[Ref]:
        """Every table of verdicts, the canaries' last."""
        return [*self.verdicts.values(), *([self.canaries] if self.canaries else [])]


def judging_of(inputs: Inputs, scorers: Sequence[str]) -> dict[str, Any] | None:
    """Return who judges and how; None where no metric is a judge's."""
    return judging_entry(inputs) if inputs.experiment.judge and any(map(is_judged, scorers)) else None


def check_judging(experiment: Experiment, place: Place, judging: dict[str, Any] | None, known: Collection[str]) -> None:
    """Refuse before a call what could not be judged: pairs without a baseline, recorded verdicts that are broken.

    `known` are the ids of the data. Raises: ExperimentError; DataError for a file of verdicts.
    """
    settings = experiment.judge
    if judging is None or settings is None:
        return
    if settings.verdicts is not None:
        said, _ = read_verdicts(place, settings.verdicts, judging, settings)
        ids = [example_id for _, example_id, _ in said]
        if not any(example_id in known for example_id in ids):
            raise DataError(
                f"none of its {len(ids):,} ids, such as {ids[0][:40]!r}, is in the data",
                where=settings.verdicts,
                expected=f"ids such as {next(iter(known))[:40]!r}",
            )
    if settings.scale != PAIRWISE:
        return
    where = f"{experiment.name}: judge.scale"
    if experiment.baseline_is_run:
        raise ExperimentError(
            "pairwise against a stored run is not built",
            where=where,
            expected="a baseline among the candidates, whose answers are shown beside",
            fix="claim: {baseline: CANDIDATE}, or recorded answers: {id: before, outputs: FILE}",
        )
    if len(experiment.candidates) < 2:
        raise ExperimentError("pairwise with one candidate", where=where, expected="a baseline and another candidate")


def planned_judging(
    inputs: Inputs, place: Place, judging: dict[str, Any] | None, entries: Sequence[dict[str, Any]], task: str
) -> dict[str, Any] | None:
    """Return what judges are asked as the plan sees it: about whose answers, how often, and how long those are.

    None where nobody is asked, recorded verdicts included.
    """
    settings = inputs.experiment.judge
    if judging is None or settings is None or not judging["judges"]:
        return None
    asked = list(entries)
    if settings.scale == PAIRWISE:
        asked = [entry for entry in entries if entry["candidate"]["id"] != inputs.experiment.baseline]
    sizes = [_answer_bytes(inputs, place, entry, task) for entry in entries]
    names = [entry["candidate"]["id"] for entry in asked]
    ensemble = inputs.experiment.aggregate
    return {
        "entry": judging,
        "candidates": [*names, *([ensemble.id] if ensemble else [])],
        "n_questions": questions_of_an_answer(settings),
        "n_canary_questions": n_canary_questions(settings),
        "expected_bytes": round(sum(expected for expected, _ in sizes) / len(sizes)),
        "highest_bytes": round(sum(highest for _, highest in sizes) / len(sizes)),
    }


def _answer_bytes(inputs: Inputs, place: Place, entry: dict[str, Any], task: str) -> tuple[int, int]:
    """Return how long an answer is expected to be, and may be; a recorded one is as long as it is."""
    candidate = next(one for one in inputs.experiment.candidates if one.id == entry["candidate"]["id"])
    if candidate.outputs:
        rows = read_recorded(place, candidate, inputs.sha256[candidate.outputs], inputs.experiment.data.id)
        lengths = [len(row["output"].encode()) for row in rows.values() if row["output"]] or [0]
        return round(sum(lengths) / len(lengths)), max(lengths)
    most = entry["max_tokens"] if candidate.model else UNKNOWN_TOKENS
    return BYTES_A_TOKEN * expected_reply_tokens(task, most), BYTES_A_TOKEN * most


def judging_lines(prepared: Prepared, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what judges are asked, of the plan's `rows`, in words."""
    found = prepared.judging
    if found is None:
        return []
    if found["recorded_sha256"]:
        return [f"judge: recorded verdicts ({found['settings']['verdicts']}), no calls"]
    names = {juror["candidate"]["id"] for juror in found["judges"]}
    own = [row for row in rows if row["candidate"] in names]
    costs = [row["expected_usd"] for row in own]
    cost = "at a price that is not known" if None in costs else f"about {money(sum(cost or 0.0 for cost in costs))}"
    who = " and ".join(juror["candidate"]["model"]["model"] for juror in found["judges"])
    return [f"judge: {who} · {sum(row['n_calls'] for row in own):,} calls · {cost}"]


def n_verdicts(prepared: Prepared) -> int:
    """Return how many verdicts judges are asked for, canaries included."""
    found, settings = prepared.judging, prepared.experiment.judge
    if found is None or settings is None:
        return 0
    n_answers = len(_judged(prepared)) * len(prepared.ids) * prepared.experiment.runs.replicates
    return len(found["judges"]) * (n_answers * questions_of_an_answer(settings) + n_canary_questions(settings))


def judge_all(prepared: Prepared, call: Call, parts: Mapping[str, list[Ref]], done: Callable[[int], None]) -> Judgement:
    """Return the verdicts on every candidate's answers in `parts`, and on the canaries; `done` as in `answer`."""
    found, settings = prepared.judging, prepared.experiment.judge
    if found is None or settings is None:
        return Judgement()
    place, examples = prepared.place, prepared.examples
    a_candidate = len(prepared.ids) * prepared.experiment.runs.replicates * questions_of_an_answer(settings)
    verdicts: dict[str, Ref] = {}
    for name in _judged(prepared):
        own = {"judging": found, "candidate": name, "n_own": len(parts[name])}
        shards = [*parts[name], *_beside(prepared, parts)]
        verdicts[name] = call(judge_answers, place=place, settings=own, examples=examples, parts=shards)
        done(len(found["judges"]) * a_candidate)
    canaries = None
    if found["judges"] and settings.canaries > 1:
        asked = {"judging": found, "ids": list(prepared.ids), "seed": prepared.experiment.split.seed}
        canaries = call(judge_canaries, place=place, settings=asked, examples=examples)
        done(len(found["judges"]) * n_canary_questions(settings))
    return Judgement(verdicts, canaries)


def scored_by(
    prepared: Prepared, judgement: Judgement, settings: dict[str, Any], name: str, parts: Mapping[str, list[Ref]]
) -> dict[str, Any]:
    """Return what the stage `score` gets for one candidate: settings, shards, and the verdicts where there are some."""
    own = {**settings, "candidate": name}
    if prepared.judging is None:
        return {"settings": own, "parts": parts[name]}
    own |= {
        "judge": prepared.judging["settings"],
        "n_own": len(parts[name]),
        "is_baseline": name == prepared.experiment.baseline,
    }
    beside = _beside(prepared, parts)
    # Of pairs, the baseline has no verdicts of its own: any others' will do, for it is one half against itself.
    verdicts = judgement.verdicts.get(name) or next(iter(judgement.verdicts.values()))
    return {"settings": own, "parts": [*parts[name], *beside], "verdicts": verdicts}


def _judged(prepared: Prepared) -> list[str]:
    """Return whose answers are judged: everybody's, but of pairs the baseline's own."""
    settings = prepared.experiment.judge
    pairs = settings is not None and settings.scale == PAIRWISE
    return [name for name in prepared.names if not (pairs and name == prepared.experiment.baseline)]


def _beside(prepared: Prepared, parts: Mapping[str, list[Ref]]) -> list[Ref]:
    """Return the baseline's shards, where its answers are shown beside the others'."""
    settings = prepared.experiment.judge
    return parts[prepared.experiment.baseline] if settings and settings.scale == PAIRWISE else []


def judge_facts(prepared: Prepared, judgement: Judgement) -> dict[str, Any]:
    """Return what was counted over all verdicts: statuses, errors, replies by other models; the canaries' end."""
    store = prepared.place.open_store()
    total: dict[str, Counter[str]] = {name: Counter() for name in ("statuses", "errors", "returned", "verdicts")}
    n, cost_usd, unreadable, canaries, missing = 0, 0.0, "", list[dict[str, Any]](), list[str]()
    for reference in judgement.refs:
        facts = store.facts(StoreRef.from_dict(reference))
        canaries = facts.get("canaries", canaries)
        cost_usd += facts["cost_usd"]
        n += facts["n"]
        unreadable = unreadable or facts["unreadable"]
        missing = [*missing, *facts["missing"]][:MOST_NAMED]
        for name, counter in total.items():
            counter.update(facts[name])
    counted = {name: dict(counter) for name, counter in total.items()}
    told = {"unreadable": unreadable, "missing": missing, "canaries": canaries}
    return {**counted, "n": n, "cost_usd": cost_usd, **told}


def judgement_lines(prepared: Prepared, judgement: Judgement) -> list[str]:
    """Return how judging went, in words."""
    if not judgement.refs:
        return []
    facts = judge_facts(prepared, judgement)
    said = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(facts["verdicts"].items()))
    lost = facts["n"] - facts["statuses"].get("answer", 0)
    missing = f" · {lost:,} missing" if lost else ""
    return [f"{facts['n']:,} verdicts: {said or 'none'}{missing}"]


def judgement_notes(prepared: Prepared, judgement: Judgement) -> list[str]:
    """Return what must be said of the verdicts: many that could not be read, some not recorded, canaries obeyed."""
    if not judgement.refs:
        return []
    facts, notes = judge_facts(prepared, judgement), list[str]()
    n_unparsed, n = facts["statuses"].get("unparsed", 0), facts["n"]
    if n_unparsed > MANY_UNREADABLE * n:
        notes.append(f"judge: {n_unparsed:,} of {n:,} verdicts could not be read, e.g. {facts['unreadable']!r}")
    for why, told in (("not_recorded", "not recorded"), ("other_output", "recorded for another output")):
        if facts["errors"].get(why):
            shown = f", such as {', '.join(facts['missing'])}" if facts["missing"] else ""
            notes.append(f"judge: {facts['errors'][why]:,} of {n:,} verdicts are {told}: missing{shown}")
    notes += [
        f"{seen['judge']}: {seen['obeyed']} of {seen['n']} canaries were rated higher than twins that ask for the "
        f"opposite (such as {seen['example']!r}), {seen['defied']} lower"
        for seen in facts["canaries"]
        if seen["obeyed"]
    ]
    return notes


def observe_canaries(prepared: Prepared, judgement: Judgement) -> list[Observation]:
    """Return what SC108 sees of the run's canaries, where strangers' text is graded; [] where none was obeyed."""
    settings = prepared.experiment.judge
    if not judgement.canaries or settings is None or not settings.untrusted:
        return []
    seen = canaries_obeyed(judge_use(prepared), judge_facts(prepared, judgement)["canaries"])
    return [seen] if seen else []


def with_judges(
    prepared: Prepared, judgement: Judgement, scored: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the `scored` facts by candidate with those of the judges' calls, which can fail like any other."""
    if not judgement.refs or prepared.judging is None or prepared.judging["recorded_sha256"]:
        return dict(scored)
    return {**scored, prepared.judging["judges"][0]["candidate"]["id"]: judge_facts(prepared, judgement)}
